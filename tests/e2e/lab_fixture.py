"""Starts labs as child processes for the tests, and gives clients of them.

`TIDEKEEPER_BIN` names the binary whose `lab` subcommand is started; without it the example of
the lab's own crate is (`cargo build -p tidekeeper-lab --example serve`). A lab ends when its
standard input is closed, so that it does not outlive the tests, however they end.
"""

import json
import os
import pathlib
import subprocess
import urllib.error
import urllib.request

import boto3
import botocore.config
import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
WORLDS = HERE / "worlds"
EXAMPLE = ROOT / "target" / "debug" / "examples" / "serve"


class Lab:
    """A running lab."""

    def __init__(self, url):
        self.url = url

    def client(self, access_key="AKIDLAB", read_timeout=60):
        """A boto3 client that tries once and checks nothing before it sends."""
        return boto3.client(
            "redshift-data",
            endpoint_url=self.url,
            region_name="eu-west-1",
            aws_access_key_id=access_key,
            aws_secret_access_key="secret",
            config=botocore.config.Config(
                retries={"total_max_attempts": 1},
                parameter_validation=False,
                read_timeout=read_timeout,
                max_pool_connections=64,
            ),
        )

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def history(self, since=None):
        return self.get("/__lab/history" + (f"?since={since}" if since is not None else ""))

    def post(self, target, body, content_type="application/x-amz-json-1.1"):
        """One raw request: status, headers, body."""
        request = urllib.request.Request(
            self.url + "/",
            data=body if isinstance(body, bytes) else json.dumps(body).encode(),
            headers={"content-type": content_type, "x-amz-target": target},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.load(error)


def command(world):
    binary = os.environ.get("TIDEKEEPER_BIN")
    if binary:
        line = [binary, "lab", "--listen", "127.0.0.1:0", "--until-eof"]
    else:
        line = [str(EXAMPLE), "--listen", "127.0.0.1:0"]
    return line + (["--world", str(world)] if world else [])


@pytest.fixture
def lab(tmp_path):
    """A factory: `lab()` is the built-in world, `lab(path)` a file, `lab("TOML")` a text."""
    children = []

    def start(world=None):
        if isinstance(world, str):
            path = tmp_path / f"world-{len(children)}.toml"
            path.write_text(world)
            world = path
        child = subprocess.Popen(
            command(world), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        children.append(child)
        line = child.stdout.readline().strip()
        assert line.startswith("listening on http://"), line
        return Lab(line.removeprefix("listening on "))

    yield start
    for child in children:
        child.stdin.close()
        assert child.wait(timeout=10) == 0
        child.stdout.close()
