//! Documents judged, and roles read from an IAM of ours.

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::evaluate::{Verdict, Who, allows, trusts};
use super::iam;
use super::links::{Link, State};
use super::policy::Document;
use super::roles::{Found, Permissions, check, compare};
use super::tests::config;

const STREAM: &str = "arn:aws:kinesis:eu-west-1:111111111111:stream/my-data-stream";
const REDSHIFT_ROLE: &str = "arn:aws:iam::222222222222:role/RedshiftStreamRole";

fn document(statements: &Value) -> Document {
    serde_json::from_value(json!({ "Version": "2012-10-17", "Statement": statements })).unwrap()
}

fn short(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Allowed => ("allowed", ""),
        Verdict::Denied(why) => ("denied", why),
        Verdict::Unclear(why) => ("unclear", why),
    }
}

/// Holds what is said of each document in a table to what stands there.
fn hold(table: &str, judge: impl Fn(&Document) -> Verdict) {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let mut held = 0;
    for line in lines {
        let mut parts = line.splitn(3, '|').map(str::trim);
        let mut next = || parts.next().unwrap();
        let (wanted, part) = (next(), next());
        let verdict = judge(&document(&serde_json::from_str(next()).unwrap()));
        let (said, why) = short(&verdict);
        assert_eq!(said, wanted, "{line}: {why}");
        assert!(why.contains(part), "{line}: {why}");
        held += 1;
    }
    assert!(held >= 20, "only {held}");
}

#[test]
fn policies_are_read_as_iam_reads_them() {
    let table = include_str!("../../tests/golden/setup/policies.txt");
    hold(table, |policy| {
        allows(std::slice::from_ref(policy), "kinesis:GetRecords", STREAM)
    });
}

#[test]
fn a_name_that_is_not_wholly_known_is_not_called_allowed() {
    let wanted = "arn:aws:redshift-serverless:eu-west-1:222222222222:workgroup/*";
    for (resource, said) in [
        (wanted, "allowed"),
        ("*", "allowed"),
        (
            "arn:aws:redshift-serverless:*:222222222222:workgroup/*",
            "allowed",
        ),
        (
            "arn:aws:redshift-serverless:eu-west-1:222222222222:workgroup/0b5d",
            "unclear",
        ),
        (
            "arn:aws:redshift-serverless:eu-west-2:222222222222:workgroup/*",
            "denied",
        ),
    ] {
        let statements =
            json!([{ "Effect": "Allow", "Action": "redshift-data:*", "Resource": resource }]);
        let verdict = allows(
            &[document(&statements)],
            "redshift-data:ExecuteStatement",
            wanted,
        );
        assert_eq!(short(&verdict).0, said, "{resource}");
    }
}

#[test]
fn many_stars_do_not_take_long() {
    let pattern = "*a".repeat(60);
    let statements = json!([{ "Effect": "Allow", "Action": "*", "Resource": pattern }]);
    let verdict = allows(&[document(&statements)], "a:b", &"a".repeat(59));
    assert_eq!(short(&verdict).0, "denied");
}

#[test]
fn trust_is_given_to_a_role_or_its_account() {
    let table = include_str!("../../tests/golden/setup/trusts.txt");
    hold(table, |trust| {
        trusts(trust, Who::Role(REDSHIFT_ROLE), Some("x"))
    });
}

#[test]
fn services_are_trusted_one_by_one() {
    let statement = |condition: &Value| {
        document(&json!([{
            "Effect": "Allow",
            "Principal": { "Service": ["redshift.amazonaws.com"] },
            "Action": "sts:AssumeRole",
            "Condition": condition,
        }]))
    };
    let free = statement(&json!({}));
    let said = |trust: &Document, name| short(&trusts(trust, Who::Service(name), None)).0;
    assert_eq!(said(&free, "redshift.amazonaws.com"), "allowed");
    assert_eq!(said(&free, "redshift-serverless.amazonaws.com"), "denied");
    // Redshift gives an external id of its own making.
    let asked = statement(&json!({ "StringEquals": { "sts:ExternalId": "x" } }));
    assert_eq!(said(&asked, "redshift.amazonaws.com"), "unclear");
}

