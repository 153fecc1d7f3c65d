//! Questions against a scripted endpoint that speaks the API's JSON, and against the lab.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value as Json, json};
use tidekeeper_scheduler::{Failure, FailureClass};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::lab_tests::{client, lab};
use super::question::{Question, Rows, Value};
use super::*;

/// An operation's answers: the last one is given again and again.
type Script = BTreeMap<&'static str, VecDeque<(u16, Json)>>;

#[derive(Clone, Default)]
struct Endpoint {
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<(String, Json)>>>,
}

impl Endpoint {
    fn new(script: impl IntoIterator<Item = (&'static str, Vec<(u16, Json)>)>) -> Self {
        let script = script
            .into_iter()
            .map(|(operation, answers)| (operation, answers.into()));
        Self {
            script: Arc::new(Mutex::new(script.collect())),
            asked: Arc::default(),
        }
    }

    /// The bodies with which an operation was called.
    fn asked(&self, operation: &str) -> Vec<Json> {
        let asked = self.asked.lock().unwrap();
        let of = asked.iter().filter(|(of, _)| of == operation);
        of.map(|(_, body)| body.clone()).collect()
    }

    fn answer(&self, headers: &HeaderMap, body: &str) -> (StatusCode, String) {
        let target = headers.get("x-amz-target").unwrap().to_str().unwrap();
        let operation = target.rsplit('.').next().unwrap().to_owned();
        let body = serde_json::from_str(body).unwrap();
        self.asked.lock().unwrap().push((operation.clone(), body));
        let mut script = self.script.lock().unwrap();
        let answers = script.get_mut(operation.as_str());
        let answer = answers.and_then(|answers| match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        });
        let (status, body) =
            answer.unwrap_or_else(|| (400, json!({"__type": "ValidationException"})));
        (StatusCode::from_u16(status).unwrap(), body.to_string())
    }

    async fn serve(&self) -> (Arc<Client>, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let endpoint = self.clone();
        let answer = async move |headers: HeaderMap, body: String| endpoint.answer(&headers, &body);
        let router = Router::new().fallback(answer);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (client(url).await.0, server)
    }

    async fn question(&self, settings: &[String], limit: Duration) -> Result<Rows, Failure> {
        let (client, _server) = self.serve().await;
        let question = Question {
            sql: "SELECT 1",
            settings,
            database: "dev",
            auth: &Auth::Iam,
            limit,
        };
        client.question(&question).await
    }
}

const LONG: Duration = Duration::from_secs(60);

fn accepted() -> (&'static str, Vec<(u16, Json)>) {
    let answer = json!({"Id": "s1", "Status": "SUBMITTED"});
    ("ExecuteStatement", vec![(200, answer)])
}

fn finished(has_result: bool) -> (u16, Json) {
    (
        200,
        json!({"Id": "s1", "Status": "FINISHED", "HasResultSet": has_result}),
    )
}

fn running() -> (u16, Json) {
    (200, json!({"Id": "s1", "Status": "STARTED"}))
}

fn one(record: &Json, next: Option<&str>) -> (u16, Json) {
    let columns = json!([{"name": "a", "typeName": "int4"}]);
    let page = json!({"Records": [[record]], "ColumnMetadata": columns, "NextToken": next});
    (200, page)
}

fn results(pages: Vec<(u16, Json)>) -> (&'static str, Vec<(u16, Json)>) {
    ("GetStatementResult", pages)
}

#[tokio::test]
async fn a_result_is_read_to_its_last_page() {
    let endpoint = Endpoint::new([
        accepted(),
        ("DescribeStatement", vec![running(), finished(true)]),
        results(vec![
            one(&json!({"longValue": 1}), Some("more")),
            one(&json!({"isNull": true}), None),
        ]),
    ]);
    let rows = endpoint.question(&[], LONG).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Long(1)], vec![Value::Null]]);
    assert_eq!(rows.columns, [("a".to_owned(), "int4".to_owned())]);
    let tokens: Vec<Option<Json>> = endpoint
        .asked("GetStatementResult")
        .iter()
        .map(|body| body.get("NextToken").cloned())
        .collect();
    assert_eq!(tokens, [None, Some(json!("more"))]);
}

