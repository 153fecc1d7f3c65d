//! The lab over real sockets: framing, headers, long polls, lost answers, the end of the lab.
//!
//! The client is a few lines over TCP, so that nothing between test and wire retries or hides.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{LabError, World, serve};

const WORLD: &str = r#"
[[warehouses]]
name = "lab"
kind = "workgroup"
databases = ["dev"]
[[streams]]
name = "s"
[[producers]]
stream = "s"
pattern = "steady"
rate = 100
[[views]]
name = "quick"
database = "dev"
warehouse = "lab"
stream = "s"
service = { fixed = 0.1 }
[[views]]
name = "stuck"
database = "dev"
warehouse = "lab"
stream = "s"
[[views.faults]]
kind = "stuck"
"#;

struct Lab {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), LabError>>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Lab {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test awaits the handle in `stop`"
    )]
    async fn start(more: &str) -> Self {
        let world = World::from_toml(&format!("{more}\n{WORLD}"), "test").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(world, listener, async { drop(stopped.await) }));
        Self {
            address,
            stop,
            served,
        }
    }

    /// One request on a connection of its own; none when the connection closes without answer.
    async fn ask(&self, head: &str, body: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let text = format!(
            "{head}\r\nhost: lab\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        if stream.read_to_end(&mut bytes).await.is_err() || bytes.is_empty() {
            return None;
        }
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        Some(Answer {
            status,
            head: head.to_lowercase(),
            body,
        })
    }

    async fn call(&self, operation: &str, body: Value) -> Option<Answer> {
        let head = format!(
            "POST / HTTP/1.1\r\ncontent-type: application/x-amz-json-1.1\r\n\
             x-amz-target: RedshiftData.{operation}"
        );
        self.ask(&head, &body.to_string()).await
    }

    async fn refresh(&self, view: &str, more: Value) -> Option<Answer> {
        let mut body = json!({
            "Sql": format!("REFRESH MATERIALIZED VIEW {view}"),
            "WorkgroupName": "lab",
            "Database": "dev",
        });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.call("ExecuteStatement", body).await
    }

    async fn history(&self) -> Value {
        self.ask("GET /__lab/history HTTP/1.1", "")
            .await
            .unwrap()
            .body
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_submit_that_waits_answers_when_the_refresh_has_ended() {
    let lab = Lab::start("").await;
    let answer = lab
        .refresh("quick", json!({ "WaitTimeSeconds": 30 }))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer
            .head
            .contains("content-type: application/x-amz-json-1.1"),
        "{}",
        answer.head
    );
    assert!(
        answer.head.contains("x-amzn-requestid: "),
        "{}",
        answer.head
    );
    assert_eq!(answer.body["Status"], "FINISHED");
    assert_eq!(answer.body["HasResultSet"], false);
    assert!(answer.body["RedshiftPid"].as_i64().unwrap() > 0);
    assert!(answer.body["CreatedAt"].as_f64().unwrap() > 1.6e9);
    let described = lab
        .call("DescribeStatement", json!({ "Id": answer.body["Id"] }))
        .await
        .unwrap();
    assert!(
        described.body["Duration"].as_i64().unwrap() >= 100_000_000,
        "{described:?}"
    );
    lab.stop().await;
}

#[tokio::test]
async fn a_submit_that_does_not_wait_answers_without_a_status() {
    let lab = Lab::start("").await;
    let answer = lab.refresh("stuck", json!({})).await.unwrap();
    assert!(answer.body["Status"].is_null(), "{answer:?}");
    let described = lab
        .call(
            "DescribeStatement",
            json!({ "Id": answer.body["Id"], "WaitTimeSeconds": 1 }),
        )
        .await
        .unwrap();
    assert_eq!(described.body["Status"], "STARTED");
    assert_eq!(described.body["Duration"], -1);
    lab.stop().await;
}

#[tokio::test]
async fn a_refusal_carries_its_type_in_header_and_body() {
    let lab = Lab::start("").await;
    let id = "00000000-0000-4000-8000-000000000000";
    let answer = lab
        .call("DescribeStatement", json!({ "Id": id }))
        .await
        .unwrap();
    assert_eq!(answer.status, 404);
    assert!(
        answer
            .head
            .contains("x-amzn-errortype: resourcenotfoundexception")
    );
    assert_eq!(answer.body["__type"], "ResourceNotFoundException");
    assert_eq!(answer.body["Message"], "Query does not exist.");
    assert_eq!(answer.body["ResourceId"], id);
    let answer = lab
        .refresh("quick", json!({ "WorkgroupName": "elsewhere" }))
        .await
        .unwrap();
    assert_eq!(
        answer.body["Message"],
        "Redshift endpoint doesn't exist in this region."
    );
    assert_eq!(answer.status, 400);
    lab.stop().await;
}

