"""The lab, driven by a client that nobody here wrote: boto3.

Every operation, every refusal, long polls, paging, de-duplication and faults. Times are only
compared with each other, never with the wall clock's seconds, apart from bounds that leave an
order of magnitude.
"""

import concurrent.futures
import json
import time

import botocore.exceptions
import pytest

from lab_fixture import WORLDS, lab  # noqa: F401 (a fixture)

SURFACE = WORLDS / "surface.toml"

UNKNOWN = "00000000-0000-4000-8000-000000000000"

SMALL = """
[[warehouses]]
name = "lab"
kind = "workgroup"
databases = ["dev"]
[[streams]]
name = "s"
[[views]]
name = "quick"
database = "dev"
warehouse = "lab"
stream = "s"
service = { fixed = 0.2 }
[[views]]
name = "stuck"
database = "dev"
warehouse = "lab"
stream = "s"
[[views.faults]]
kind = "stuck"
"""


def refresh(client, view, **more):
    more = {"WorkgroupName": "lab", "Database": "dev"} | more
    more = {key: value for key, value in more.items() if value is not None}
    return client.execute_statement(Sql=f"REFRESH MATERIALIZED VIEW {view}", **more)


def ended(client, id, **more):
    for _ in range(10):
        described = client.describe_statement(Id=id, WaitTimeSeconds=5, **more)
        if described["Status"] in ("FINISHED", "FAILED", "ABORTED"):
            return described
    raise AssertionError(described)


def refused(call, *arguments, **more):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(*arguments, **more)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


# ---- operations ---------------------------------------------------------------------------


def test_a_refresh_is_submitted_described_and_finished(lab):
    client = lab(SURFACE).client()
    submitted = refresh(client, "quick", StatementName="td/x/1")
    assert submitted["WorkgroupName"] == "lab" and submitted["Database"] == "dev"
    assert "Status" not in submitted, "only a long poll tells the status"
    described = ended(client, submitted["Id"])
    assert described["Status"] == "FINISHED" and "Error" not in described
    assert described["CreatedAt"] == submitted["CreatedAt"] <= described["UpdatedAt"]
    assert described["Duration"] >= 200_000_000, "nanoseconds"
    assert described["HasResultSet"] is False
    assert described["ResultRows"] == described["ResultSize"] == -1
    assert described["RedshiftPid"] > 0 and described["RedshiftQueryId"] > 0
    assert described["QueryString"] == "REFRESH MATERIALIZED VIEW quick"
    assert "SubStatements" not in described


def test_statuses_move_in_the_documented_order(lab):
    client = lab(SURFACE).client()
    id = refresh(client, "on_cluster", WorkgroupName=None, ClusterIdentifier="dwh", DbUser="mv_owner")["Id"]
    seen = []
    while not seen or seen[-1] not in ("FINISHED", "FAILED", "ABORTED"):
        described = client.describe_statement(Id=id)
        if described["Status"] != (seen[-1] if seen else None):
            seen.append(described["Status"])
        if described["Status"] != "FINISHED":
            assert described["Duration"] == -1
        time.sleep(0.02)
    assert seen == ["SUBMITTED", "PICKED", "STARTED", "FINISHED"]
    assert described["ClusterIdentifier"] == "dwh" and described["DbUser"] == "mv_owner"


def test_comments_quotes_and_suffixes_are_accepted(lab):
    client = lab(SURFACE).client()
    sqls = [
        "/* tidekeeper view=quick attempt=1 */ REFRESH MATERIALIZED VIEW public.quick",
        "-- why\nREFRESH MATERIALIZED VIEW \"public\".\"quick\" RESTRICT;",
        "refresh materialized view dev.public.quick cascade",
        "SET query_group TO 'streaming'",
    ]
    for sql in sqls:
        answer = client.execute_statement(Sql=sql, WorkgroupName="lab", Database="dev", WaitTimeSeconds=10)
        assert answer["Status"] == "FINISHED", sql


