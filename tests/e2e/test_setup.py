"""What `tidekeeper setup` prints: AWS's own shapes, and the same roles as the templates create."""

import json
import re
import subprocess

import boto3
import pytest
import yaml
from moto import mock_aws

from harness import ROOT, environment, find_binary
from test_templates import Template

STREAM, WAREHOUSE, DAEMON = "111111111111", "222222222222", "333333333333"

CONFIG = """
[daemon]
role_arn = "arn:aws:iam::333333333333:role/TidekeeperTask"

[warehouses.rt]
%s
database = "dev"
region = "eu-west-1"
assume_role = [{ arn = "arn:aws:iam::222222222222:role/Tidekeeper", external_id = "data-platform" }]

[streams.schema_stream]
kinesis = "arn:aws:kinesis:eu-west-1:111111111111:stream/my-data-stream"
role_chain = [
    "arn:aws:iam::222222222222:role/RedshiftStreamRole",
    "arn:aws:iam::111111111111:role/KinesisStreamRole",
]
probe_role_arn = "arn:aws:iam::111111111111:role/TidekeeperProbe"

[[views]]
name = "public.my_stream_vw"
warehouse = "rt"
stream = "schema_stream"
target_lag = "30s"
create = {}
"""

SERVERLESS = CONFIG % 'workgroup = "realtime"'
CLUSTER = CONFIG % 'cluster = "dwh"\nauth = { db_user = "mv_owner" }'


