"""Processes under test and what they say: the lab, the daemon, and a judge of the lab's history.

Standard library only, so that `make footprint` needs nothing but Python. Every wait is bounded and
says what it waited for; every process is ended by its own handle.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import threading
import time
import tomllib
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


def find_binary():
    binary = pathlib.Path(os.environ.get("TIDEKEEPER_BIN") or ROOT / "target/debug/tidekeeper")
    if not binary.is_file():
        raise FileNotFoundError(f"{binary} is missing: run `make build`, or set TIDEKEEPER_BIN")
    return binary


def environment(extra=None):
    """A small environment: nothing of the person's own AWS or Tidekeeper settings gets in."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return kept | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "RUST_BACKTRACE": "1",
    } | (extra or {})


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, condition, timeout, every=0.05, alive=None):
    """Asks until `condition` gives something true, and returns it."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if alive is not None:
            alive()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{timeout} s were not enough: {what}")
        time.sleep(every)


def http_get(url, timeout=5.0):
    """Status and text; a refused or broken connection is status 0."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


class Process:
    """A child process whose output is read as it comes."""

    def __init__(self, arguments, env=None, cwd=None):
        self.arguments = [str(argument) for argument in arguments]
        self.child = subprocess.Popen(
            self.arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment(env),
            cwd=cwd,
        )
        self.stdout, self.stderr = [], []
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, lines), daemon=True)
            for pipe, lines in ((self.child.stdout, self.stdout), (self.child.stderr, self.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(pipe, lines):
        with pipe:
            for line in pipe:
                lines.append(line.rstrip("\n"))

    @property
    def name(self):
        return " ".join(self.arguments[:2])

    def output(self):
        return "\n".join([*self.stdout[-40:], *self.stderr[-40:]])

    def check_alive(self):
        code = self.child.poll()
        if code is not None:
            raise RuntimeError(f"{self.name} ended with {code}:\n{self.output()}")

    def running(self):
        return self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, timeout):
        """The exit code, once all output has been read."""
        try:
            code = self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} did not end within {timeout} s:\n{self.output()}") from None
        for reader in self._readers:
            reader.join(5)
        return code

    def kill(self):
        if self.running():
            self.child.kill()
        self.wait(10)

    def stop(self):
        """Asks, then insists."""
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        if self.running():
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
        self.wait(10)


class Lab(Process):
    """`tidekeeper lab`, and its truth."""

    def __init__(self, binary, world=None, data=None, listen="127.0.0.1:0", env=None):
        arguments = [binary, "lab", "--listen", listen, "--until-eof"]
        if world is not None:
            arguments += ["--world", world]
        if data is not None:
            arguments += ["--data", data]
        super().__init__(arguments, env)
        try:
            self.url = wait_until("the lab listens", self._announced, 20, alive=self.check_alive)
        except BaseException:
            self.stop()
            raise

    def _announced(self):
        for line in list(self.stdout):
            if found := re.fullmatch(r"listening on (http://\S+)", line):
                return found[1]
        return None

    def client(self, service="redshift-data", region="eu-west-1", retries=1):
        """A boto3 client of this lab; the module itself needs nothing but Python."""
        import boto3
        import botocore.config

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id="AKIDLAB",
            aws_secret_access_key="secret",
            config=botocore.config.Config(
                retries={"total_max_attempts": retries}, read_timeout=60, max_pool_connections=32
            ),
        )

    def sql(self, text, *, workgroup="lab", database="dev", timeout=120, client=None, **more):
        """Runs one statement to its end: what `DescribeStatement` says of it then."""
        client = client or self.client()
        answer = client.execute_statement(
            Sql=text, WorkgroupName=workgroup, Database=database, WaitTimeSeconds=30, **more
        )
        return wait_until(
            f"{text[:60]} ends", lambda: ended(client, answer["Id"]), timeout, alive=self.check_alive
        )

    def rows(self, text, **more):
        """The result of one query: a list of dictionaries."""
        client = more.setdefault("client", self.client(retries=10))
        described = self.sql(text, **more)
        assert described["Status"] == "FINISHED", described.get("Error", described)
        pages, token = [], {}
        while True:
            page = client.get_statement_result(Id=described["Id"], **token)
            pages.append(page)
            if "NextToken" not in page:
                break
            token = {"NextToken": page["NextToken"]}
        names = [column["name"] for column in pages[0]["ColumnMetadata"]]
        return [
            dict(zip(names, (value(field) for field in record)))
            for page in pages
            for record in page["Records"]
        ]

    def history(self):
        status, text = http_get(f"{self.url}/__lab/history")
        if status != 200:
            raise RuntimeError(f"the lab's history answered {status}: {text}")
        return History(json.loads(text))