#[tokio::test]
async fn an_operation_or_a_content_type_that_is_not_known_is_refused() {
    let lab = Lab::start("").await;
    let answer = lab.call("ListSessions", json!({})).await.unwrap();
    assert_eq!(
        (answer.status, &answer.body["__type"]),
        (404, &json!("UnknownOperationException"))
    );
    let head =
        "POST / HTTP/1.1\r\ncontent-type: text/plain\r\nx-amz-target: RedshiftData.ListStatements";
    let answer = lab.ask(head, "{}").await.unwrap();
    assert_eq!(answer.body["__type"], "SerializationException");
    lab.stop().await;
}

#[tokio::test]
async fn a_lost_answer_closes_the_connection_and_the_statement_runs() {
    let lab = Lab::start("[[faults]]\nkind = \"lose_answer\"").await;
    assert!(
        lab.refresh("quick", json!({ "StatementName": "n" }))
            .await
            .is_none()
    );
    let history = lab.history().await;
    assert_eq!(history["statements"][0]["name"], "n", "{history}");
    assert_eq!(history["calls"]["ExecuteStatement"], 1);
    lab.stop().await;
}

#[tokio::test]
async fn a_hanging_answer_stays_silent_until_the_lab_ends() {
    let lab = Lab::start("[[faults]]\nkind = \"lose_answer\"\nhow = \"hang\"").await;
    let silent = tokio::time::timeout(Duration::from_millis(300), lab.refresh("quick", json!({})));
    assert!(silent.await.is_err());
    lab.stop().await;
}

#[tokio::test]
async fn the_end_of_the_lab_answers_those_who_wait() {
    let lab = Lab::start("").await;
    let submitted = lab.refresh("stuck", json!({})).await.unwrap();
    let ask = json!({ "Id": submitted.body["Id"], "WaitTimeSeconds": 30 });
    let (stop, address) = (lab.stop, lab.address);
    let waiting = Lab {
        address,
        stop: oneshot::channel().0,
        served: lab.served,
    };
    let (answer, ()) = tokio::join!(waiting.call("DescribeStatement", ask), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.send(()).unwrap();
    });
    assert_eq!(answer.unwrap().body["Status"], "STARTED");
    waiting.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn too_many_waiters_on_one_statement_are_refused_and_places_are_given_back() {
    let lab = Lab::start("[endpoint]\nwaiters_per_statement = 1").await;
    let submitted = lab.refresh("stuck", json!({})).await.unwrap();
    let ask = || json!({ "Id": submitted.body["Id"], "WaitTimeSeconds": 2 });
    let describe = || lab.call("DescribeStatement", ask());
    let (first, second) = tokio::join!(describe(), describe());
    let types: Vec<String> = [first, second]
        .map(|answer| {
            answer.unwrap().body["__type"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .to_vec();
    assert!(
        types.contains(&"ActiveWaitingRequestsExceededException".to_owned()),
        "{types:?}"
    );
    assert!(types.contains(&String::new()), "{types:?}");
    let impatient = tokio::time::timeout(Duration::from_millis(200), describe()).await;
    assert!(impatient.is_err());
    // The place of the client that hung up is free as soon as the server has seen it.
    let mut again = describe().await.unwrap();
    for _ in 0..20 {
        if again.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        again = describe().await.unwrap();
    }
    assert_eq!(again.status, 200, "{again:?}");
    lab.stop().await;
}

#[tokio::test]
async fn the_history_shows_arrivals_and_when_they_became_visible() {
    let lab = Lab::start("").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let answer = lab
        .refresh("quick", json!({ "WaitTimeSeconds": 30 }))
        .await
        .unwrap();
    let history = lab.history().await;
    let statement = &history["statements"][0];
    assert_eq!(statement["id"], answer.body["Id"]);
    assert_eq!(statement["view"], "public.quick");
    let (data, finished) = (
        statement["data_s"].as_f64().unwrap(),
        statement["finished_s"].as_f64().unwrap(),
    );
    let arrivals = history["arrivals"].as_array().unwrap();
    let read = |arrival: &&Value| arrival["t_s"].as_f64().unwrap() <= data;
    assert_eq!(
        json!(arrivals.iter().filter(read).count()),
        statement["records"]
    );
    for arrival in arrivals.iter().filter(read) {
        assert_eq!(arrival["visible_s"], json!({ "public.quick": finished }));
    }
    let later = lab
        .ask("GET /__lab/history?since=1e6 HTTP/1.1", "")
        .await
        .unwrap()
        .body;
    assert_eq!(later["statements"], json!([]));
    let records = lab
        .ask("GET /__lab/records?stream=s&limit=3 HTTP/1.1", "")
        .await
        .unwrap()
        .body;
    assert_eq!(records["records"].as_array().unwrap().len(), 3);
    assert_eq!(
        lab.ask("GET /__lab/health HTTP/1.1", "")
            .await
            .unwrap()
            .body["status"],
        "ok"
    );
    lab.stop().await;
}
