//! The client against the lab and against scripted endpoints, over real sockets.

use std::collections::BTreeMap;
use std::sync::Mutex;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_redshiftdata::config::Credentials;
use tidekeeper_lab::World;
use tidekeeper_scheduler::{
    AttemptId, Command, DescribeAnswer, Event, FailureClass, Output, Plan, ResolveAnswer,
    Scheduler, Span, StatementStatus, SubmitAnswer, Sweep,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::clock::Clock;

const WORLD: &str = r#"
[[warehouses]]
name = "realtime"
kind = "workgroup"
databases = ["dev"]

[[streams]]
name = "clicks"

[[views]]
name = "fast"
database = "dev"
warehouse = "realtime"
stream = "clicks"
service = { fixed = 0.2 }

[[views]]
name = "stuck"
database = "dev"
warehouse = "realtime"
stream = "clicks"
service = { fixed = 0.2 }
faults = [{ kind = "stuck" }]

[[views]]
name = "owned"
owner = "somebody_else"
database = "dev"
warehouse = "realtime"
stream = "clicks"
service = { fixed = 0.2 }
"#;

/// A place to talk to, and a client that talks to it.
pub(super) struct Bench {
    pub(super) client: Arc<Client>,
    calls: Arc<Mutex<BTreeMap<String, usize>>>,
    _server: JoinSet<()>,
}

impl Bench {
    /// How often an operation was called with this result.
    fn calls(&self, operation: &str, result: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        calls
            .get(&format!("{operation} {result}"))
            .copied()
            .unwrap_or(0)
    }
}

pub(super) async fn client(endpoint: String) -> (Arc<Client>, Arc<Mutex<BTreeMap<String, usize>>>) {
    client_through(endpoint, Vec::new()).await
}

async fn client_through(
    endpoint: String,
    assume_role: Vec<AssumeRole>,
) -> (Arc<Client>, Arc<Mutex<BTreeMap<String, usize>>>) {
    let calls = Arc::new(Mutex::new(BTreeMap::new()));
    let count = Arc::clone(&calls);
    let clock = Clock::start();
    let life = Life {
        instance: "test".to_owned(),
        boot: "b".to_owned(),
        now: Arc::new(move || clock.now()),
        on_call: Arc::new(move |call| {
            let key = format!("{} {}", call.operation, call.result);
            *count.lock().unwrap().entry(key).or_default() += 1;
        }),
    };
    let credentials = Credentials::new("id", "key", None, None, "test");
    let base = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(credentials)
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .load()
        .await;
    let settings = Settings {
        id: WarehouseId::from("wh"),
        target: Target::Workgroup("realtime".to_owned()),
        region: None,
        endpoint_url: Some(endpoint),
        assume_role,
        quota_share: 1.0,
    };
    (Clients::with_base(life, base).client(settings).await, calls)
}

pub(super) async fn lab(faults: &str) -> Bench {
    let world = World::from_toml(&format!("{WORLD}\n{faults}"), "world").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut server = JoinSet::new();
    server.spawn(async move {
        tidekeeper_lab::serve(world, listener, std::future::pending())
            .await
            .unwrap();
    });
    let (client, calls) = client(endpoint).await;
    Bench {
        client,
        calls,
        _server: server,
    }
}

/// An endpoint that gives the same answer to everything.
async fn scripted(answer: &'static str) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut server = JoinSet::new();
    server.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0_u8; 8192];
            let _ = stream.read(&mut request).await.unwrap();
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let (client, calls) = client(endpoint).await;
    Bench {
        client,
        calls,
        _server: server,
    }
}

fn refresh(name: &str, session: Session) -> Refresh {
    Refresh {
        view: ViewId::from(name),
        database: "dev".to_owned(),
        schema: Some("public".to_owned()),
        name: name.to_owned(),
        auth: Auth::Iam,
        session,
    }
}