def ended(client, id):
    described = client.describe_statement(Id=id, WaitTimeSeconds=30)
    return described if described["Status"] in ("FINISHED", "FAILED", "ABORTED") else None


def value(field):
    """A field of a result: what it holds, None for a null."""
    (kind, held), = field.items()
    return None if kind == "isNull" else held


class History:
    """The lab's truth, judged: nothing in here comes from the daemon."""

    def __init__(self, document):
        self.document = document
        self.calls = collections.Counter(document["calls"])
        self.statements = sorted(document["statements"], key=lambda s: s["submitted_s"])

    def of(self, view):
        """The statements of one view (`name` or `schema.name`), oldest first."""
        wanted = qualified(view)
        return [s for s in self.statements if s.get("view") and qualified(s["view"]) == wanted]

    def views(self):
        return sorted({qualified(s["view"]) for s in self.statements if s.get("view")})

    def finished(self, view):
        return [s for s in self.of(view) if s["status"] == "FINISHED"]

    def running(self, view=None):
        """Refreshes that run; what the daemon asks beside them is none."""
        statements = [s for s in self.statements if s.get("view")] if view is None else self.of(view)
        return [s for s in statements if "finished_s" not in s]

    def overlaps(self):
        """Pairs of statements of one view of which the second came before the first had ended."""
        pairs = []
        for view in self.views():
            latest = None
            for statement in self.of(view):
                if latest is not None and statement["submitted_s"] < latest.get("finished_s", float("inf")):
                    pairs.append((latest, statement))
                ends = statement.get("finished_s", float("inf"))
                if latest is None or ends > latest.get("finished_s", float("inf")):
                    latest = statement
        return pairs

    def duration(self, view):
        """The median refresh, from submit to finish."""
        return statistics.median(s["finished_s"] - s["submitted_s"] for s in self.finished(view))

    def cycles(self, view, target_lag, until):
        """Peak lag of every blind cycle, those before the second refresh left out.

        A cycle ends with a successful refresh; the view's data time is the submit of the refresh
        before it, so its peak lag is the finish minus that submit. The cycle that is open at
        `until` counts when its deadline has passed.
        """
        done = self.finished(view)
        peaks = [now["finished_s"] - before["submitted_s"] for before, now in zip(done[1:], done[2:])]
        if len(done) >= 2 and done[-1]["submitted_s"] + target_lag < until:
            peaks.append(until - done[-1]["submitted_s"])
        return peaks


def qualified(view):
    return view.lower() if "." in view else f"public.{view.lower()}"


def percent_decoded_view(statement_name):
    """The view id in `tidekeeper/<instance>/<warehouse>/<view id>/<boot>-<n>`."""
    return urllib.request.unquote(statement_name.split("/")[3])


class Metrics:
    """A page in Prometheus' text format."""

    SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$')
    LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        self.text = text
        self.samples = []
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            found = self.SAMPLE.match(line)
            if not found:
                raise ValueError(f"not a sample: {line!r}")
            self.samples.append((found[1], dict(self.LABEL.findall(found[2] or "")), float(found[3])))

    def all(self, name, **labels):
        return [
            (have, value)
            for sample, have, value in self.samples
            if sample == name and all(have.get(key) == want for key, want in labels.items())
        ]

    def sum(self, name, **labels):
        return sum(value for _, value in self.all(name, **labels))

    def names(self):
        return sorted({name for name, _, _ in self.samples})