fn walkthrough() -> iam::Accounts {
    let text = include_str!("../../tests/golden/setup/walkthrough.toml");
    iam::documents(&config(text)).unwrap()
}

fn stream_role() -> iam::Role {
    let accounts = walkthrough();
    let account = accounts.get("111111111111").unwrap();
    account.roles.first().unwrap().clone()
}

fn as_wanted(role: &iam::Role) -> Found {
    Found {
        trust: Ok(role.trust.clone()),
        permissions: Ok(Permissions {
            policies: role.policies.values().cloned().collect(),
            boundary: None,
        }),
    }
}

fn states(links: &[Link]) -> Vec<State> {
    links.iter().map(|link| link.state).collect()
}

#[test]
fn a_role_that_is_as_it_should_be_looks_right_link_by_link() {
    let role = stream_role();
    let links = compare(&role, &Ok(Some(as_wanted(&role))));
    assert_eq!(states(&links), [State::Ok; 3]);
    let first = links.first().unwrap();
    assert_eq!(
        first.name,
        format!("KinesisStreamRole trusts {REDSHIFT_ROLE}")
    );
    assert_eq!(first.detail, "looks trusted");
}

#[test]
fn what_is_missing_is_mended_by_the_statement_that_is_missing() {
    let role = stream_role();
    let mut found = as_wanted(&role);
    found.permissions = Ok(Permissions::default());
    found.trust = Ok(document(&json!([])));
    let links = compare(&role, &Ok(Some(found)));
    assert_eq!(states(&links), [State::Broken; 3]);
    let wanted = [&role.trust].into_iter().chain(role.policies.values());
    let wanted: Vec<_> = wanted.flat_map(Document::statements).collect();
    for (link, statement) in links.iter().zip(wanted) {
        let mend = link.mend.as_ref().unwrap();
        let (_, json) = mend.split_once('\n').unwrap();
        assert_eq!(
            serde_json::from_str::<super::policy::Statement>(json).unwrap(),
            *statement
        );
    }
    let absent = compare(&role, &Ok(None));
    assert_eq!(states(&absent), [State::Broken]);
    assert!(
        absent
            .first()
            .unwrap()
            .mend
            .as_ref()
            .unwrap()
            .contains("KinesisStreamPolicy")
    );
}

#[test]
fn what_could_not_be_read_is_unverifiable() {
    let role = stream_role();
    let found = Found {
        trust: Ok(role.trust.clone()),
        permissions: Err("the credentials may not iam:GetRolePolicy".to_owned()),
    };
    let links = compare(&role, &Ok(Some(found)));
    assert_eq!(
        states(&links),
        [State::Ok, State::Unverifiable, State::Unverifiable]
    );
    let links = compare(&role, &Err("no credentials".to_owned()));
    assert_eq!(states(&links), [State::Unverifiable]);
}

#[test]
fn a_boundary_has_to_allow_it_too() {
    let role = stream_role();
    let boundary = json!([{ "Effect": "Allow", "Action": "kinesis:List*", "Resource": "*" }]);
    let mut found = as_wanted(&role);
    found.permissions.as_mut().unwrap().boundary = Some(document(&boundary));
    let links = compare(&role, &Ok(Some(found)));
    assert_eq!(states(&links), [State::Ok, State::Broken, State::Ok]);
    let detail = &links.get(1).unwrap().detail;
    assert!(
        detail.starts_with("its permissions boundary: no statement"),
        "{detail}"
    );
}

