//! What texts ask for, and how bad ones fail.

use super::*;

fn refresh(database: Option<&str>, schema: &str, view: &str) -> Command {
    Command::Refresh(ViewName {
        database: database.map(str::to_owned),
        schema: schema.to_owned(),
        view: view.to_owned(),
    })
}

#[test]
fn every_form_of_refresh_is_understood() {
    for (sql, expected) in [
        ("REFRESH MATERIALIZED VIEW v", refresh(None, "public", "v")),
        ("refresh materialized view S.V;", refresh(None, "s", "v")),
        (
            "REFRESH MATERIALIZED VIEW \"S\".\"My-View\" RESTRICT",
            refresh(None, "s", "my-view"),
        ),
        (
            "REFRESH MATERIALIZED VIEW d.s.v CASCADE ;",
            refresh(Some("d"), "s", "v"),
        ),
        (
            "/* tidekeeper view=a */ REFRESH MATERIALIZED VIEW v",
            refresh(None, "public", "v"),
        ),
        (
            "-- why\nREFRESH /* x */ MATERIALIZED VIEW v",
            refresh(None, "public", "v"),
        ),
        (
            "REFRESH MATERIALIZED VIEW \"a\"\"b\"",
            refresh(None, "public", "a\"b"),
        ),
    ] {
        assert_eq!(parse(sql), Ok(expected), "{sql}");
    }
}

#[test]
fn settings_are_understood() {
    let timeout = |millis| Setting::StatementTimeout(Some(Duration::from_millis(millis)));
    for (sql, expected) in [
        ("SET statement_timeout TO 5000", timeout(5000)),
        ("SET statement_timeout = '250'", timeout(250)),
        (
            "/* c */ SET statement_timeout TO 0",
            Setting::StatementTimeout(None),
        ),
        ("SET query_group TO 'streaming'", Setting::Other),
        (
            "SET enable_case_sensitive_identifier TO true",
            Setting::CaseSensitive(true),
        ),
    ] {
        assert_eq!(parse(sql), Ok(Command::Set(expected)), "{sql}");
    }
}

#[test]
fn what_is_not_sql_fails_with_the_place_of_the_mistake() {
    for (sql, expected) in [
        (
            "REFRESH MATERIALIZED TABLE v",
            "ERROR: syntax error at or near \"TABLE\"\n  Position: 22",
        ),
        (
            "REFRESH MATERIALIZED VIEW v\n  FROM x",
            "ERROR: syntax error at or near \"FROM\"\n  Position: 31",
        ),
        (
            "REFRESH MATERIALIZED VIEW",
            "ERROR: syntax error at end of input",
        ),
        (
            "REFRESH MATERIALIZED VIEW a.",
            "ERROR: syntax error at end of input",
        ),
        (
            "SELEKT 1",
            "ERROR: syntax error at or near \"SELEKT\"\n  Position: 1",
        ),
        (
            "SELECT FROM FROM",
            "ERROR: syntax error at or near \"FROM\"\n  Position: 13",
        ),
        ("", "ERROR: syntax error at end of input"),
    ] {
        assert_eq!(parse(sql), Err(expected.to_owned()), "{sql}");
    }
}

#[test]
fn sql_that_this_floor_cannot_run_fails_with_a_feature_text() {
    let error = parse("INSERT INTO t VALUES (1)").unwrap_err();
    assert!(
        error.starts_with("ERROR: feature not supported:"),
        "{error}"
    );
    let error = parse("SET a = 1; SET b = 2").unwrap_err();
    assert!(error.contains("multiple commands"), "{error}");
}

#[test]
fn a_bad_timeout_is_refused() {
    let error = parse("SET statement_timeout TO 'soon'").unwrap_err();
    assert!(
        error.contains("invalid value for parameter \"statement_timeout\""),
        "{error}"
    );
}

fn view(schema: &str, view: &str) -> ViewName {
    ViewName {
        database: None,
        schema: schema.to_owned(),
        view: view.to_owned(),
    }
}

