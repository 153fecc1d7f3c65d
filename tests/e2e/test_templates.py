"""What is deployed: linters of three makers accept it, and the facts that keep it safe hold."""

import json
import re
import subprocess

import pytest
import yaml

from harness import ROOT, environment

SERVICE = "deploy/cloudformation/service.yaml"
DAEMON = "/usr/local/bin/tidekeeper"


class Template(yaml.SafeLoader):
    """YAML with CloudFormation's short tags, each read as `{tag: value}`."""


def _tagged(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    return {suffix: loader.construct_mapping(node, deep=True)}


Template.add_multi_constructor("!", _tagged)


@pytest.fixture(scope="module")
def template():
    return yaml.load((ROOT / SERVICE).read_text(), Loader=Template)


@pytest.fixture(scope="module")
def container(template):
    [only] = template["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    return only


@pytest.fixture(scope="module")
def dockerfile():
    """Its instructions, continued lines joined, comments left out."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


@pytest.mark.parametrize(
    "linter",
    [
        ["cfn-lint", SERVICE],
        ["hadolint", "Dockerfile"],
        ["yamllint", "--strict", "deploy"],
    ],
    ids=lambda linter: linter[0],
)
def test_the_linter_finds_nothing(tool, linter):
    name, *arguments = linter
    checked = subprocess.run(
        [tool(name), *arguments],
        cwd=ROOT, text=True, capture_output=True, timeout=120, env=environment(), check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def statements(node):
    """Every IAM statement anywhere below, `!If` branches included."""
    if isinstance(node, dict):
        if "Effect" in node and "Action" in node:
            yield node
        for value in node.values():
            yield from statements(value)
    elif isinstance(node, list):
        for value in node:
            yield from statements(value)


def as_list(value):
    return value if isinstance(value, list) else [value]


def test_no_role_may_do_more_than_is_named(template):
    allowed = [
        statement
        for resource in template["Resources"].values()
        if resource["Type"].startswith("AWS::IAM::")
        for statement in statements(resource["Properties"])
    ]
    assert len(allowed) >= 8
    for statement in allowed:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in as_list(statement["Action"])), statement
    # Only where AWS knows no resource for the action.
    everywhere = {
        action
        for statement in allowed
        if "*" in as_list(statement.get("Resource", []))
        for action in as_list(statement["Action"])
    }
    assert everywhere == {
        "ecr:GetAuthorizationToken",
        "redshift-data:CancelStatement",
        "redshift-data:DescribeStatement",
        "redshift-data:GetStatementResult",
        "redshift-data:ListStatements",
    }


def test_the_task_may_assume_only_the_roles_that_are_named(template):
    role = template["Resources"]["TaskRole"]["Properties"]["Policies"]
    named = {
        policy["If"][0]: statement["Resource"]
        for policy in role
        for statement in statements(policy)
        if statement["Action"] == "sts:AssumeRole"
    }
    assert named == {"HasAssumeRole": {"Ref": "AssumeRoleArn"}, "HasProbeRoles": {"Ref": "ProbeRoleArns"}}


def test_a_new_task_may_adopt_what_the_old_one_left_running(template):
    follow = [
        statement
        for statement in statements(template["Resources"]["TaskRole"]["Properties"]["Policies"])
        if "redshift-data:ListStatements" in as_list(statement["Action"])
    ]
    assert len(follow) == 1
    assert "Condition" not in follow[0], "aws:userid differs from task to task"


def test_arns_are_made_for_the_partition_that_they_are_deployed_in():
    text = (ROOT / SERVICE).read_text()
    made = re.findall(r"arn:(\S+?):(?:redshift|iam|ecs|logs|ecr)[:-]", re.sub(r"(?m)^\s*AllowedPattern.*$", "", text))
    assert made
    assert set(made) == {"${AWS::Partition}"}


def test_two_daemons_never_run_at_once_during_a_deployment(template):
    service = template["Resources"]["Service"]["Properties"]
    deployment = service["DeploymentConfiguration"]
    assert service["DesiredCount"] == 1
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (0, 100)
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}


def test_the_container_is_hardened_and_watched(container):
    assert container["HealthCheck"]["Command"] == ["CMD", DAEMON, "healthcheck"]
    assert container["ReadonlyRootFilesystem"] is True
    assert int(container["User"].split(":")[0]) > 0
    assert container["LinuxParameters"]["Capabilities"]["Drop"] == ["ALL"]
    assert container["StopTimeout"] == 120
    assert container["DockerLabels"]["ECS_PROMETHEUS_EXPORTER_PORT"] == "9464"
    assert container["DockerLabels"]["ECS_PROMETHEUS_METRICS_PATH"] == "/metrics"
    names = {variable["Name"] for variable in container["Environment"]}
    assert {"TIDEKEEPER_CONFIG_CONTENT", "TIDEKEEPER_DAEMON__LISTEN"} <= names


def test_nobody_reaches_the_task_unless_a_scraper_is_named(template):
    group = template["Resources"]["SecurityGroup"]["Properties"]
    condition, rules, otherwise = group["SecurityGroupIngress"]["If"]
    assert condition == "HasScraper"
    assert otherwise == {"Ref": "AWS::NoValue"}
    assert [(r["FromPort"], r["ToPort"], "SourceSecurityGroupId" in r, "CidrIp" in r) for r in rules] == [
        (9464, 9464, True, False)
    ]
    assert template["Parameters"]["ScraperSecurityGroupId"]["Default"] == ""


def test_logs_are_kept_for_a_stated_time(template):
    group = template["Resources"]["LogGroup"]["Properties"]
    assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_every_free_text_parameter_has_a_pattern(template):
    loose = [
        name
        for name, parameter in template["Parameters"].items()
        if parameter["Type"] == "String" and not parameter.keys() & {"AllowedPattern", "AllowedValues"}
    ]
    assert loose == []


def test_the_image_runs_as_nobody_without_a_shell(dockerfile):
    final = dockerfile[max(i for i, (word, _) in enumerate(dockerfile) if word == "FROM") :]
    last = dict(final)
    assert "distroless" in last["FROM"]
    assert int(last["USER"].split(":")[0]) > 0
    # Exec form: JSON, not a shell's line.
    assert json.loads(last["ENTRYPOINT"]) == [DAEMON]
    assert json.loads(last["CMD"]) == ["run", "--config", "/etc/tidekeeper/tidekeeper.toml"]
    assert json.loads(last["HEALTHCHECK"].split("CMD", 1)[1]) == [DAEMON, "healthcheck"]
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert last["ENV"] == "TIDEKEEPER_DAEMON__LISTEN=0.0.0.0:9464"
    assert last["EXPOSE"] == "9464"
    assert not any(word == "RUN" for word, _ in final)


def test_the_build_is_given_no_more_than_it_reads():
    lines = (ROOT / ".dockerignore").read_text().split()
    assert "*" in lines
    assert {"!Cargo.lock", "!src", "!crates"} <= set(lines)
