"""The lab's SQL, as a client of the Data API sees it: results, pages, types, catalog, errors."""

import decimal
import json
import re

import botocore.exceptions
import pytest

from harness import ended, wait_until
from shapes import misshapen

WORLD = """
seed = 4
[[warehouses]]
name = "lab"
kind = "workgroup"
databases = ["dev"]
[[warehouses]]
name = "dwh"
kind = "cluster"
databases = ["dev"]
[[streams]]
name = "clicks"
shards = 4
[[views]]
name = "raw"
database = "dev"
warehouse = "lab"
stream = "clicks"
service = { fixed = 0.1 }
"""


def put(world, *texts, stream="clicks"):
    kinesis = world.client("kinesis")
    records = [{"Data": text.encode(), "PartitionKey": f"key-{n}"} for n, text in enumerate(texts)]
    assert kinesis.put_records(StreamName=stream, Records=records)["FailedRecordCount"] == 0


def test_a_result_carries_the_documented_types_and_passes_the_models_validation(lab):
    world = lab(WORLD)
    client = world.client()
    described = world.sql(
        "SELECT 1::smallint AS i2, 2 AS i4, 3::bigint AS i8, 1.5::float8 AS f8, 12.30::decimal(8,2) AS d, "
        "true AS b, 'text' AS v, timestamp '2026-11-23 12:00:00' AS t, null::varchar AS n",
        client=client,
    )
    assert described["Status"] == "FINISHED", described.get("Error")
    assert described["HasResultSet"] and described["ResultRows"] == 1
    page = client.get_statement_result(Id=described["Id"])
    assert page["TotalNumRows"] == 1
    assert page["Records"] == [
        [
            {"longValue": 1},
            {"longValue": 2},
            {"longValue": 3},
            {"doubleValue": 1.5},
            {"stringValue": "12.30"},
            {"booleanValue": True},
            {"stringValue": "text"},
            {"stringValue": "2026-11-23 12:00:00"},
            {"isNull": True},
        ]
    ]
    kinds = [column["typeName"] for column in page["ColumnMetadata"]]
    assert kinds == ["int2", "int4", "int8", "float8", "numeric", "bool", "varchar", "timestamp", "varchar"]


def test_a_large_result_comes_in_pages_and_as_csv(lab):
    world = lab(WORLD)
    client = world.client()
    put(world, *(f'{{"n": {n}, "text": "{"x" * 4000}"}}' for n in range(400)))
    assert world.sql("REFRESH MATERIALIZED VIEW raw")["Status"] == "FINISHED"
    query = "SELECT payload.n::int AS n, payload.text::varchar(5000) AS text FROM raw ORDER BY 1"
    rows = world.rows(query)
    assert [row["n"] for row in rows] == list(range(400))
    described = world.sql(query, client=client)
    first = client.get_statement_result(Id=described["Id"])
    assert first["NextToken"] and len(first["Records"]) < 400
    csv = world.sql(query, client=client, ResultFormat="CSV")
    page = client.get_statement_result_v2(Id=csv["Id"])
    assert page["ResultFormat"] == "CSV" and page["TotalNumRows"] == 400
    assert page["Records"][0]["CSVRecords"].startswith("0," + "x" * 4000)
    for call in (
        lambda: client.get_statement_result(Id=csv["Id"]),
        lambda: client.get_statement_result_v2(Id=described["Id"]),
        lambda: client.get_statement_result(Id=described["Id"], NextToken="nonsense"),
    ):
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            call()
        assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_named_parameters_stand_for_values(lab):
    world = lab(WORLD)
    rows = world.rows("SELECT :a AS a, :b::int + 1 AS b", Parameters=[{"name": "a", "value": "it's"}, {"name": "b", "value": "41"}])
    assert rows == [{"a": "it's", "b": 42}]


def test_a_batch_has_a_result_for_each_of_its_queries(lab):
    world = lab(WORLD)
    client = world.client()
    answer = client.batch_execute_statement(
        Sqls=["SELECT 1 AS one", "SELECT 2 AS two"], WorkgroupName="lab", Database="dev", WaitTimeSeconds=30
    )
    described = wait_until("the batch ends", lambda: ended(client, answer["Id"]), 30)
    assert described["Status"] == "FINISHED" and described["HasResultSet"]
    second = client.get_statement_result(Id=answer["Id"] + ":2")
    assert second["Records"] == [[{"longValue": 2}]]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_statement_result(Id=answer["Id"])


