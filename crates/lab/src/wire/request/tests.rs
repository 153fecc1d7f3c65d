//! The table of what is refused, and with which words.

use serde_json::json;

use super::*;

fn fields(value: impl std::borrow::Borrow<Value>) -> Fields {
    Fields::read(value.borrow().to_string().as_bytes()).unwrap()
}

fn good() -> Value {
    json!({ "Sql": "REFRESH MATERIALIZED VIEW v", "WorkgroupName": "lab", "Database": "dev" })
}

fn with(mut value: Value, changes: &Value) -> Value {
    for (key, change) in changes.as_object().unwrap() {
        value[key] = change.clone();
    }
    value
}

fn refused(changes: &Value) -> String {
    let error = fields(with(good(), changes)).execute().unwrap_err();
    assert!(error.http == 400, "{error:?}");
    format!("{}: {}", error.kind, error.message)
}

#[test]
fn a_submit_is_refused_for_each_field_that_is_not_valid() {
    let long = |length: usize| "x".repeat(length);
    for (changes, expected) in [
        (
            json!({ "Sql": null }),
            "'sql' failed to satisfy constraint: Member must not be null",
        ),
        (
            json!({ "Sql": 1 }),
            "SerializationException: Sql is not a string.",
        ),
        (json!({ "Sql": long(102_401) }), "larger than 100 KB"),
        (
            json!({ "WorkgroupName": null }),
            "Either ClusterIdentifier, WorkgroupName or SessionId must be provided.",
        ),
        (
            json!({ "ClusterIdentifier": "c" }),
            "Only one of ClusterIdentifier and WorkgroupName",
        ),
        (
            json!({ "WorkgroupName": null, "ClusterIdentifier": "C_1" }),
            "'clusterIdentifier' failed to satisfy constraint: Member must satisfy regular expression",
        ),
        (
            json!({ "WorkgroupName": null, "ClusterIdentifier": "a--b" }),
            "regular expression",
        ),
        (
            json!({ "WorkgroupName": "ab" }),
            "'workgroupName' failed to satisfy constraint: Member must have length greater than or equal to 3",
        ),
        (
            json!({ "DbUser": "me" }),
            "DbUser cannot be provided with WorkgroupName.",
        ),
        (json!({ "Database": null }), "Database must be provided."),
    ] {
        let text = refused(&changes);
        assert!(text.contains(expected), "{changes}: {text}");
    }
    let both = with(
        good(),
        &json!({ "WorkgroupName": null, "ClusterIdentifier": "c", "DbUser": "u", "SecretArn": "a" }),
    );
    assert!(
        fields(both)
            .execute()
            .unwrap_err()
            .message
            .contains("DbUser and SecretArn")
    );
}

