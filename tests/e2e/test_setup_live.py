"""`setup iam | apply | verify`, `peek` and `discover`: the walkthrough without a console.

ministack is AWS for both accounts, the lab is Redshift; the roles are created from what `setup iam`
prints, and nothing else.
"""

import json
import subprocess
import urllib.parse

import harness
import ministack as aws_of
from harness import wait_until
from test_walkthrough import USERS

PROBE = f"arn:aws:iam::{aws_of.STREAM_ACCOUNT}:role/TidekeeperProbe"
TASK = f"arn:aws:iam::{aws_of.WAREHOUSE_ACCOUNT}:role/TidekeeperTask"


def create_roles(aws, accounts):
    """Roles as `setup iam` prints them; those that are trusted by name come first."""
    for account in (aws_of.WAREHOUSE_ACCOUNT, aws_of.STREAM_ACCOUNT):
        iam = aws.client("iam", account)
        for role in accounts[account]["roles"]:
            iam.create_role(RoleName=role["name"], AssumeRolePolicyDocument=json.dumps(role["trust"]))
            for name, document in role["policies"].items():
                iam.put_role_policy(RoleName=role["name"], PolicyName=name, PolicyDocument=json.dumps(document))


def as_task(aws):
    """The credentials of the daemon's task: ECS gives it its role under conditions that ministack does
    not fulfil, so that the account itself is let in."""
    aws.client("iam", aws_of.WAREHOUSE_ACCOUNT).update_assume_role_policy(
        RoleName="TidekeeperTask",
        PolicyDocument=json.dumps(aws_of.trust({"AWS": f"arn:aws:iam::{aws_of.WAREHOUSE_ACCOUNT}:root"})),
    )
    task = aws.client("sts", aws_of.WAREHOUSE_ACCOUNT).assume_role(RoleArn=TASK, RoleSessionName="task")
    given = task["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
    }


def test_roles_ddl_proof_and_rows_come_from_one_configuration(ministack, lab, daemon, binary, tmp_path):
    kinesis = ministack.client("kinesis", aws_of.STREAM_ACCOUNT)
    kinesis.create_stream(StreamName=aws_of.STREAM, ShardCount=1)
    ministack.put(*USERS)
    world = lab(aws_of.world(ministack))
    environment = ministack.environment() | {"AWS_ENDPOINT_URL_REDSHIFT_DATA": world.url}
    config = aws_of.config(extra=f'probe_role_arn = "{PROBE}"')
    path = tmp_path / "tidekeeper.toml"
    path.write_text(f'[daemon]\nrole_arn = "{TASK}"\n{config}')

    def run(*arguments, code=0):
        done = subprocess.run(
            [binary, *arguments], env=harness.environment(environment), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    create_roles(ministack, json.loads(run("setup", "iam", "--config", path)))

    refused = run("setup", "apply", "--config", path, code=1)
    assert refused.count("+ ") >= 2, "the plan is shown, and nobody is there to agree"
    assert world.rows("SELECT count(*) AS n FROM svv_mv_info") == [{"n": 0}]
    first = json.loads(run("setup", "apply", "--yes", "--json", "--config", path))
    assert {statement["result"] for statement in first["statements"]} == {"done"}
    again = run("setup", "apply", "--yes", "--config", path)
    assert "materialized view public.my_stream_vw in rt/dev is there" in again

    environment |= as_task(ministack)
    report = json.loads(run("setup", "verify", "--json", "--config", path, code=2))
    states = {link["name"]: link["state"] for link in report["links"]}
    assert "broken" not in states.values(), report
    assert states["stream schema_stream"] == "ok", "through the probe role"
    questions = {row for link in report["links"] if link["state"] == "ok" for row in link.get("assumed", [])}
    assert {"A48", "A49", "A50", "A51", "A52", "A53", "A58", "A59", "A63", "A64", "A66", "A69"} <= questions, report
    assert states["refresh of my_stream_vw"] == "ok"
    assert states["a row of my_stream_vw"] == "ok"
    unseen = [name for name, state in states.items() if state == "unverifiable"]
    assert unseen and all("role" in name for name in unseen), "roles that these credentials may not read are not called good"
    assert run("check", "--online", "--config", path, code=2).count("✓") >= 5

    peeked = json.loads(run("peek", "my_stream_vw", "--json", "--config", path))
    cities = sorted(row["payload"]["location"]["city"] for row in peeked["rows"])
    assert cities == ["Bergen", "Graz"]
    assert "(1 rows)" in run("peek", "public.my_stream_vw", "--limit", "1", "--config", path)
    run("peek", "my_strem_vw", "--config", path, code=1)

    found = run("discover", "--workgroup", "lab", "--database", "dev", "--region", aws_of.REGION, "--target-lag", "20s")
    discovered = tmp_path / "discovered.toml"
    discovered.write_text(found)
    run("check", "--config", discovered)
    assert f"stream/{aws_of.STREAM}" in found and "my_stream_vw" in found

    named = run("discover", "--warehouse", "rt", "--config", path)
    assert '# "my_stream_vw" is configured already' in named

    running = daemon(config, env=environment).wait_ready()
    ministack.put({"location": {"city": "Faro"}})
    wait_until(
        "the daemon brings it in",
        lambda: world.rows("SELECT count(*) AS n FROM my_stream_vw") == [{"n": 3}],
        30,
        alive=running.check_alive,
    )


def test_a_stream_is_probed_through_the_warehouses_roles_and_what_is_refused_is_named(ministack, lab, binary, tmp_path):
    """Only the last of assume_role may assume the probe role, as `setup iam` grants it."""
    ministack.client("kinesis", aws_of.STREAM_ACCOUNT).create_stream(StreamName=aws_of.STREAM, ShardCount=2)
    config = aws_of.config(extra=f'probe_role_arn = "{PROBE}"')
    role = f'assume_role = ["arn:aws:iam::{aws_of.WAREHOUSE_ACCOUNT}:role/Tidekeeper"]'
    config = config.replace("[warehouses.rt]", f"[warehouses.rt]\n{role}")
    path = tmp_path / "tidekeeper.toml"
    path.write_text(f'[daemon]\nrole_arn = "{TASK}"\n{config}')
    environment = ministack.environment() | {"AWS_ENDPOINT_URL_REDSHIFT_DATA": lab(aws_of.world(ministack)).url}

    def run(*arguments):
        return subprocess.run(
            [binary, "setup", *arguments, "--config", path], env=harness.environment(environment), capture_output=True, text=True, timeout=120
        ).stdout

    def told():
        links = json.loads(run("verify", "--json"))["links"]
        return [(link["state"], link["detail"]) for link in links if link["name"].startswith("stream ")]

    create_roles(ministack, json.loads(run("iam")))
    environment |= as_task(ministack)
    assert [state for state, _ in told()] == ["ok"] * 4, told()
    denied = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "kinesis:GetRecords", "Resource": "*"}]}
    ministack.client("iam", aws_of.STREAM_ACCOUNT).put_role_policy(
        RoleName="TidekeeperProbe", PolicyName="Freeze", PolicyDocument=json.dumps(denied)
    )
    *_, (state, detail) = told()
    assert state == "broken" and f"{PROBE}: kinesis:GetRecords: AccessDenied" in detail, detail