/// Attempt ids come from a scheduler, so that is where these come from.
pub(super) fn attempt() -> AttemptId {
    let mut config = crate::config::load(
        &crate::config::Source::Text {
            name: "t".to_owned(),
            text: "[warehouses.wh]\nworkgroup = \"rt\"\ndatabase = \"dev\"\n[[views]]\nname = \"fast\"\nwarehouse = \"wh\"\ntarget_lag = \"30s\"\n".to_owned(),
        },
        &BTreeMap::new(),
    );
    let plan: Plan = crate::translate::plan(&config.config.take().unwrap(), &BTreeMap::new());
    let mut scheduler = Scheduler::new(Timestamp::from_micros(0), 1);
    scheduler.handle(Timestamp::from_micros(0), Event::Plan(plan));
    loop {
        match scheduler.poll() {
            Output::Command(Command::Scan { warehouse }) => scheduler.handle(
                Timestamp::from_micros(0),
                Event::Scanned {
                    warehouse,
                    result: Ok(Vec::new()),
                },
            ),
            Output::Command(Command::Sweep { warehouse, .. }) => scheduler.handle(
                Timestamp::from_micros(0),
                Event::Swept {
                    warehouse,
                    result: Ok(Sweep::default()),
                },
            ),
            Output::Command(Command::Submit { attempt, .. }) => return attempt,
            Output::Command(_) | Output::Notice(_) => {}
            Output::Wait(_) | Output::Stopped => panic!("nothing is submitted"),
        }
    }
}

fn accepted(answer: SubmitAnswer) -> (tidekeeper_scheduler::StatementId, StatementStatus) {
    match answer {
        SubmitAnswer::Accepted { statement, status } => (statement, status),
        SubmitAnswer::NotExecuted(failure) | SubmitAnswer::MaybeExecuted(failure) => {
            panic!("{failure:?}")
        }
    }
}

#[tokio::test]
async fn a_refresh_that_ends_inside_the_wait_costs_one_call() {
    let bench = lab("").await;
    let refresh = refresh("fast", Session::default());
    let answer = bench
        .client
        .submit(&refresh, attempt(), Span::from_secs(10))
        .await;
    let (_, status) = accepted(answer);
    assert!(
        matches!(status, StatementStatus::Finished { at: None, .. }),
        "{status:?}"
    );
    assert_eq!(bench.calls("ExecuteStatement", "ok"), 1);
    assert_eq!(bench.calls.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_repeated_submit_is_the_same_statement() {
    let bench = lab("").await;
    let (refresh, attempt) = (refresh("fast", Session::default()), attempt());
    let one = accepted(bench.client.submit(&refresh, attempt, Span::ZERO).await).0;
    let two = accepted(bench.client.submit(&refresh, attempt, Span::ZERO).await).0;
    assert_eq!(one, two);
}

#[tokio::test]
async fn what_runs_is_found_by_its_name() {
    let bench = lab("").await;
    let (refresh, attempt) = (refresh("stuck", Session::default()), attempt());
    let before = bench.client.resolve(&refresh.view, attempt).await;
    assert_eq!(before, ResolveAnswer::NotRunning);
    let statement = accepted(bench.client.submit(&refresh, attempt, Span::ZERO).await).0;
    let found = bench.client.scan().await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].view, &found[0].statement),
        (&refresh.view, &statement)
    );
    let resolved = bench.client.resolve(&refresh.view, attempt).await;
    assert_eq!(resolved, ResolveAnswer::Found { statement });
}

#[tokio::test]
async fn those_who_ask_at_once_share_one_look() {
    let bench = lab("").await;
    let (view, attempt) = (ViewId::from("fast"), attempt());
    let mut set = JoinSet::new();
    for _ in 0..8 {
        let (client, view) = (Arc::clone(&bench.client), view.clone());
        set.spawn(async move { client.resolve(&view, attempt).await });
    }
    let answers = set.join_all().await;
    assert!(
        answers
            .iter()
            .all(|answer| *answer == ResolveAnswer::NotRunning)
    );
    // One look for the first, one for all who came while it was under way.
    assert!(
        bench.calls("ListStatements", "ok") <= 6,
        "{:?}",
        bench.calls
    );
}