#[test]
fn a_submit_is_refused_for_each_length_number_and_choice_out_of_range() {
    let long = |length: usize| "x".repeat(length);
    for (changes, expected) in [
        (
            json!({ "StatementName": long(2049) }),
            "'statementName' failed to satisfy constraint: Member must have length less than or equal to 2048",
        ),
        (
            json!({ "ClientToken": "" }),
            "'clientToken' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        (
            json!({ "ClientToken": long(65) }),
            "less than or equal to 64",
        ),
        (
            json!({ "WaitTimeSeconds": 0 }),
            "'waitTimeSeconds' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ),
        (json!({ "WaitTimeSeconds": 31 }), "less than or equal to 30"),
        (
            json!({ "WaitTimeSeconds": 1.5 }),
            "SerializationException: WaitTimeSeconds is not an integer.",
        ),
        (
            json!({ "ResultFormat": "XML" }),
            "enum value set: [JSON, CSV]",
        ),
        (
            json!({ "SessionKeepAliveSeconds": 10 }),
            "Sessions are not supported",
        ),
        (
            json!({ "Parameters": [{ "name": "p", "value": "1" }] }),
            "Parameter p is not used",
        ),
        (json!({ "Parameters": [] }), "'parameters' failed"),
    ] {
        let text = refused(&changes);
        assert!(text.contains(expected), "{changes}: {text}");
    }
}

#[test]
fn the_limits_themselves_are_allowed() {
    let changes = json!({
        "StatementName": "x".repeat(2048), "ClientToken": "x".repeat(64), "WaitTimeSeconds": 30,
        "WithEvent": true, "SomethingNew": 1,
    });
    let submit = fields(with(good(), &changes)).execute().unwrap();
    assert_eq!((submit.wait, submit.warehouse.as_str()), (Some(30), "lab"));
}

#[test]
fn a_workgroup_can_be_named_by_its_arn() {
    let arn = "arn:aws:redshift-serverless:eu-west-1:111111111111:workgroup/lab";
    let submit = fields(with(good(), &json!({ "WorkgroupName": arn })))
        .execute()
        .unwrap();
    assert_eq!(submit.warehouse, "lab");
}

#[test]
fn a_batch_holds_one_to_forty_texts_and_is_a_transaction_unless_told() {
    let batch = |sqls: usize, mode: Value| {
        let sqls = vec!["SET a = 1"; sqls];
        fields(with(
            good(),
            &json!({ "Sqls": sqls, "ExecutionMode": mode }),
        ))
        .batch()
    };
    assert_eq!(
        batch(1, Value::Null).unwrap().batch,
        Some(Mode::Transaction)
    );
    assert_eq!(
        batch(40, json!("AUTO_COMMIT")).unwrap().batch,
        Some(Mode::AutoCommit)
    );
    assert!(
        batch(0, Value::Null)
            .unwrap_err()
            .message
            .contains("'sqls'")
    );
    assert!(
        batch(41, Value::Null)
            .unwrap_err()
            .message
            .contains("less than or equal to 40")
    );
    assert!(
        batch(1, json!("LOOSE"))
            .unwrap_err()
            .message
            .contains("[TRANSACTION, AUTO_COMMIT]")
    );
    assert!(
        fields(good())
            .batch()
            .unwrap_err()
            .message
            .contains("must not be null")
    );
}

#[test]
fn an_id_is_a_uuid_with_or_without_a_unit() {
    let id = "0a1b2c3d-0000-4000-8000-0123456789ab";
    let ask = |text: &str| fields(json!({ "Id": text })).ask();
    assert_eq!(ask(id).unwrap().unit, None);
    assert_eq!(
        ask(&format!("{id}:2")).unwrap(),
        Ask {
            text: format!("{id}:2"),
            id: id.to_owned(),
            unit: Some(2),
            wait: None,
            next_token: None,
        }
    );
    for bad in [
        "",
        "x",
        &id.to_uppercase(),
        &format!("{id}:"),
        &format!("{id}:x"),
        &id[1..],
    ] {
        let error = ask(bad).unwrap_err();
        assert!(
            error
                .message
                .starts_with("id must satisfy regex pattern: ^[a-z0-9]{8}"),
            "{bad}"
        );
    }
}

#[test]
fn a_list_shows_finished_statements_of_the_role_unless_told() {
    let list = fields(json!({})).list().unwrap();
    assert_eq!(
        (list.status, list.role_level, list.limit),
        (Some(Status::Finished), true, 100)
    );
    assert_eq!(
        fields(json!({ "Status": "ALL" })).list().unwrap().status,
        None
    );
    for (bad, expected) in [
        (json!({ "Status": "DONE" }), "enum value set"),
        (json!({ "MaxResults": 101 }), "less than or equal to 100"),
        (json!({ "MaxResults": -1 }), "greater than or equal to 0"),
        (json!({ "RoleLevel": "yes" }), "RoleLevel is not a boolean."),
        (
            json!({ "Database": "dev" }),
            "must be provided with Database",
        ),
        (
            json!({ "ClusterIdentifier": "c", "WorkgroupName": "www" }),
            "Only one of",
        ),
    ] {
        let error = fields(&bad).list().unwrap_err();
        assert!(error.message.contains(expected), "{bad}: {}", error.message);
    }
}

#[test]
fn a_body_that_is_no_json_object_cannot_be_read() {
    for body in ["", "[]", "{"] {
        let error = Fields::read(body.as_bytes()).err().unwrap();
        assert_eq!(
            (error.http, error.kind),
            (400, "SerializationException"),
            "{body}"
        );
    }
}