def test_a_batch_in_auto_commit_goes_on_after_a_failure(lab):
    server = lab(SURFACE)
    client = server.client()
    batch = client.batch_execute_statement(
        Sqls=["SET statement_timeout TO 60000", "REFRESH MATERIALIZED VIEW gone", "REFRESH MATERIALIZED VIEW quick"],
        ExecutionMode="AUTO_COMMIT", WorkgroupName="lab", Database="dev", WaitTimeSeconds=10,
    )
    assert batch["Status"] == "FAILED"
    described = client.describe_statement(Id=batch["Id"])
    subs = described["SubStatements"]
    assert [sub["Id"] for sub in subs] == [f"{batch['Id']}:{n}" for n in (1, 2, 3)]
    assert [sub["Status"] for sub in subs] == ["FINISHED", "FAILED", "FINISHED"]
    assert described["ExecutionMode"] == "AUTO_COMMIT" and described["Error"] == subs[1]["Error"]
    alone = client.describe_statement(Id=subs[2]["Id"], WaitTimeSeconds=1)
    assert alone["Id"] == subs[2]["Id"] and alone["Status"] == "FINISHED"
    entries = {entry["id"]: entry for entry in server.history()["statements"]}
    assert entries[subs[2]["Id"]]["records"] > 0


def test_a_batch_is_a_transaction_unless_told(lab):
    server = lab(SURFACE)
    client = server.client()
    sqls = ["REFRESH MATERIALIZED VIEW quick", "REFRESH MATERIALIZED VIEW gone", "SET a TO 1"]
    batch = client.batch_execute_statement(Sqls=sqls, WorkgroupName="lab", Database="dev")
    described = ended(client, batch["Id"])
    assert described["ExecutionMode"] == "TRANSACTION" and described["Status"] == "FAILED"
    assert [sub["Status"] for sub in described["SubStatements"]] == ["FINISHED", "FAILED", "ABORTED"]
    assert all(arrival["visible_s"] == {} for arrival in server.history()["arrivals"])


def test_a_sub_statement_can_be_waited_for_alone(lab):
    client = lab(SURFACE).client()
    sqls = ["REFRESH MATERIALIZED VIEW quick", "REFRESH MATERIALIZED VIEW stuck"]
    id = client.batch_execute_statement(
        Sqls=sqls, ExecutionMode="AUTO_COMMIT", WorkgroupName="lab", Database="dev"
    )["Id"]
    first = client.describe_statement(Id=f"{id}:1", WaitTimeSeconds=20)
    assert first["Status"] == "FINISHED"
    assert client.describe_statement(Id=id)["Status"] == "STARTED"
    assert refused(client.describe_statement, Id=f"{id}:3")[0] == "ResourceNotFoundException"


def test_statements_are_listed_by_prefix_status_session_and_in_pages(lab):
    server = lab(SURFACE)
    client, other = server.client(), server.client("AKIDOTHER")
    for n in range(5):
        refresh(client, "quick", StatementName=f"td/a/{n}", WaitTimeSeconds=10)
    refresh(client, "quick", StatementName="TD/a/9", WaitTimeSeconds=10)
    refresh(other, "stuck", StatementName="td/a/stuck")

    def names(client=client, **filters):
        time.sleep(0.4)  # three lists per second are the quota
        return [s["StatementName"] for s in client.list_statements(**filters)["Statements"]]

    assert names(StatementName="td/a/") == [f"td/a/{n}" for n in (4, 3, 2, 1, 0)], "finished by default"
    assert names(StatementName="td/a/", Status="STARTED") == ["td/a/stuck"]
    assert names(StatementName="td/a/s", Status="ALL") == ["td/a/stuck"]
    assert names(Status="ALL", RoleLevel=False, client=other) == ["td/a/stuck"]
    assert len(names(Status="ALL", RoleLevel=True, client=other)) == 7
    assert len(names(Status="ALL", WorkgroupName="lab", Database="dev")) == 7
    assert names(Status="ALL", ClusterIdentifier="dwh") == []

    pages, token = [], {}
    while True:
        time.sleep(0.4)
        page = client.list_statements(StatementName="td/a/", Status="ALL", MaxResults=2, **token)
        pages.append([s["StatementName"] for s in page["Statements"]])
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert pages == [["td/a/stuck", "td/a/4"], ["td/a/3", "td/a/2"], ["td/a/1", "td/a/0"]]
    time.sleep(0.4)
    assert refused(client.list_statements, NextToken="nonsense")[0] == "ValidationException"