#[test]
fn the_walkthroughs_external_schema_is_understood_as_written() {
    let sql = "CREATE EXTERNAL SCHEMA schema_stream\nFROM KINESIS\nIAM_ROLE \
               'arn:aws:iam::222222222222:role/A,arn:aws:iam::111111111111:role/B';";
    let Ok(Command::CreateExternalSchema(schema)) = parse(sql) else {
        panic!("{:?}", parse(sql));
    };
    assert_eq!(schema.name, "schema_stream");
    assert_eq!(schema.source, SchemaSource::Kinesis { region: None });
    assert_eq!(
        schema.iam_role.as_deref(),
        Some("arn:aws:iam::222222222222:role/A,arn:aws:iam::111111111111:role/B")
    );
}

#[test]
fn every_form_of_external_schema_over_a_stream_is_understood() {
    for (sql, source, role) in [
        (
            "CREATE EXTERNAL SCHEMA IF NOT EXISTS k FROM KINESIS REGION 'us-west-2' IAM_ROLE default",
            SchemaSource::Kinesis {
                region: Some("us-west-2".to_owned()),
            },
            None,
        ),
        (
            "create external schema k from kafka iam_role 'r' authentication iam uri 'b:9098'",
            SchemaSource::Kafka {
                uri: "b:9098".to_owned(),
            },
            Some("r"),
        ),
        (
            "CREATE EXTERNAL SCHEMA k FROM MSK IAM_ROLE 'r' AUTHENTICATION none CLUSTER_ARN 'arn'",
            SchemaSource::Kafka { uri: String::new() },
            Some("r"),
        ),
    ] {
        let Ok(Command::CreateExternalSchema(schema)) = parse(sql) else {
            panic!("{sql}: {:?}", parse(sql));
        };
        assert_eq!(schema.source, source, "{sql}");
        assert_eq!(schema.iam_role.as_deref(), role, "{sql}");
    }
}

#[test]
fn a_materialized_view_carries_its_query_as_written() {
    let sql = "CREATE MATERIALIZED VIEW S.v BACKUP NO DISTSTYLE KEY DISTKEY(a) SORTKEY(b, c) \
               AUTO REFRESH YES AS SELECT a, json_parse(data) as payload FROM k.\"my-Stream\";";
    let Ok(Command::CreateView(created)) = parse(sql) else {
        panic!("{:?}", parse(sql));
    };
    assert_eq!(created.name, view("s", "v"));
    assert!(created.auto_refresh);
    assert_eq!(
        created.text,
        "SELECT a, json_parse(data) as payload FROM k.\"my-Stream\""
    );
    assert_eq!(parse_query(&created.text), Ok(created.query));
}

#[test]
fn a_sort_key_after_auto_refresh_is_a_syntax_error_as_in_redshift() {
    let sql = "CREATE MATERIALIZED VIEW v AUTO REFRESH YES SORTKEY(a) AS SELECT 1";
    assert_eq!(
        parse(sql),
        Err("ERROR: syntax error at or near \"SORTKEY\"\n  Position: 45".to_owned())
    );
}

#[test]
fn what_changes_and_drops_things_is_understood() {
    for (sql, expected) in [
        (
            "ALTER MATERIALIZED VIEW s.v AUTO REFRESH NO",
            Command::AutoRefresh {
                name: view("s", "v"),
                on: false,
            },
        ),
        (
            "DROP MATERIALIZED VIEW IF EXISTS v CASCADE;",
            Command::DropView {
                name: view("public", "v"),
                if_exists: true,
                cascade: true,
            },
        ),
        (
            "DROP SCHEMA k",
            Command::DropSchema {
                name: "k".to_owned(),
                if_exists: false,
                cascade: false,
            },
        ),
        (
            "CREATE SCHEMA IF NOT EXISTS Stage AUTHORIZATION me",
            Command::CreateSchema {
                name: "stage".to_owned(),
                if_not_exists: true,
            },
        ),
        (
            "ALTER USER \"IAMR:Tidekeeper\" SET query_group TO 'streaming'",
            Command::Accepted,
        ),
        ("GRANT USAGE ON SCHEMA k TO me", Command::Accepted),
    ] {
        assert_eq!(parse(sql), Ok(expected), "{sql}");
    }
}

#[test]
fn named_parameters_become_values_and_nothing_else() {
    let bind = |sql: &str| bind(sql, &[("id".to_owned(), "it's".to_owned())]);
    assert_eq!(bind("SELECT :id, x::int"), "SELECT 'it''s', x::int");
    assert_eq!(bind("SELECT ':id'"), "SELECT ':id'");
    assert_eq!(bind("SELECT :other"), "SELECT :other");
}