def test_both_templates_create_their_stacks_with_the_roles_that_setup_prints(ministack, binary, tmp_path):
    path = tmp_path / "tidekeeper.toml"
    path.write_text(aws_of.config())
    printed = subprocess.run(
        [binary, "setup", "iam", "--config", path], env=harness.environment(), capture_output=True, text=True, check=True
    )
    accounts = json.loads(printed.stdout)
    for account, name, parameters in (
        (aws_of.WAREHOUSE_ACCOUNT, "warehouse-account.yaml", {"StreamAccountId": aws_of.STREAM_ACCOUNT}),
        (
            aws_of.STREAM_ACCOUNT,
            "stream-account.yaml",
            {"StreamName": aws_of.STREAM, "WarehouseAccountId": aws_of.WAREHOUSE_ACCOUNT},
        ),
    ):
        formation = ministack.client("cloudformation", account)
        formation.create_stack(
            StackName="tidekeeper",
            TemplateBody=(harness.ROOT / "deploy" / "cloudformation" / name).read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        formation.get_waiter("stack_create_complete").wait(StackName="tidekeeper", WaiterConfig={"Delay": 1})
        iam = ministack.client("iam", account)
        for role in accounts[account]["roles"]:
            created = iam.get_role(RoleName=role["name"])["Role"]
            trust = created["AssumeRolePolicyDocument"]
            trust = json.loads(urllib.parse.unquote(trust)) if isinstance(trust, str) else trust
            assert plain(trust) == plain(role["trust"])
            names = iam.list_role_policies(RoleName=role["name"])["PolicyNames"]
            assert sorted(names) == sorted(role["policies"])
            for policy, document in role["policies"].items():
                held = iam.get_role_policy(RoleName=role["name"], PolicyName=policy)["PolicyDocument"]
                held = json.loads(urllib.parse.unquote(held)) if isinstance(held, str) else held
                assert plain(held) == plain(document)


def plain(document):
    """A document with a list wherever one or several may stand."""
    if isinstance(document, dict):
        return {
            key: [plain(value)] if key in ("Statement", "Action", "Resource", "Service", "AWS") and not isinstance(value, list) else plain(value)
            for key, value in document.items()
        }
    return sorted((plain(value) for value in document), key=str) if isinstance(document, list) else document