def test_a_running_statement_is_cancelled(lab):
    client = lab(SURFACE).client()
    id = refresh(client, "stuck", WaitTimeSeconds=1)["Id"]
    assert client.cancel_statement(Id=id)["Status"] is True
    described = ended(client, id)
    assert described["Status"] == "ABORTED" and "cancelled on user's request" in described["Error"]
    assert refused(client.cancel_statement, Id=id) == (
        "ValidationException",
        f"Could not cancel a query that is already in ABORTED state with ID: {id}",
        400,
    )


def test_a_cancel_is_declined_before_the_start_and_can_be_slow_or_in_vain(lab):
    client = lab(SURFACE).client()
    cluster = {"WorkgroupName": None, "ClusterIdentifier": "dwh", "DbUser": "mv_owner"}
    id = refresh(client, "on_cluster", **cluster)["Id"]
    code, message, _ = refused(client.cancel_statement, Id=id)
    assert code == "ValidationException" and message.endswith(f"state with ID: {id}")
    slow = refresh(client, "slow_to_stop", WaitTimeSeconds=1)["Id"]
    assert client.cancel_statement(Id=slow)["Status"] is True
    assert client.describe_statement(Id=slow)["Status"] == "STARTED"
    assert ended(client, slow)["Status"] == "ABORTED"
    vain = refresh(client, "stubborn", WaitTimeSeconds=1)["Id"]
    assert client.cancel_statement(Id=vain)["Status"] is False
    assert client.describe_statement(Id=vain)["Status"] == "STARTED"


def test_a_refresh_has_no_result(lab):
    client = lab(SURFACE).client()
    id = refresh(client, "quick")["Id"]
    code, message, http = refused(client.get_statement_result, Id=id, WaitTimeSeconds=10)
    assert (code, http) == ("ResourceNotFoundException", 404)
    assert message == "Query does not have result. Please check query status with DescribeStatement."
    assert client.describe_statement(Id=id)["Status"] == "FINISHED", "it has waited"


# ---- refusals and failures ----------------------------------------------------------------


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"WorkgroupName": None}, "Either ClusterIdentifier, WorkgroupName or SessionId must be provided."),
        ({"ClusterIdentifier": "dwh"}, "Only one of"),
        ({"DbUser": "me"}, "DbUser"),
        ({"Database": None}, "Database"),
        ({"WorkgroupName": "elsewhere"}, "Redshift endpoint doesn't exist in this region."),
        ({"WorkgroupName": "dwh"}, "Redshift endpoint doesn't exist in this region."),
        ({"WorkgroupName": "ab"}, "greater than or equal to 3"),
        ({"WorkgroupName": None, "ClusterIdentifier": "Dwh"}, "regular expression pattern"),
        ({"StatementName": "x" * 2049}, "less than or equal to 2048"),
        ({"ClientToken": "x" * 65}, "less than or equal to 64"),
        ({"ClientToken": ""}, "greater than or equal to 1"),
        ({"WaitTimeSeconds": 0}, "greater than or equal to 1"),
        ({"WaitTimeSeconds": 31}, "less than or equal to 30"),
        ({"ResultFormat": "XML"}, "enum value set"),
        ({"SessionKeepAliveSeconds": 60}, "Sessions are not supported"),
        ({"Parameters": [{"name": "p", "value": "1"}]}, "not used"),
    ],
)
def test_a_submit_that_is_not_valid_is_refused(lab, change, expected):
    client = lab(SURFACE).client()
    code, message, http = refused(refresh, client, "quick", **change)
    assert (code, http) == ("ValidationException", 400) and expected in message


def test_a_batch_that_is_not_valid_is_refused(lab):
    client = lab(SURFACE).client()
    where = {"WorkgroupName": "lab", "Database": "dev"}
    for change, expected in [
        ({"Sqls": []}, "'sqls'"),
        ({"Sqls": ["SET a TO 1"] * 41}, "less than or equal to 40"),
        ({"Sqls": ["SET a TO 1"], "ExecutionMode": "LOOSE"}, "enum value set"),
    ]:
        code, message, _ = refused(client.batch_execute_statement, **change, **where)
        assert code == "ValidationException" and expected in message