def test_a_view_is_created_refreshed_queried_altered_and_dropped(lab):
    world = lab(WORLD)
    for sql in (
        "CREATE EXTERNAL SCHEMA k FROM KINESIS IAM_ROLE 'arn:aws:iam::111111111111:role/R'",
        'CREATE MATERIALIZED VIEW orders AS SELECT sequencenumber, json_parse(data) AS p FROM k."clicks" '
        "WHERE can_json_parse(data)",
        "CREATE MATERIALIZED VIEW totals AS SELECT p.kind::varchar AS kind, count(*) AS n FROM orders GROUP BY 1",
    ):
        assert world.sql(sql)["Status"] == "FINISHED", sql
    put(world, '{"kind": "a"}', '{"kind": "b"}', '{"kind": "a"}', "not json")
    assert world.rows("SELECT count(*) AS n FROM orders") == [{"n": 0}], "nothing before the refresh"
    assert world.sql("REFRESH MATERIALIZED VIEW totals")["Status"] == "FINISHED"
    assert world.rows("SELECT kind, n FROM totals") == [], "its parent was not refreshed"
    assert world.sql("REFRESH MATERIALIZED VIEW orders")["Status"] == "FINISHED"
    assert world.sql("REFRESH MATERIALIZED VIEW totals")["Status"] == "FINISHED"
    assert world.rows("SELECT kind, n FROM totals ORDER BY 1") == [{"kind": "a", "n": 2}, {"kind": "b", "n": 1}]
    info = world.rows("SELECT trim(name) AS name, trim(user_name) AS owner, autorefresh, state FROM svv_mv_info WHERE name = 'orders'")
    assert info == [{"name": "orders", "owner": "IAMR:tidekeeper", "autorefresh": "f", "state": 1}]
    assert world.sql("ALTER MATERIALIZED VIEW orders AUTO REFRESH YES")["Status"] == "FINISHED"
    assert world.rows("SELECT autorefresh FROM svv_mv_info WHERE name = 'orders'") == [{"autorefresh": "t"}]
    refused = world.sql("ALTER MATERIALIZED VIEW totals AUTO REFRESH YES")
    assert "Auto-refresh is not supported" in refused["Error"]
    for sql in ("DROP SCHEMA k", "DROP MATERIALIZED VIEW orders"):
        assert "other objects depend on it" in world.sql(sql)["Error"]
    assert world.sql("DROP MATERIALIZED VIEW orders CASCADE")["Status"] == "FINISHED"
    assert 'relation "orders" does not exist' in world.sql("SELECT * FROM orders")["Error"]
    assert world.sql("DROP SCHEMA k")["Status"] == "FINISHED"


def test_only_the_owner_refreshes_alters_and_drops(lab):
    world = lab(WORLD)

    def as_user(sql, user):
        client = world.client()
        answer = client.execute_statement(Sql=sql, ClusterIdentifier="dwh", Database="dev", DbUser=user, WaitTimeSeconds=30)
        return wait_until(sql, lambda: ended(client, answer["Id"]), 30)

    create = 'CREATE MATERIALIZED VIEW mine AS SELECT kinesis_data FROM lab."clicks"'
    assert as_user(create, "ada")["Status"] == "FINISHED"
    for sql in (
        "REFRESH MATERIALIZED VIEW mine",
        "ALTER MATERIALIZED VIEW mine AUTO REFRESH YES",
        "DROP MATERIALIZED VIEW mine",
    ):
        assert "must be owner of materialized view mine" in as_user(sql, "bob")["Error"]
    assert as_user("REFRESH MATERIALIZED VIEW mine", "ada")["Status"] == "FINISHED"


@pytest.mark.parametrize(
    "texts, status",
    [
        ([], "Stream returned no new data"),
        (['{"n": 1}'], None),
        (['{"n": 1}', "x" * 2_000], "Some stream records were skipped"),
        (["x" * 2_000, "y" * 2_000], "All records received from the stream were skipped"),
        (["{}"] * 5, "The stream may contain more data"),
    ],
)
def test_the_refresh_history_says_what_a_refresh_did(lab, texts, status):
    world = lab(
        WORLD.replace('databases = ["dev"]', 'databases = ["dev"]\nmax_record = 1000', 1).replace(
            'stream = "clicks"\nservice', 'stream = "clicks"\nmax_records = 4\nservice'
        )
    )
    if texts:
        put(world, *texts)
    assert world.sql("REFRESH MATERIALIZED VIEW raw")["Status"] == "FINISHED"
    (row,) = world.rows(
        "SELECT trim(status) AS status, trim(refresh_type) AS kind, session_id, duration FROM sys_mv_refresh_history"
    )
    assert row["status"].startswith("Refresh successfully updated MV incrementally")
    assert (status or "incrementally") in row["status"]
    assert row["kind"] == "Manual" and row["session_id"] > 0 and row["duration"] >= 100_000
    errors = world.rows("SELECT trim(mv_name) AS mv, trim(error_reason) AS reason FROM sys_stream_scan_errors")
    assert len(errors) == sum(len(text) > 1000 for text in texts)
    (scanned,) = world.rows("SELECT sum(scanned_rows) AS rows, sum(skipped_rows) AS skipped FROM sys_stream_scan_states")
    assert (int(scanned["rows"] or 0), int(scanned["skipped"] or 0)) == (min(len(texts), 4), len(errors))