#[tokio::test]
async fn every_kind_of_value_is_read_for_what_it_is() {
    for (field, value) in [
        (json!({"longValue": -7}), Value::Long(-7)),
        (json!({"doubleValue": 0.5}), Value::Double(0.5)),
        (json!({"booleanValue": false}), Value::Bool(false)),
        (json!({"isNull": true}), Value::Null),
        (json!({"stringValue": "é "}), Value::Text("é ".to_owned())),
        // "\x01\xff": bytes are no null.
        (json!({"blobValue": "Af8="}), Value::Text("01ff".to_owned())),
    ] {
        let endpoint = Endpoint::new([
            accepted(),
            ("DescribeStatement", vec![finished(true)]),
            results(vec![one(&field, None)]),
        ]);
        let rows = endpoint.question(&[], LONG).await.unwrap();
        assert_eq!(rows.rows, [vec![value]], "{field}");
    }
}

#[tokio::test]
async fn a_statement_without_a_result_is_not_asked_for_one() {
    let endpoint = Endpoint::new([accepted(), ("DescribeStatement", vec![finished(false)])]);
    assert_eq!(endpoint.question(&[], LONG).await, Ok(Rows::default()));
    assert_eq!(endpoint.asked("GetStatementResult"), Vec::<Json>::new());
}

#[tokio::test]
async fn settings_go_before_in_one_batch_and_the_last_statement_has_the_result() {
    let settings = ["SET query_group TO 'q'".to_owned()];
    let described = json!({"Id": "s1", "Status": "FINISHED", "HasResultSet": true, "SubStatements": [
        {"Id": "s1:1", "Status": "FINISHED", "HasResultSet": false},
        {"Id": "s1:2", "Status": "FINISHED", "HasResultSet": true},
    ]});
    let endpoint = Endpoint::new([
        ("BatchExecuteStatement", vec![(200, json!({"Id": "s1"}))]),
        ("DescribeStatement", vec![(200, described)]),
        results(vec![one(&json!({"longValue": 1}), None)]),
    ]);
    let rows = endpoint.question(&settings, LONG).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Long(1)]]);
    let asked = |operation: &str, key: &str| {
        let bodies = endpoint.asked(operation);
        bodies.first().and_then(|body| body.get(key).cloned())
    };
    assert_eq!(
        asked("BatchExecuteStatement", "Sqls"),
        Some(json!(["SET query_group TO 'q'", "SELECT 1"]))
    );
    assert_eq!(asked("GetStatementResult", "Id"), Some(json!("s1:2")));
}

#[tokio::test]
async fn an_endpoint_that_refuses_to_wait_is_asked_without() {
    let refusals = [
        json!({"__type": "ActiveWaitingRequestsExceededException", "message": "too many"}),
        json!({"__type": "ValidationException", "message": "Unknown parameter: WaitTimeSeconds"}),
    ];
    for refusal in refusals {
        let submitted = json!({"Id": "s1", "Status": "SUBMITTED"});
        let endpoint = Endpoint::new([
            ("ExecuteStatement", vec![(200, submitted)]),
            ("DescribeStatement", vec![(400, refusal), finished(false)]),
        ]);
        assert_eq!(endpoint.question(&[], LONG).await, Ok(Rows::default()));
        let described = endpoint.asked("DescribeStatement");
        let waits = described
            .iter()
            .map(|body| body.get("WaitTimeSeconds").is_some());
        assert_eq!(waits.collect::<Vec<_>>(), [true, false]);
    }
}

#[tokio::test]
async fn a_describe_that_fails_in_passing_does_not_give_the_statement_up() {
    for (status, passing) in [
        (
            400,
            json!({"__type": "ThrottlingException", "message": "Rate exceeded"}),
        ),
        (500, json!({"__type": "InternalServerException"})),
        (503, json!({})),
    ] {
        let endpoint = Endpoint::new([
            accepted(),
            (
                "DescribeStatement",
                vec![(status, passing.clone()), finished(false)],
            ),
        ]);
        let answer = endpoint.question(&[], LONG).await;
        assert_eq!(answer, Ok(Rows::default()), "{passing}");
        assert_eq!(endpoint.asked("ExecuteStatement").len(), 1, "{passing}");
    }
}