def setup(arguments, config, code=0):
    done = subprocess.run(
        [find_binary(), "setup", *arguments, "--config", "-"],
        input=config, text=True, capture_output=True, timeout=60, env=environment(), check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def plain(value):
    """A list of one is what it holds: IAM reads both alike."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return plain(value[0]) if len(value) == 1 else [plain(inner) for inner in value]
    return value


def wanted(config):
    """The roles that `setup iam` prints, by account and name."""
    accounts = json.loads(setup(["iam"], config))
    return {
        account: {role["name"]: plain({"trust": role["trust"], **role["policies"]}) for role in found["roles"]}
        for account, found in accounts.items()
    }


@pytest.fixture
def aws():
    """IAM of any account of a made-up AWS, which refuses malformed documents."""
    with mock_aws():
        sts = boto3.client("sts", "eu-west-1", aws_access_key_id="test", aws_secret_access_key="test")

        def client(account):
            role = f"arn:aws:iam::{account}:role/Administrator"
            found = sts.assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
            return boto3.client(
                "iam", "eu-west-1", aws_access_key_id=found["AccessKeyId"],
                aws_secret_access_key=found["SecretAccessKey"], aws_session_token=found["SessionToken"],
            )

        yield client


class Stack:
    """What CloudFormation makes of a template's functions, as far as these templates use them.

    moto's CloudFormation is no judge here: it keeps `AWS::NoValue` in lists as a value.
    """

    NOTHING = object()

    def __init__(self, text, account, given):
        self.template = yaml.load(text, Loader=Template)
        declared = self.template.get("Parameters", {})
        assert set(given) <= set(declared), given
        self.values = {name: given.get(name, parameter.get("Default")) for name, parameter in declared.items()}
        assert None not in self.values.values(), "a parameter without a value"
        for name, value in self.values.items():
            assert re.fullmatch(declared[name]["AllowedPattern"], value), name
        self.values |= {
            "AWS::AccountId": account, "AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::NoValue": self.NOTHING,
        }

    def holds(self, condition):
        [(name, value)] = condition.items()
        match name.removeprefix("Fn::"):
            case "Condition":
                return self.holds(self.template["Conditions"][value])
            case "Not":
                return not self.holds(value[0])
            case "And":
                return all(self.holds(part) for part in value)
            case "Equals":
                left, right = (self.resolved(side) for side in value)
                return left == right
        raise AssertionError(name)

    def resolved(self, node):
        if isinstance(node, list):
            found = [self.resolved(inner) for inner in node]
            return [inner for inner in found if inner is not self.NOTHING]
        if not isinstance(node, dict):
            return node
        match list(node.items()):
            case [("Ref", name)]:
                return self.values[name]
            case [("Sub", text)]:
                return re.sub(r"\$\{([^}]+)\}", lambda found: self.values[found[1]], text)
            case [("If", [name, yes, no])]:
                return self.resolved(yes if self.holds({"Condition": name}) else no)
        found = {name: self.resolved(inner) for name, inner in node.items()}
        return {name: inner for name, inner in found.items() if inner is not self.NOTHING}

    def roles(self):
        for resource in self.template["Resources"].values():
            assert resource["Type"] == "AWS::IAM::Role"
            if "Condition" not in resource or self.holds({"Condition": resource["Condition"]}):
                yield self.resolved(resource["Properties"])


def created(aws, account, text, parameters=None):
    """The roles of an account after a stack has been created in it."""
    iam = aws(account)
    for role in Stack(text, account, parameters or {}).roles():
        name, trust = role["RoleName"], json.dumps(role["AssumeRolePolicyDocument"])
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, Path=role.get("Path", "/"))
        for policy in role.get("Policies", []):
            document = json.dumps(policy["PolicyDocument"])
            iam.put_role_policy(RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=document)
    roles = {}
    for role in iam.list_roles()["Roles"]:
        name = role["RoleName"]
        documents = {"trust": role["AssumeRolePolicyDocument"]}
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            documents[policy] = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        roles[name] = plain(documents)
    return roles


def template(name):
    return (ROOT / "deploy/cloudformation" / name).read_text()


def test_the_stream_accounts_template_creates_what_setup_prints(aws):
    parameters = {"StreamName": "my-data-stream", "WarehouseAccountId": WAREHOUSE, "ProbeRoleName": "TidekeeperProbe"}
    roles = created(aws, STREAM, template("stream-account.yaml"), parameters)
    assert set(roles) == {"KinesisStreamRole", "TidekeeperProbe"}
    assert roles == wanted(SERVERLESS)[STREAM]


def test_an_encrypted_stream_is_decrypted_by_both_that_read_it(aws):
    key = f"arn:aws:kms:eu-west-1:{STREAM}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    parameters = {
        "StreamName": "my-data-stream", "WarehouseAccountId": WAREHOUSE, "ProbeRoleName": "TidekeeperProbe", "KmsKeyArn": key,
    }
    roles = created(aws, STREAM, template("stream-account.yaml"), parameters)
    decrypt = {"Sid": "Decrypt", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": key}
    assert roles["KinesisStreamRole"]["KinesisStreamPolicy"]["Statement"][-1] == decrypt
    assert roles["TidekeeperProbe"]["TidekeeperProbePolicy"]["Statement"][-1] == decrypt


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (SERVERLESS, {"WorkgroupArn": f"arn:aws:redshift-serverless:eu-west-1:{WAREHOUSE}:workgroup/*"}),
        (CLUSTER, {"ClusterName": "dwh", "ClusterDbUser": "mv_owner"}),
        (CLUSTER.replace("auth =", "# auth ="), {"ClusterName": "dwh"}),
    ],
    ids=["workgroup", "db_user", "iam_user"],
)
def test_the_warehouse_accounts_template_creates_what_setup_prints(aws, config, what):
    parameters = {
        "StreamAccountId": STREAM, "ProbeRoleName": "TidekeeperProbe", "TidekeeperRoleName": "Tidekeeper",
        "DaemonRoleArn": f"arn:aws:iam::{DAEMON}:role/TidekeeperTask", "ExternalId": "data-platform", **what,
    }
    roles = created(aws, WAREHOUSE, template("warehouse-account.yaml"), parameters)
    assert set(roles) == {"RedshiftStreamRole", "Tidekeeper"}
    assert roles == wanted(config)[WAREHOUSE]


def test_the_walkthroughs_roles_alone_need_four_names(aws):
    roles = created(aws, WAREHOUSE, template("warehouse-account.yaml"), {"StreamAccountId": STREAM})
    assert list(roles) == ["RedshiftStreamRole"]
    trust = roles["RedshiftStreamRole"]["trust"]["Statement"]
    assert trust["Principal"] == {"Service": ["redshift.amazonaws.com", "redshift-serverless.amazonaws.com"]}


@pytest.mark.parametrize("account", [STREAM, WAREHOUSE, DAEMON])
def test_a_printed_template_is_clean_and_creates_what_setup_prints(aws, tool, tmp_path, account):
    text = setup(["iam", "--format", "cloudformation", "--account", account], CLUSTER)
    path = tmp_path / "roles.json"
    path.write_text(text)
    linted = subprocess.run(
        [tool("cfn-lint"), path], text=True, capture_output=True, timeout=120, env=environment(), check=False,
    )
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")
    assert created(aws, account, text) == wanted(CLUSTER)[account]


def test_sides_choose_accounts_and_several_templates_are_told_apart():
    assert list(json.loads(setup(["iam", "--account", "stream"], SERVERLESS))) == [STREAM]
    assert list(json.loads(setup(["iam", "--account", "warehouse"], SERVERLESS))) == [WAREHOUSE, DAEMON]
    parts = setup(["iam", "--format", "cloudformation"], SERVERLESS).split("---\n# account ")
    assert [part[:12] for part in parts[1:]] == [STREAM, WAREHOUSE, DAEMON]


def test_a_chain_that_ends_elsewhere_is_refused():
    broken = SERVERLESS.replace("111111111111:role/KinesisStreamRole", "999999999999:role/KinesisStreamRole")
    said = setup(["iam"], broken, code=78)
    assert "streams.schema_stream: the last role of `role_chain`" in said
    assert "is in account 999999999999, the stream in 111111111111" in said


def test_a_mistake_in_the_configuration_prints_nothing_but_itself():
    said = setup(["sql"], SERVERLESS.replace("30s", "soon"), code=78)
    assert said.startswith("stdin:23:14: `target_lag`: `soon` is no duration")


def test_sql_comes_as_a_script_and_as_json():
    steps = json.loads(setup(["sql", "--json"], SERVERLESS))
    assert [step["object"] for step in steps] == [
        {"kind": "external schema", "name": "schema_stream"},
        {"kind": "materialized view", "name": "public.my_stream_vw"},
        {"kind": "external schema", "name": "schema_stream"},
    ]
    assert {(step["warehouse"], step["database"]) for step in steps} == {("rt", "dev")}
    script = setup(["sql"], SERVERLESS)
    assert [step["sql"] + ";" in script for step in steps] == [True] * 3
    chain = f"arn:aws:iam::{WAREHOUSE}:role/RedshiftStreamRole,arn:aws:iam::{STREAM}:role/KinesisStreamRole"
    assert f"CREATE EXTERNAL SCHEMA schema_stream\nFROM KINESIS\nIAM_ROLE '{chain}';\n" in script


def test_migration_says_the_way_back():
    script = setup(["sql", "--migrate"], SERVERLESS)
    assert "\nALTER MATERIALIZED VIEW public.my_stream_vw AUTO REFRESH NO;\n" in script
    assert "\n-- back: ALTER MATERIALIZED VIEW public.my_stream_vw AUTO REFRESH YES;\n" in script