#[tokio::test]
async fn a_cancelled_statement_is_seen_to_end() {
    let bench = lab("").await;
    let refresh = refresh("stuck", Session::default());
    let (statement, status) = accepted(
        bench
            .client
            .submit(&refresh, attempt(), Span::from_secs(1))
            .await,
    );
    assert_eq!(status, StatementStatus::Running);
    bench.client.cancel(&statement).await.unwrap();
    let answer = bench.client.describe(&statement, Span::from_secs(5)).await;
    let DescribeAnswer::Status(StatementStatus::Failed(failure)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(failure.class, FailureClass::Cancelled);
}

#[tokio::test]
async fn a_view_of_somebody_else_fails_with_how_to_mend_it() {
    let bench = lab("").await;
    let refresh = refresh("owned", Session::default());
    let (_, status) = accepted(
        bench
            .client
            .submit(&refresh, attempt(), Span::from_secs(5))
            .await,
    );
    let StatementStatus::Failed(failure) = status else {
        panic!("{status:?}");
    };
    assert_eq!(failure.class, FailureClass::Permanent, "{failure:?}");
    assert!(failure.mend.is_some(), "{failure:?}");
}

#[tokio::test]
async fn settings_go_along_in_a_batch_and_cost_one_call_more() {
    let bench = lab("").await;
    let session = Session {
        query_group: Some("streaming".to_owned()),
        case_sensitive: false,
    };
    let good = bench
        .client
        .submit(
            &refresh("fast", session.clone()),
            attempt(),
            Span::from_secs(10),
        )
        .await;
    let (_, status) = accepted(good);
    assert!(
        matches!(status, StatementStatus::Finished { at: Some(_), .. }),
        "{status:?}"
    );
    assert_eq!(bench.calls("BatchExecuteStatement", "ok"), 1);
    assert_eq!(bench.calls("DescribeStatement", "ok"), 1);
    assert_eq!(bench.calls("ExecuteStatement", "ok"), 0);
}

#[tokio::test]
async fn a_failed_refresh_in_a_batch_is_a_failure() {
    let bench = lab("").await;
    let session = Session {
        query_group: Some("streaming".to_owned()),
        case_sensitive: true,
    };
    let answer = bench
        .client
        .submit(&refresh("owned", session), attempt(), Span::from_secs(10))
        .await;
    let (_, status) = accepted(answer);
    assert!(matches!(status, StatementStatus::Failed(_)), "{status:?}");
}

#[tokio::test]
async fn an_endpoint_that_takes_no_wait_is_asked_without() {
    let bench = lab("[[faults]]\nkind = \"refuse_wait\"\n").await;
    let refresh = refresh("fast", Session::default());
    let answer = bench
        .client
        .submit(&refresh, attempt(), Span::from_secs(10))
        .await;
    let (statement, _) = accepted(answer);
    let answer = bench.client.describe(&statement, Span::from_secs(10)).await;
    assert!(matches!(answer, DescribeAnswer::Status(_)), "{answer:?}");
    assert_eq!(
        bench.calls("ExecuteStatement", "permanent"),
        1,
        "refused once, remembered"
    );
    assert_eq!(bench.calls("DescribeStatement", "permanent"), 0);
}

#[tokio::test]
async fn a_lost_answer_may_have_been_executed() {
    let bench =
        lab("[[faults]]\nkind = \"lose_answer\"\noperations = [\"ExecuteStatement\"]\n").await;
    let refresh = refresh("fast", Session::default());
    let answer = bench
        .client
        .submit(&refresh, attempt(), Span::from_secs(1))
        .await;
    assert!(
        matches!(answer, SubmitAnswer::MaybeExecuted(_)),
        "{answer:?}"
    );
    assert_eq!(
        bench.calls("ExecuteStatement", "unreachable"),
        1,
        "the SDK does not retry"
    );
}

#[tokio::test]
async fn a_throttle_was_not_executed_however_it_is_wrapped() {
    for wrapped in ["0.0", "1.0"] {
        let fault = format!("[[faults]]\nkind = \"throttle\"\nwrapped = {wrapped}\n");
        let bench = lab(&fault).await;
        let refresh = refresh("fast", Session::default());
        let answer = bench.client.submit(&refresh, attempt(), Span::ZERO).await;
        let SubmitAnswer::NotExecuted(failure) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(failure.class, FailureClass::Throttled);
        assert_eq!(
            bench.calls("ExecuteStatement", "throttled"),
            1,
            "the SDK does not retry"
        );
    }
}

#[tokio::test]
async fn nobody_listening_means_not_executed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (client, _) = client(endpoint).await;
    let refresh = refresh("fast", Session::default());
    let answer = client.submit(&refresh, attempt(), Span::ZERO).await;
    let SubmitAnswer::NotExecuted(failure) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(failure.class, FailureClass::Unreachable);
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_may_have_been_executed_and_says_so() {
    // The timestamp of moto's server is a text, which the SDK refuses.
    let bench = scripted(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\nconnection: close\r\n\
         content-length: 45\r\n\r\n{\"Id\":\"x\",\"CreatedAt\":\"2026-11-23T09:00:00Z\"}",
    )
    .await;
    let refresh = refresh("fast", Session::default());
    let answer = bench.client.submit(&refresh, attempt(), Span::ZERO).await;
    let SubmitAnswer::MaybeExecuted(failure) = answer else {
        panic!("{answer:?}");
    };
    assert!(
        failure
            .message
            .starts_with("the endpoint's answer could not be read"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn listing_that_is_denied_names_what_to_allow() {
    let bench = scripted(
        "HTTP/1.1 400 Bad Request\r\nx-amzn-errortype: AccessDeniedException\r\n\
         content-type: application/x-amz-json-1.1\r\nconnection: close\r\ncontent-length: 25\r\n\r\n\
         {\"message\":\"not allowed\"}",
    )
    .await;
    let failure = bench.client.scan().await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Permanent);
    assert!(failure.mend.unwrap().contains("ListStatements"));
}

#[tokio::test]
async fn an_unknown_statement_is_gone() {
    let bench = lab("").await;
    let id = "00000000-0000-4000-8000-000000000000";
    let answer = bench
        .client
        .describe(&tidekeeper_scheduler::StatementId::from(id), Span::ZERO)
        .await;
    assert!(matches!(answer, DescribeAnswer::Gone(_)), "{answer:?}");
}

/// STS and the Data API behind one address; keeps what it was asked.
async fn sts_and_list(listener: TcpListener, seen: Arc<Mutex<Vec<String>>>) {
    for serial in 1.. {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0_u8; 16_384];
        let mut length = 0;
        // Head and body may come apart; a request here is small and ends within a moment.
        while !complete(&request[..length]) {
            length += stream.read(&mut request[length..]).await.unwrap();
        }
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let (kind, body) = if request.contains("Action=AssumeRole") {
            let body = format!(
                "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
                 <Credentials><AccessKeyId>KEY{serial}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                 <SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
                 <AssumedRoleUser><AssumedRoleId>a:b</AssumedRoleId><Arn>arn:aws:sts::222222222222:assumed-role/R/tidekeeper</Arn></AssumedRoleUser>\
                 </AssumeRoleResult></AssumeRoleResponse>"
            );
            ("text/xml", body)
        } else {
            (
                "application/x-amz-json-1.1",
                "{\"Statements\":[]}".to_owned(),
            )
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        seen.lock().unwrap().push(request);
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// Whether a request has all of the body that its head announces.
fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or(0)
}

#[tokio::test]
async fn roles_are_assumed_one_after_the_other_at_the_given_endpoint() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut server = JoinSet::new();
    server.spawn(sts_and_list(listener, Arc::clone(&seen)));
    let role = |name: &str, external_id: Option<&str>| AssumeRole {
        arn: format!("arn:aws:iam::222222222222:role/{name}"),
        external_id: external_id.map(ToOwned::to_owned),
    };
    let roles = vec![role("First", None), role("Second", Some("who-asks"))];
    let (client, _) = client_through(endpoint, roles).await;
    assert_eq!(client.scan().await.unwrap(), []);
    let seen = seen.lock().unwrap();
    assert!(
        seen[0].contains("role%2FFirst") && seen[0].contains("Credential=id/"),
        "{}",
        seen[0]
    );
    assert!(!seen[0].contains("ExternalId"));
    assert!(
        seen[1].contains("role%2FSecond") && seen[1].contains("Credential=KEY1/"),
        "{}",
        seen[1]
    );
    assert!(seen[1].contains("ExternalId=who-asks"));
    assert!(
        seen[2..]
            .iter()
            .all(|call| call.contains("Credential=KEY2/")),
        "{seen:?}"
    );
    assert_eq!(seen.len(), 5, "two roles, three lists");
}