def test_ids_that_are_unknown_or_no_ids_are_refused(lab):
    client = lab(SURFACE).client()
    for call in (client.describe_statement, client.cancel_statement, client.get_statement_result):
        assert refused(call, Id=UNKNOWN) == ("ResourceNotFoundException", "Query does not exist.", 404)
        code, message, http = refused(call, Id="nonsense")
        assert (code, http) == ("ValidationException", 400)
        assert message.startswith("id must satisfy regex pattern: ^[a-z0-9]{8}")
    assert refused(client.describe_statement, Id=UNKNOWN, WaitTimeSeconds=40)[0] == "ValidationException"


def test_lists_that_are_not_valid_are_refused(lab):
    client = lab(SURFACE).client()
    for change in [{"Status": "DONE"}, {"MaxResults": 101}, {"Database": "dev"}]:
        time.sleep(0.4)
        assert refused(client.list_statements, **change)[0] == "ValidationException"


def test_the_wire_refuses_what_it_cannot_read(lab):
    server = lab(SURFACE)
    for target, body, content_type, kind, http in [
        ("RedshiftData.ListSessions", {}, "application/x-amz-json-1.1", "UnknownOperationException", 404),
        ("Kinesis.PutRecord", {}, "application/x-amz-json-1.1", "UnknownOperationException", 404),
        ("RedshiftData.ListStatements", b"{", "application/x-amz-json-1.1", "SerializationException", 400),
        ("RedshiftData.ListStatements", {}, "text/plain", "SerializationException", 400),
    ]:
        status, headers, answer = server.post(target, body, content_type)
        assert (status, headers["x-amzn-errortype"], answer["__type"]) == (http, kind, kind)
        assert headers["x-amzn-requestid"]


@pytest.mark.parametrize(
    "sql, database, expected",
    [
        ("REFRESH MATERIALIZED VIEW gone", "dev", 'ERROR: relation "public.gone" does not exist'),
        ("REFRESH MATERIALIZED VIEW nowhere.v", "dev", 'ERROR: schema "nowhere" does not exist'),
        ("REFRESH MATERIALIZED VIEW foreign", "dev", "ERROR: must be owner of materialized view foreign"),
        ("REFRESH MATERIALIZED VIEW quick", "none", 'FATAL: database "none" does not exist'),
        ("REFRESH MATERIALIZED VIEW quick", "empty", 'ERROR: relation "public.quick" does not exist'),
        ("REFRESH TABLE quick", "dev", 'ERROR: syntax error at or near "TABLE"\n  Position: 9'),
        ("SELECT FROM FROM", "dev", 'ERROR: syntax error at or near "FROM"\n  Position: 13'),
        ("REFRESH MATERIALIZED VIEW poisoned", "dev", "ERROR: Invalid digit, Value 'x', Pos 0, Type: Integer"),
    ],
)
def test_a_statement_that_redshift_would_refuse_fails_with_its_words(lab, sql, database, expected):
    client = lab(SURFACE).client()
    answer = client.execute_statement(Sql=sql, WorkgroupName="lab", Database=database, WaitTimeSeconds=10)
    assert answer["Status"] == "FAILED"
    assert client.describe_statement(Id=answer["Id"])["Error"] == expected


def test_sql_beyond_this_floor_fails_as_a_missing_feature(lab):
    client = lab(SURFACE).client()
    answer = client.execute_statement(Sql="INSERT INTO t VALUES (1)", WorkgroupName="lab", Database="dev", WaitTimeSeconds=10)
    assert "feature not supported" in client.describe_statement(Id=answer["Id"])["Error"]


# ---- waiting ------------------------------------------------------------------------------


def took(call):
    start = time.monotonic()
    call()
    return time.monotonic() - start


def test_a_long_poll_ends_with_the_statement_or_with_its_time(lab):
    client = lab(SURFACE).client()
    early = took(lambda: refresh(client, "slow", WaitTimeSeconds=30))
    assert 1.4 < early < 10, "it returns when the statement has ended, long before 30 s"
    stuck = refresh(client, "stuck")["Id"]
    short = took(lambda: client.describe_statement(Id=stuck, WaitTimeSeconds=1))
    long = took(lambda: client.describe_statement(Id=stuck, WaitTimeSeconds=3))
    assert 2 < long / short < 4, (short, long)
    described = client.describe_statement(Id=stuck, WaitTimeSeconds=1)
    assert described["Status"] == "STARTED"
    done = refresh(client, "quick", WaitTimeSeconds=30)
    assert done["Status"] == "FINISHED" and done["RedshiftPid"] > 0 and done["HasResultSet"] is False
    assert took(lambda: client.describe_statement(Id=done["Id"], WaitTimeSeconds=30)) < 1