def test_a_bad_record_blocks_a_view_that_casts_it_until_the_view_is_changed(lab):
    world = lab(WORLD)
    create = "CREATE MATERIALIZED VIEW strict AS SELECT json_parse(kinesis_data).n::int AS n FROM lab.clicks"
    assert world.sql(create)["Status"] == "FINISHED"
    put(world, '{"n": 1}')
    assert world.sql("REFRESH MATERIALIZED VIEW strict")["Status"] == "FINISHED"
    put(world, "this is no json")
    for _ in range(2):
        failed = world.sql("REFRESH MATERIALIZED VIEW strict")
        assert failed["Status"] == "FAILED" and re.search("(?i)json", failed["Error"])
    assert world.rows("SELECT n FROM strict") == [{"n": 1}], "what was read before is still there"
    assert world.sql("REFRESH MATERIALIZED VIEW raw")["Status"] == "FINISHED", "it filters with CAN_JSON_PARSE"


def test_serverless_usage_bills_a_minute_for_a_waking(lab):
    world = lab(WORLD)
    assert world.sql("REFRESH MATERIALIZED VIEW raw")["Status"] == "FINISHED"
    (row,) = world.rows("SELECT sum(compute_seconds) AS computed, sum(charged_seconds) AS charged FROM sys_serverless_usage")
    assert decimal.Decimal(str(row["charged"])) >= decimal.Decimal(str(row["computed"])) > 0


@pytest.mark.parametrize(
    "sql, words",
    [
        ("SELECT * FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELECT nothing FROM raw", 'column "nothing" does not exist'),
        ("SELECT FROM WHERE", "syntax error at or near"),
        ("SELECT " + "(" * 3000 + "1" + ")" * 3000, "ERROR"),
        ("SELECT '" + "x" * 90_000, "ERROR"),
        ("SELECT * FROM lab.clicks", "feature not supported"),
        ("INSERT INTO raw VALUES (1)", "feature not supported"),
        ("CREATE MATERIALIZED VIEW raw AS SELECT 1 AS a", "already exists"),
        ("CREATE MATERIALIZED VIEW s.x AS SELECT 1 AS a", 'schema "s" does not exist'),
        ("CREATE MATERIALIZED VIEW x AS SELECT count(*) AS n FROM lab.clicks", "Materialized view over stream could not be created"),
        ("CREATE MATERIALIZED VIEW x AS SELECT 1 AS a, 2 AS a", "duplicated"),
        ("DROP MATERIALIZED VIEW gone", "does not exist"),
        ("SELECT 1/0", "division by zero"),
    ],
)
def test_what_cannot_be_run_fails_in_redshifts_words(lab, sql, words):
    world = lab(WORLD)
    failed = world.sql(sql)
    assert failed["Status"] == "FAILED"
    assert failed["Error"].startswith("ERROR:") and words in failed["Error"]
    assert world.rows("SELECT 1 AS one") == [{"one": 1}], "and the lab goes on"


def test_every_answer_is_shaped_as_botocores_model_says(lab):
    world = lab(WORLD)
    client = world.client()
    model = client.meta.service_model
    raw = []
    client.meta.events.register(
        "before-parse.redshift-data",
        lambda response_dict, **_: raw.append((response_dict["status_code"], response_dict["body"])),
    )
    seen = set()

    def ask(operation, **members):
        try:
            answer = getattr(client, operation)(**members)
        except botocore.exceptions.ClientError as error:
            answer = error.response
        status, body = raw[-1]
        name = client.meta.method_to_api_mapping[operation]
        shape = model.operation_model(name)
        document = json.loads(body)
        if status == 200:
            faults = [*misshapen(document, shape.output_shape, name)]
        else:
            # ValidationException is every operation's; throttling is in no model.
            declared = {error.name for error in shape.error_shapes} | {"ThrottlingException"}
            faults = [] if document["__type"] in declared else [document["__type"]]
        assert not faults, (faults, document)
        seen.add((name, status))
        return answer

    where = {"WorkgroupName": "lab", "Database": "dev", "WaitTimeSeconds": 30}
    refreshed = ask("execute_statement", Sql="REFRESH MATERIALIZED VIEW raw", StatementName="one", **where)["Id"]
    rows = ask("execute_statement", Sql="SELECT *, 1.5 AS d, null AS n, true AS b FROM svv_mv_info", **where)["Id"]
    csv = ask("execute_statement", Sql="SELECT * FROM svv_mv_info", ResultFormat="CSV", **where)["Id"]
    failed = ask("execute_statement", Sql="SELECT nothing", **where)["Id"]
    batch = ask("batch_execute_statement", Sqls=["SELECT 1", "SELECT 2"], ExecutionMode="AUTO_COMMIT", **where)["Id"]
    for id in (refreshed, rows, csv, failed, batch, batch + ":1"):
        ask("describe_statement", Id=id)
        ask("get_statement_result", Id=id)
        ask("get_statement_result_v2", Id=id)
        ask("cancel_statement", Id=id)
    ask("list_statements", Status="ALL", MaxResults=2)
    ask("execute_statement", Sql="SELECT 1", WorkgroupName="none", Database="dev")
    for operation in ("describe_statement", "get_statement_result", "get_statement_result_v2", "cancel_statement"):
        ask(operation, Id="00000000-0000-4000-8000-000000000000")
    assert {name for name, status in seen if status == 200} >= {
        "ExecuteStatement", "BatchExecuteStatement", "DescribeStatement", "GetStatementResult",
        "GetStatementResultV2", "ListStatements",
    }
    assert {404, 400} <= {status for _, status in seen}
