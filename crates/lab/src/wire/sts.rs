//! Decides what the lab's STS answers: `AssumeRole` and `GetCallerIdentity`, in the AWS query
//! protocol (a form in, XML out).
//!
//! Any role is granted to anybody, but those that the world refuses (`endpoint.refused_roles`).
//! Nothing is kept: who somebody is stands in the session token. Deliberately absent: trust
//! policies, external ids and MFA, and the end of credentials: no signature is ever verified.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::service::Service;
use super::{access_key, text};
use crate::kinesis;

pub(super) const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// STS's own default and limits of `DurationSeconds`.
const DURATION: u64 = 3_600;
const SHORTEST: u64 = 900;
const LONGEST: u64 = 43_200;

struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refused {
    fn validation(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "ValidationError",
            message: message.into(),
        }
    }
}

pub(super) fn answer(service: &Service, headers: &HeaderMap, body: &[u8]) -> Response {
    let request = service.request_id();
    let fields = form(body);
    let action = fields.get("Action").map(String::as_str).unwrap_or_default();
    let result = match action {
        "AssumeRole" => assume_role(service, &fields),
        "GetCallerIdentity" => {
            service.count("sts:GetCallerIdentity");
            Ok(caller_identity(headers))
        }
        _ => Err(Refused {
            status: StatusCode::BAD_REQUEST,
            code: "InvalidAction",
            message: format!("Could not find operation {action} for version 2011-06-15"),
        }),
    };
    let (status, xml) = match result {
        Ok(result) => (
            StatusCode::OK,
            format!(
                "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                 <{action}Result>{result}</{action}Result>\
                 <ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata>\
                 </{action}Response>"
            ),
        ),
        Err(refused) => (
            refused.status,
            format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                 <Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message></Error>\
                 <RequestId>{request}</RequestId></ErrorResponse>",
                refused.code,
                escaped(&refused.message)
            ),
        ),
    };
    let kind = [(header::CONTENT_TYPE, "text/xml")];
    (status, kind, xml).into_response()
}

/// A form is spelt like the query of an address.
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let query = std::str::from_utf8(body).unwrap_or_default();
    let uri: Option<Uri> = format!("/?{query}").parse().ok();
    let fields = uri.and_then(|uri| Query::try_from_uri(&uri).ok());
    fields.map(|Query(fields)| fields).unwrap_or_default()
}

fn assume_role(service: &Service, fields: &BTreeMap<String, String>) -> Result<String, Refused> {
    let needed = |key: &str| {
        let value = fields.get(key).filter(|value| !value.is_empty());
        value.ok_or_else(|| Refused::validation(format!("{key} must not be null")))
    };
    let now = service.count("sts:AssumeRole");
    let (role, session) = (needed("RoleArn")?, needed("RoleSessionName")?);
    let named = role_parts(role);
    let (account, name) = named.ok_or_else(|| Refused::validation(format!("{role} is invalid")))?;
    let word = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !session.chars().all(word) {
        return Err(Refused::validation("RoleSessionName is invalid"));
    }
    let seconds = match fields.get("DurationSeconds").map(|text| text.parse()) {
        None => DURATION,
        Some(Ok(seconds)) if (SHORTEST..=LONGEST).contains(&seconds) => seconds,
        Some(_) => return Err(Refused::validation("DurationSeconds is out of range")),
    };
    if service.refuses_role(role) {
        return Err(Refused {
            status: StatusCode::FORBIDDEN,
            code: "AccessDenied",
            message: format!("not authorized to perform: sts:AssumeRole on resource: {role}"),
        });
    }
    let ends = SystemTime::UNIX_EPOCH + now + Duration::from_secs(seconds);
    let ends = DateTime::from(ends).fmt(DateTimeFormat::DateTime);
    let ends = ends.map_err(|_| Refused::validation("DurationSeconds is out of range"))?;
    let arn = format!("arn:aws:sts::{account}:assumed-role/{name}/{session}");
    let token = URL_SAFE_NO_PAD.encode(&arn);
    Ok(format!(
        "<AssumedRoleUser><AssumedRoleId>AROALABLABLABLABLABLA:{session}</AssumedRoleId>\
         <Arn>{arn}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>ASIALABLABLABLABLABL</AccessKeyId>\
         <SecretAccessKey>lab</SecretAccessKey><SessionToken>{token}</SessionToken>\
         <Expiration>{ends}</Expiration></Credentials>"
    ))
}

/// Account and name of a role; a path is left out, as STS does.
fn role_parts(arn: &str) -> Option<(&str, &str)> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-:/".contains(c);
    if !arn.chars().all(allowed) {
        return None;
    }
    let (head, path) = arn.split_once(":role/")?;
    let account = head.strip_prefix("arn:")?.rsplit(':').next()?;
    let name = path.rsplit('/').next().filter(|name| !name.is_empty())?;
    let digits = account.len() == 12 && account.chars().all(|c| c.is_ascii_digit());
    digits.then_some((account, name))
}

fn caller_identity(headers: &HeaderMap) -> String {
    let role = text(headers, "x-amz-security-token")
        .and_then(|token| URL_SAFE_NO_PAD.decode(token).ok())
        .and_then(|arn| String::from_utf8(arn).ok())
        .filter(|arn| arn.starts_with("arn:aws:sts::"));
    let account = kinesis::ACCOUNT;
    let key = text(headers, "authorization").and_then(access_key);
    let key = key.unwrap_or_default();
    let arn = role.unwrap_or_else(|| format!("arn:aws:iam::{account}:user/lab"));
    let account = arn.split(':').nth(4).unwrap_or(account).to_owned();
    format!(
        "<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>",
        escaped(&arn),
        escaped(&key),
        escaped(&account)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