#[tokio::test]
async fn a_describe_that_is_denied_is_not_tried_again() {
    let denied = json!({"__type": "AccessDeniedException", "message": "no DescribeStatement"});
    let endpoint = Endpoint::new([accepted(), ("DescribeStatement", vec![(400, denied)])]);
    let failure = endpoint.question(&[], LONG).await.unwrap_err();
    assert_eq!(failure.message.as_ref(), "no DescribeStatement");
    assert_eq!(endpoint.asked("DescribeStatement").len(), 1);
}

#[tokio::test]
async fn what_the_engine_says_of_a_failed_statement_is_passed_on() {
    for status in ["FAILED", "ABORTED"] {
        let failed = json!({"Id": "s1", "Status": status, "Error": "ERROR: division by zero"});
        let endpoint = Endpoint::new([accepted(), ("DescribeStatement", vec![(200, failed)])]);
        let failure = endpoint.question(&[], LONG).await.unwrap_err();
        assert_eq!(failure.message.as_ref(), "ERROR: division by zero");
    }
}

/// Statements and results that go on for ever.
#[tokio::test]
async fn what_is_not_through_in_time_is_cancelled_and_its_result_read_no_further() {
    let cancel = || ("CancelStatement", vec![(200, json!({"Status": true}))]);
    let endless = one(&json!({"longValue": 1}), Some("more"));
    let scripts = [
        vec![accepted(), ("DescribeStatement", vec![running()]), cancel()],
        vec![
            accepted(),
            ("DescribeStatement", vec![finished(true)]),
            results(vec![endless]),
            cancel(),
        ],
    ];
    for script in scripts {
        let endpoint = Endpoint::new(script);
        let limit = Duration::from_secs(1);
        let failure = endpoint.question(&[], limit).await.unwrap_err();
        assert!(failure.message.contains("it was cancelled"), "{failure:?}");
        assert_eq!(failure.class, FailureClass::TimedOut);
        let cancelled = endpoint.asked("CancelStatement");
        assert_eq!(cancelled, [json!({"Id": "s1"})]);
    }
}

#[tokio::test]
async fn a_question_is_never_taken_for_the_statement_of_a_view() {
    let endpoint = Endpoint::new([accepted(), ("DescribeStatement", vec![finished(false)])]);
    endpoint.question(&[], LONG).await.unwrap();
    let asked = endpoint.asked("ExecuteStatement");
    let name = asked.first().unwrap().get("StatementName").unwrap();
    let name = name.as_str().unwrap();
    let prefix = names::prefix("test", &WarehouseId::from("wh"));
    assert!(name.starts_with(&prefix), "{name}");
    assert_eq!(names::view_of(&prefix, name), None, "{name}");
}

#[tokio::test]
async fn the_lab_answers_with_names_types_and_values() {
    let bench = lab("").await;
    let question = Question {
        sql: "SELECT 1 AS n, 'a' AS t, NULL AS nothing, true AS yes, JSON_PARSE('{\"a\":[1]}') AS doc",
        settings: &[],
        database: "dev",
        auth: &Auth::Iam,
        limit: LONG,
    };
    let rows = bench.client.question(&question).await.unwrap();
    let row = rows.rows.first().unwrap();
    assert_eq!(rows.value(row, "n"), Some(&Value::Long(1)));
    assert_eq!(rows.text(row, "t"), "a");
    assert_eq!(rows.value(row, "nothing"), Some(&Value::Null));
    assert_eq!(rows.value(row, "yes"), Some(&Value::Bool(true)));
    assert_eq!(rows.text(row, "doc"), "{\"a\":[1]}");
    assert_eq!(rows.value(row, "absent"), None);
    assert!(
        rows.columns
            .contains(&("doc".to_owned(), "super".to_owned()))
    );
}