def test_waiters_beyond_the_limit_are_refused(lab):
    server = lab("[endpoint]\nwaiters_per_statement = 3\n" + SMALL)
    client = server.client()
    id = refresh(client, "stuck")["Id"]

    def wait(_):
        try:
            return client.describe_statement(Id=id, WaitTimeSeconds=2)["Status"]
        except botocore.exceptions.ClientError as error:
            return error.response["Error"]["Code"]

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = sorted(pool.map(wait, range(6)))
    assert answers == ["ActiveWaitingRequestsExceededException"] * 3 + ["STARTED"] * 3
    assert wait(None) == "STARTED", "the places are free again"


# ---- tokens, slots, locks, quotas ---------------------------------------------------------


def test_a_client_token_returns_its_statement(lab):
    server = lab(SURFACE)
    client = server.client()
    first = refresh(client, "quick", ClientToken="Token-1")
    again = refresh(client, "quick", ClientToken="Token-1", WaitTimeSeconds=10)
    other = refresh(client, "quick", ClientToken="token-1")
    assert first["Id"] == again["Id"] != other["Id"]
    assert again["Status"] == "FINISHED" and again["CreatedAt"] == first["CreatedAt"]
    history = server.history()
    assert [s["token"] for s in history["statements"]] == ["Token-1", "token-1"]
    assert history["calls"]["ExecuteStatement"] == 3


def test_statements_beyond_the_slots_wait(lab):
    server = lab(SURFACE)
    client = server.client()
    cluster = {"WorkgroupName": None, "ClusterIdentifier": "dwh", "DbUser": "mv_owner"}
    # Each holds a slot while it queues for the view's lock.
    ids = [refresh(client, "on_cluster", **cluster)["Id"] for _ in range(4)]
    for id in ids:
        assert ended(client, id)["Status"] == "FINISHED"
    entries = {entry["id"]: entry for entry in server.history()["statements"]}
    ran = sorted((entries[id]["started_s"], entries[id]["finished_s"]) for id in ids)
    for start, _ in ran:
        assert sum(s <= start < f for s, f in ran) <= 2, "two slots"


def test_two_refreshes_of_one_view_overlap_in_the_history_and_read_everything_once(lab):
    server = lab(SURFACE)
    client = server.client()
    ids = [refresh(client, "slow")["Id"] for _ in range(2)]
    for id in ids:
        assert ended(client, id)["Status"] == "FINISHED"
    history = server.history()
    first, second = (next(s for s in history["statements"] if s["id"] == id) for id in ids)
    assert second["started_s"] < first["finished_s"], "they overlap"
    assert second["data_s"] >= first["finished_s"], "the second reads once it has the lock"
    visible = [a for a in history["arrivals"] if "public.slow" in a["visible_s"]]
    assert len(visible) == first["records"] + second["records"] > 0
    assert sum(a["bytes"] for a in visible) == first["bytes"] + second["bytes"]
    for arrival in visible:
        holder = first if arrival["t_s"] <= first["data_s"] else second
        assert arrival["visible_s"]["public.slow"] == holder["finished_s"]


def test_active_statements_beyond_the_limit_are_refused(lab):
    client = lab("[endpoint]\nactive_statements = 3\n" + SMALL).client()
    for _ in range(3):
        refresh(client, "stuck")
    assert refused(refresh, client, "stuck")[::2] == ("ActiveStatementsExceededException", 400)


def test_requests_beyond_the_quota_are_throttled_and_counted(lab):
    server = lab(SURFACE)
    client = server.client()
    codes = []
    for _ in range(8):
        try:
            client.list_statements()
            codes.append(None)
        except botocore.exceptions.ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
            codes.append(error.response["Error"]["Code"])
    assert codes[:3] == [None] * 3 and "ThrottlingException" in codes[3:]
    assert server.history()["calls"] == {"ListStatements": 8}
    time.sleep(0.5)
    assert "Statements" in client.list_statements(), "the bucket fills again"


