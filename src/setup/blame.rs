//! Which link a refresh's error speaks of, and what mends it.
//!
//! Decides: from the roles and actions that the text names. Texts of streaming ingestion are
//! not documented: what names no known link is passed on as it stands.

use serde_json::json;
use tidekeeper_scheduler::Failure;

use super::iam::{Accounts, Role};
use super::links::{Link, State};
use crate::config::{Stream, StreamSource};

/// The link that broke a refresh.
#[must_use]
pub(super) fn blame(
    link: &str,
    failure: &Failure,
    stream: Option<&Stream>,
    accounts: &Accounts,
) -> Link {
    let text = failure.message.to_string();
    let broken = |name: String| Link::new(name, State::Broken, text.clone());
    let chain = stream
        .map(|stream| stream.role_chain.as_slice())
        .unwrap_or_default();
    if text.contains("credentials of role") {
        let Some(index) = chain.iter().rposition(|role| names(&text, role)) else {
            return broken(format!("{link}: role chain")).mend(
                "the role is not in the configured role_chain: compare the external schema's IAM_ROLE \
                 with it (no spaces around the commas), and create the schema anew",
            );
        };
        let role = chain.get(index).map_or("", String::as_str);
        let name = format!("{link}: role {role}");
        return match index.checked_sub(1).and_then(|before| chain.get(before)) {
            None => broken(name).mend(first(role)),
            Some(before) => broken(name).mend(hop(before, role)),
        };
    }
    if let Some(action) = kinesis_action(&text) {
        if text.contains("AccessDenied") {
            let last = chain.last().map_or("", String::as_str);
            let policy = role_of(accounts, last)
                .and_then(|role| serde_json::to_string_pretty(&role.policies).ok())
                .unwrap_or_default();
            return broken(format!("{link}: role {last} may not {action}")).mend(format!(
                "give {last} these policies, and remove what denies {action}:\n{policy}"
            ));
        }
        if text.contains("ResourceNotFound") {
            return broken(format!("{link}: stream")).mend(missing(stream));
        }
    }
    if text.contains("ResourceNotFound") {
        return broken(format!("{link}: stream")).mend(missing(stream));
    }
    let link = broken(link.to_owned());
    match &failure.mend {
        Some(mend) => link.mend(mend.to_string()),
        None => link,
    }
}

/// Whether the text names the role itself, not one whose name it begins.
fn names(text: &str, role: &str) -> bool {
    text.match_indices(role).any(|(at, _)| {
        let after = text.get(at + role.len()..).unwrap_or_default();
        !after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/'))
    })
}

fn kinesis_action(text: &str) -> Option<&str> {
    let at = text.find("kinesis:")?;
    let rest = text.get(at..)?;
    rest.split(|c: char| !c.is_alphanumeric() && c != ':')
        .next()
}

fn role_of<'a>(accounts: &'a Accounts, arn: &str) -> Option<&'a Role> {
    accounts
        .values()
        .flat_map(|account| &account.roles)
        .find(|role| role.arn == arn)
}

fn first(role: &str) -> String {
    let trust = json!({
        "Effect": "Allow",
        "Principal": {
            "Service": ["redshift.amazonaws.com", "redshift-serverless.amazonaws.com"],
        },
        "Action": "sts:AssumeRole",
    });
    format!(
        "associate {role} with the warehouse (a cluster: aws redshift modify-cluster-iam-roles \
         --add-iam-roles; Serverless: aws redshift-serverless update-namespace --iam-roles), and let \
         it trust Redshift:\n{trust:#}"
    )
}

fn hop(before: &str, role: &str) -> String {
    let trust = json!({
        "Effect": "Allow",
        "Principal": { "AWS": before },
        "Action": "sts:AssumeRole",
    });
    let policy = json!({
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Resource": role,
    });
    format!("the trust policy of {role} needs:\n{trust:#}\na policy of {before} needs:\n{policy:#}")
}

fn missing(stream: Option<&Stream>) -> String {
    let arn = match stream.map(|stream| &stream.source) {
        Some(StreamSource::Kinesis(arn)) => arn.to_string(),
        Some(StreamSource::Kafka(_)) | None => "the stream".to_owned(),
    };
    format!(
        "{arn} is not where the view looks for it: check account, region (the external schema's \
         REGION) and name; names are case-sensitive (case_sensitive = true in [….session]), and the \
         view has to be created anew when its name is wrong"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidekeeper_scheduler::FailureClass;

    const FIRST: &str = "arn:aws:iam::222222222222:role/RedshiftStreamRole";
    const LAST: &str = "arn:aws:iam::111111111111:role/KinesisStreamRole";

    fn blamed(text: &str) -> Link {
        let toml = include_str!("../../tests/golden/setup/walkthrough.toml");
        let source = crate::config::Source::Text {
            name: "walkthrough".to_owned(),
            text: toml.to_owned(),
        };
        let config = crate::config::load(&source, &Default::default())
            .config
            .unwrap();
        let accounts = super::super::iam::documents(&config).unwrap();
        let failure = Failure::new(FailureClass::Permanent, text);
        blame(
            "refresh",
            &failure,
            config.streams.values().next(),
            &accounts,
        )
    }

    #[test]
    fn the_link_that_a_text_names_is_blamed_with_its_mend() {
        for (text, link, mend) in [
            (
                format!("Not authorized to get credentials of role {FIRST}, should retry : 0"),
                FIRST,
                "redshift-serverless.amazonaws.com".to_owned(),
            ),
            (
                format!("Not authorized to get credentials of role {LAST} Detail: User {FIRST}/x"),
                LAST,
                format!("\"AWS\": \"{FIRST}\""),
            ),
            (
                "Not authorized to get credentials of role arn:aws:iam::3:role/X".to_owned(),
                "role chain",
                "no spaces".to_owned(),
            ),
            (
                "AccessDeniedException: kinesis:GetRecords on stream s".to_owned(),
                "may not kinesis:GetRecords",
                "ReadStream".to_owned(),
            ),
            (
                "ResourceNotFoundException: kinesis:DescribeStreamSummary".to_owned(),
                "stream",
                "case-sensitive".to_owned(),
            ),
        ] {
            let blamed = blamed(&text);
            assert_eq!(blamed.state, State::Broken);
            assert!(blamed.name.contains(link), "{text}: {}", blamed.name);
            let told = blamed.mend.unwrap();
            assert!(told.contains(&mend), "{text}: {told}");
        }
    }

    #[test]
    fn what_names_no_link_is_passed_on() {
        let blamed = blamed("ERROR: something else");
        assert_eq!((blamed.name.as_str(), blamed.mend), ("refresh", None));
        assert_eq!(blamed.detail, "ERROR: something else");
    }
}