/// IAM, as far as roles are read: every role is the walkthrough's stream role, its reading
/// rights inline, its listing rights attached. A refused action is answered as AWS does.
async fn answer(Shared(refused): Shared<&'static str>, body: String) -> (StatusCode, String) {
    let action = body
        .split('&')
        .find_map(|pair| pair.strip_prefix("Action="));
    let action = action.unwrap_or_default().to_owned();
    if action == refused {
        let error = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
        return (StatusCode::FORBIDDEN, error.to_owned());
    }
    if body.contains("RoleName=RedshiftStreamRole") {
        let error = "<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>no</Message></Error></ErrorResponse>";
        return (StatusCode::NOT_FOUND, error.to_owned());
    }
    let role = stream_role();
    let policy = role.policies.get("KinesisStreamPolicy").unwrap();
    let part = |n: usize| Document::new(policy.statements().get(n).cloned().into_iter().collect());
    let coded = |document: &Document| {
        let text = serde_json::to_string(document).unwrap();
        utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string()
    };
    let inner = match action.as_str() {
        "GetRole" => format!(
            "<Role><Path>/</Path><RoleName>KinesisStreamRole</RoleName><RoleId>AROA</RoleId><Arn>{}</Arn>\
             <CreateDate>2026-11-23T00:00:00Z</CreateDate><AssumeRolePolicyDocument>{}</AssumeRolePolicyDocument></Role>",
            role.arn,
            coded(&role.trust)
        ),
        "ListRolePolicies" => "<PolicyNames><member>inline</member></PolicyNames><IsTruncated>false</IsTruncated>".to_owned(),
        "GetRolePolicy" => format!(
            "<RoleName>R</RoleName><PolicyName>inline</PolicyName><PolicyDocument>{}</PolicyDocument>",
            coded(&part(0))
        ),
        "ListAttachedRolePolicies" => "<AttachedPolicies><member><PolicyName>p</PolicyName><PolicyArn>arn:aws:iam::111111111111:policy/p</PolicyArn></member></AttachedPolicies><IsTruncated>false</IsTruncated>".to_owned(),
        "GetPolicy" => "<Policy><DefaultVersionId>v7</DefaultVersionId></Policy>".to_owned(),
        "GetPolicyVersion" => {
            assert!(body.contains("VersionId=v7"), "{body}");
            format!("<PolicyVersion><Document>{}</Document></PolicyVersion>", coded(&part(1)))
        }
        other => panic!("{other} was not foreseen"),
    };
    let text =
        format!("<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>");
    (StatusCode::OK, text)
}

async fn looked_at(refused: &'static str, own_account: &str) -> Vec<Link> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(refused);
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let credentials = aws_sdk_iam::config::Credentials::new("test", "test", None, None, "test");
    let settings = aws_sdk_iam::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_iam::config::Region::new("us-east-1"))
        .credentials_provider(credentials)
        .endpoint_url(url)
        .build();
    let client = aws_sdk_iam::Client::from_conf(settings);
    check(&client, own_account, &walkthrough()).await
}

#[tokio::test]
async fn roles_are_read_inline_and_attached() {
    let links = looked_at("", "111111111111").await;
    let wanted = [State::Ok, State::Ok, State::Ok, State::Unverifiable];
    assert_eq!(states(&links), wanted, "{links:?}");
    let other = links.last().unwrap();
    assert!(
        other.detail.contains("the credentials are of 111111111111"),
        "{}",
        other.detail
    );
}

#[tokio::test]
async fn a_role_that_is_not_there_is_broken() {
    let links = looked_at("", "222222222222").await;
    assert_eq!(
        states(&links),
        [State::Unverifiable, State::Broken],
        "{links:?}"
    );
}

#[tokio::test]
async fn a_right_that_the_reader_lacks_is_named_and_nothing_looks_allowed() {
    for action in [
        "ListRolePolicies",
        "GetRolePolicy",
        "ListAttachedRolePolicies",
        "GetPolicy",
        "GetPolicyVersion",
    ] {
        let links = looked_at(action, "111111111111").await;
        let links = links.get(..3).unwrap();
        assert_eq!(
            states(links),
            [State::Ok, State::Unverifiable, State::Unverifiable],
            "{links:?}"
        );
        let said = &links.last().unwrap().detail;
        assert_eq!(
            *said,
            format!("the credentials may not iam:{action}; allow it, or look by hand")
        );
    }
    let links = looked_at("GetRole", "111111111111").await;
    assert_eq!(states(&links), [State::Unverifiable, State::Unverifiable]);
}