# ---- faults -------------------------------------------------------------------------------


def test_a_lost_answer_hides_a_statement_that_runs(lab):
    fault = '[[faults]]\nkind = "lose_answer"\nuntil = 60\n'
    server = lab(fault + SMALL)
    client = server.client()
    with pytest.raises((botocore.exceptions.ConnectionClosedError, botocore.exceptions.EndpointConnectionError)):
        refresh(client, "quick", StatementName="lost", ClientToken="t")
    found = client.list_statements(StatementName="lost", Status="ALL")["Statements"]
    assert len(found) == 1
    assert ended(client, found[0]["Id"])["Status"] == "FINISHED"


def test_a_hanging_answer_never_comes(lab):
    server = lab('[[faults]]\nkind = "lose_answer"\nhow = "hang"\n' + SMALL)
    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        refresh(server.client(read_timeout=1), "quick")
    assert len(server.history()["statements"]) == 1


def test_throttles_come_plain_or_wrapped(lab):
    world = '[[faults]]\nkind = "throttle"\noperations = ["ExecuteStatement"]\nwrapped = {}\n'
    client = lab(world.format(0) + SMALL).client()
    assert refused(refresh, client, "quick")[::2] == ("ThrottlingException", 400)
    client = lab(world.format(1) + SMALL).client()
    code, message, http = refused(refresh, client, "quick")
    assert (code, http) == ("ValidationException", 400)
    assert message.startswith("Service returned error code ThrottlingException (Service: RedshiftServerless")
    assert client.list_statements()["Statements"] == [], "other operations are spared"


def test_an_internal_error_comes_before_or_after_the_submit(lab):
    for executed, statements in [("false", 0), ("true", 1)]:
        server = lab(f'[[faults]]\nkind = "error_500"\nexecuted = {executed}\n' + SMALL)
        assert refused(refresh, server.client(), "quick")[::2] == ("InternalServerException", 500)
        assert len(server.history()["statements"]) == statements


def test_an_endpoint_can_ignore_or_refuse_to_wait(lab):
    client = lab('[[faults]]\nkind = "ignore_wait"\n' + SMALL).client()
    start = time.monotonic()
    answer = refresh(client, "stuck", WaitTimeSeconds=30)
    client.describe_statement(Id=answer["Id"], WaitTimeSeconds=30)
    assert "Status" not in answer and time.monotonic() - start < 10
    client = lab('[[faults]]\nkind = "refuse_wait"\n' + SMALL).client()
    assert refused(refresh, client, "quick", WaitTimeSeconds=30)[0] == "ValidationException"
    assert "Id" in refresh(client, "quick")


def test_a_fault_ends_with_its_window(lab):
    client = lab('[[faults]]\nkind = "error_500"\nuntil = 1.5\n' + SMALL).client()
    assert refused(refresh, client, "quick")[0] == "InternalServerException"
    time.sleep(1.6)
    assert "Id" in refresh(client, "quick")


# ---- worlds and records -------------------------------------------------------------------


def test_the_built_in_world_has_its_views_and_records(lab):
    server = lab()
    client = server.client()
    assert server.get("/__lab/health") == {"status": "ok"}
    time.sleep(1)
    answer = refresh(client, "my_stream_vw", WaitTimeSeconds=10)
    assert answer["Status"] == "FINISHED"
    records = server.get("/__lab/records?stream=sensors&limit=1")["records"]
    user = json.loads(records[0]["data"])
    assert user["name"]["first"] and user["dob"]["date"] and user["location"]["city"] and user["email"]


def test_the_history_can_be_asked_for_what_is_new(lab):
    server = lab(SURFACE)
    client = server.client()
    refresh(client, "quick", WaitTimeSeconds=10)
    since = server.history()["statements"][0]["finished_s"] + 0.01
    later = refresh(client, "quick", WaitTimeSeconds=10)
    news = server.history(since)
    assert [s["id"] for s in news["statements"]] == [later["Id"]]
    assert news["arrivals"]
    for arrival in news["arrivals"]:
        assert arrival["t_s"] >= since or any(at >= since for at in arrival["visible_s"].values())
