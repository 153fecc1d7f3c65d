"""Fixtures: the binary, a lab, a daemon; what a test starts ends with the test."""

import itertools
import pathlib
import shutil
import sys

import pytest

import harness


@pytest.fixture(scope="session")
def binary():
    return harness.find_binary()


@pytest.fixture
def processes():
    """What was started, ended in reverse order whatever the test came to."""
    started = []
    yield started
    for process in reversed(started):
        process.stop()


@pytest.fixture
def lab(binary, processes, tmp_path):
    """Starts a lab: `lab()`, `lab(world_text)` or `lab(path)`; more as `harness.Lab` has it."""
    numbers = itertools.count(1)

    def start(world=None, **more):
        if isinstance(world, str):
            path = tmp_path / f"world-{next(numbers)}.toml"
            path.write_text(world)
            world = path
        running = harness.Lab(binary, world, **more)
        processes.append(running)
        return running

    return start


@pytest.fixture
def daemon(binary, processes, tmp_path):
    """Starts a daemon with this configuration, `[daemon]` excepted, which the harness writes."""

    def start(config, env=None, instance="e2e"):
        running = harness.Daemon(binary, config, tmp_path, env, instance)
        processes.append(running)
        return running

    return start


@pytest.fixture
def ministack(processes, tmp_path):
    """AWS for two accounts, with nothing in them."""
    from ministack import Ministack

    running = Ministack(tmp_path)
    processes.append(running)
    return running


@pytest.fixture
def moto(process, tool):
    """The address of another emulator of AWS, with nothing in it."""
    port = harness.free_port()
    server = process(tool("moto_server"), "-H", "127.0.0.1", "-p", port)
    url = f"http://127.0.0.1:{port}"
    harness.wait_until("moto answers", lambda: harness.http_get(url)[0] != 0, 60, alive=server.check_alive)
    return url


@pytest.fixture
def process(processes):
    """Starts any other program."""

    def start(*arguments, env=None, cwd=None):
        running = harness.Process(arguments, env, cwd)
        processes.append(running)
        return running

    return start


@pytest.fixture
def tool():
    """A program that the tests need: missing is an error, never a skip."""
    def find(name):
        beside = pathlib.Path(sys.executable).parent / name
        path = beside if beside.is_file() else shutil.which(name)
        assert path, f"{name} is missing: run `make tools`"
        return str(path)

    return find