class Daemon(Process):
    """`tidekeeper run`, what it logs and what it serves."""

    def __init__(self, binary, config, directory, env=None, instance="e2e", arguments=()):
        if "daemon" in tomllib.loads(config):
            raise ValueError("the harness writes [daemon] itself")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.config = pathlib.Path(directory) / f"tidekeeper-{port}.toml"
        head = f'[daemon]\ninstance = "{instance}"\nlisten = "127.0.0.1:{port}"\n\n'
        self.config.write_text(head + config)
        super().__init__(
            [binary, "run", "--config", self.config, "--log-format", "json", *arguments], env
        )

    def get(self, path, timeout=5.0):
        return http_get(self.url + path, timeout)

    def post(self, view, action, token):
        """Asks for an action on a view; the status of the answer."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/views/{view}/{action}", method="POST", headers={"Authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as refusal:
            return refusal.code

    def ready(self):
        return self.get("/readyz")[0] == 200

    def wait_alive(self, timeout=20):
        wait_until("/healthz says 200", lambda: self.get("/healthz")[0] == 200, timeout, alive=self.check_alive)
        return self

    def wait_ready(self, timeout=20):
        wait_until("/readyz says 200", self.ready, timeout, alive=self.check_alive)
        return self

    def metrics(self):
        status, text = self.get("/metrics")
        if status != 200:
            raise RuntimeError(f"/metrics answered {status}: {text}")
        return Metrics(text)

    def views(self):
        """What `/api/v1/views` says, by view id."""
        status, text = self.get("/api/v1/views")
        if status != 200:
            raise RuntimeError(f"/api/v1/views answered {status}: {text}")
        document = json.loads(text)
        return {view["view"]: view for view in document["views"]}

    def view_text(self, view):
        """All that is said of one view, for "does it give the reason"."""
        return json.dumps(self.views()[view])

    def log(self):
        """The log so far, one dictionary a line, with `level` and `message`; the rest are fields."""
        lines = []
        for line in list(self.stderr):
            try:
                entry = json.loads(line)
            except ValueError:
                lines.append({"level": "UNREADABLE", "message": line})
                continue
            fields = entry.pop("fields", {})
            lines.append({**entry, **fields})
        return lines

    def complaints(self, about=""):
        """WARN and ERROR lines that mention `about` anywhere."""
        return [
            line
            for line in self.log()
            if line["level"] in ("WARN", "ERROR", "UNREADABLE") and about in json.dumps(line)
        ]

    def lines_with(self, *words):
        """Log lines that hold all of these words anywhere, case aside."""
        return [
            line
            for line in self.log()
            if all(word.lower() in json.dumps(line).lower() for word in words)
        ]

    def sigterm(self):
        self.signal(signal.SIGTERM)


def lab_config(endpoint, views, *, workgroup="lab", warehouse="lab", database="dev", extra=""):
    """A configuration for one warehouse; `views` maps a view's name to its keys as TOML text."""
    text = f"""
[warehouses.{warehouse}]
workgroup = "{workgroup}"
database = "{database}"
endpoint_url = "{endpoint}"
{extra}
"""
    for name, keys in views.items():
        text += f'\n[[views]]\nname = "{name}"\nwarehouse = "{warehouse}"\n{keys}\n'
    return text


def lab_world(views, *, head="seed = 11", slots=10, producers=True):
    """A world of one workgroup `lab` and one stream; `views` maps a name to keys as TOML text."""
    text = f"""
{head}

[[warehouses]]
name = "lab"
kind = "workgroup"
databases = ["dev"]
slots = {slots}

[[streams]]
name = "events"
"""
    if producers:
        text += '\n[[producers]]\nstream = "events"\npattern = "steady"\nrate = 5\n'
    for name, keys in views.items():
        text += (
            f'\n[[views]]\nname = "{name}"\ndatabase = "dev"\nwarehouse = "lab"\n'
            f'stream = "events"\n{keys}\n'
        )
    return text
