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

    # As the daemon's task: ECS gives a task its role under conditions that ministack does not
    # fulfil, so that the account itself is let in.
    ministack.client("iam", aws_of.WAREHOUSE_ACCOUNT).update_assume_role_policy(
        RoleName="TidekeeperTask",
        PolicyDocument=json.dumps(aws_of.trust({"AWS": f"arn:aws:iam::{aws_of.WAREHOUSE_ACCOUNT}:root"})),
    )
    task = ministack.client("sts", aws_of.WAREHOUSE_ACCOUNT).assume_role(RoleArn=TASK, RoleSessionName="task")
    given = task["Credentials"]
    environment |= {
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
    }
    report = json.loads(run("setup", "verify", "--json", "--config", path, code=2))
    states = {link["name"]: link["state"] for link in report["links"]}
    assert "broken" not in states.values(), report
    assert states["stream schema_stream"] == "ok", "through the probe role"
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
