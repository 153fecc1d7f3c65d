//! The roles that are, against the roles that a configuration asks for.
//!
//! Decides: one link for each statement that is asked for; what is missing is mended by that
//! very statement. What IAM does not let us read is unverifiable.
//! Deliberately absent: changing anything, and other accounts than the credentials': a role of
//! the same name there would be another role.

use aws_sdk_iam::Client;
use aws_sdk_iam::error::{DisplayErrorContext, ProvideErrorMetadata};
use percent_encoding::percent_decode_str;

use super::evaluate::{Verdict, Who, allows, trusts};
use super::iam::{Accounts, Role};
use super::links::{Link, State};
use super::policy::{Document, Principal, Statement, Words};
use crate::config::Arn;

/// A role as IAM shows it; what it does not show, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub trust: Result<Document, String>,
    pub permissions: Result<Permissions, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Inline and attached.
    pub policies: Vec<Document>,
    /// What it may be allowed at most.
    pub boundary: Option<Document>,
}

/// Looks at every role that is asked for, with credentials of one account.
pub async fn check(client: &Client, own_account: &str, accounts: &Accounts) -> Vec<Link> {
    let mut links = Vec::new();
    for role in accounts.values().flat_map(|account| &account.roles) {
        let found = read(client, own_account, &role.arn).await;
        links.extend(compare(role, &found));
    }
    links
}

/// What there is to say of a role: `None` says that it does not exist.
#[must_use]
pub fn compare(wanted: &Role, found: &Result<Option<Found>, String>) -> Vec<Link> {
    let name = format!("role {}", wanted.arn);
    match found {
        Err(why) => vec![Link::new(name, State::Unverifiable, why)],
        Ok(None) => {
            let role = serde_json::to_string_pretty(wanted).unwrap_or_default();
            vec![Link::new(name, State::Broken, "does not exist; create it like this").mend(role)]
        }
        Ok(Some(found)) => {
            let trust = wanted.trust.statements().iter();
            let mut links: Vec<Link> = trust
                .map(|statement| trust_link(wanted, statement, &found.trust))
                .collect();
            for statement in wanted.policies.values().flat_map(Document::statements) {
                links.push(permission_link(wanted, statement, &found.permissions));
            }
            links
        }
    }
}

fn trust_link(role: &Role, wanted: &Statement, found: &Result<Document, String>) -> Link {
    let id = wanted.condition.get("StringEquals");
    let id = id.and_then(|keys| keys.get("sts:ExternalId"));
    let id = id.and_then(serde_json::Value::as_str);
    let Some(Principal::Of(principal)) = &wanted.principal else {
        return Link::new(&role.name, State::Skipped, "nobody is to be trusted");
    };
    let who: Vec<(&str, Who<'_>)> = principal
        .iter()
        .flat_map(|(kind, names)| {
            names.iter().map(move |name| {
                let service = kind == "Service";
                let who = if service {
                    Who::Service(name)
                } else {
                    Who::Role(name)
                };
                (name, who)
            })
        })
        .collect();
    let names: Vec<&str> = who.iter().map(|(name, _)| *name).collect();
    let name = format!("{} trusts {}", role.name, names.join(" and "));
    let trust = match found {
        Ok(trust) => trust,
        Err(why) => return Link::new(name, State::Unverifiable, why),
    };
    let verdicts = who.iter().map(|(_, who)| trusts(trust, *who, id));
    let mend = "add to its trust policy:";
    link(name, verdicts, "looks trusted", mend, wanted)
}

fn permission_link(role: &Role, wanted: &Statement, found: &Result<Permissions, String>) -> Link {
    let words = |words: &Option<Words>| -> Vec<String> {
        let words = words.iter().flat_map(Words::iter);
        words.map(str::to_owned).collect()
    };
    let (actions, resources) = (words(&wanted.action), words(&wanted.resource));
    let name = format!("{} may {}", role.name, actions.join(", "));
    let found = match found {
        Ok(found) => found,
        Err(why) => return Link::new(name, State::Unverifiable, why),
    };
    let verdicts = actions.iter().flat_map(|action| {
        let resources = resources.iter();
        resources.map(move |resource| permitted(found, action, resource))
    });
    let mend = "add to one of its policies:";
    link(name, verdicts, "looks allowed", mend, wanted)
}

/// A boundary has to allow it too.
fn permitted(found: &Permissions, action: &str, resource: &str) -> Verdict {
    let by_policies = allows(&found.policies, action, resource);
    let Some(boundary) = found
        .boundary
        .as_ref()
        .filter(|_| by_policies == Verdict::Allowed)
    else {
        return by_policies;
    };
    match allows(std::slice::from_ref(boundary), action, resource) {
        Verdict::Allowed => Verdict::Allowed,
        Verdict::Denied(why) => Verdict::Denied(format!("its permissions boundary: {why}")),
        Verdict::Unclear(why) => Verdict::Unclear(format!("its permissions boundary: {why}")),
    }
}

/// The worst of several verdicts: all of them have to hold.
fn link(
    name: String,
    verdicts: impl Iterator<Item = Verdict>,
    good: &str,
    mend: &str,
    wanted: &Statement,
) -> Link {
    let mut unclear = None;
    let mut denied = Vec::new();
    for verdict in verdicts {
        match verdict {
            Verdict::Allowed => {}
            Verdict::Denied(why) => denied.push(why),
            Verdict::Unclear(why) => unclear = Some(why),
        }
    }
    denied.dedup();
    match (denied.is_empty(), unclear) {
        (true, None) => Link::new(name, State::Ok, good),
        (true, Some(why)) => Link::new(name, State::Unverifiable, why),
        (false, _) => {
            let statement = serde_json::to_string_pretty(wanted).unwrap_or_default();
            // A Deny is not overruled by another Allow.
            let deny = denied.iter().any(|why| why.contains("Deny statement"));
            let detail = denied.join("; ");
            let mend = if deny {
                "take the Deny away; this has to be allowed:"
            } else {
                mend
            };
            Link::new(name, State::Broken, detail).mend(format!("{mend}\n{statement}"))
        }
    }
}

/// Reads a role; `None` where there is none.
///
/// # Errors
/// Why it could not be looked at.
pub async fn read(client: &Client, own_account: &str, arn: &str) -> Result<Option<Found>, String> {
    let role = Arn::split(arn).ok_or_else(|| format!("`{arn}` is no ARN"))?;
    if role.account != own_account {
        return Err(format!(
            "it is in account {}, the credentials are of {own_account}; look with credentials of its account",
            role.account
        ));
    }
    let found = match client.get_role().role_name(role.name()).send().await {
        Ok(found) => found.role,
        Err(error) => {
            let missing = error.as_service_error();
            if missing.is_some_and(|error| error.is_no_such_entity_exception()) {
                return Ok(None);
            }
            return Err(refused("iam:GetRole", &error));
        }
    };
    let Some(found) = found else {
        return Err("iam:GetRole answered without a role".to_owned());
    };
    let trust = found.assume_role_policy_document.as_deref();
    let boundary = found.permissions_boundary.as_ref();
    let boundary = boundary.and_then(|boundary| boundary.permissions_boundary_arn.as_deref());
    Ok(Some(Found {
        trust: document(trust),
        permissions: permissions(client, role.name(), boundary).await,
    }))
}

async fn permissions(
    client: &Client,
    name: &str,
    boundary: Option<&str>,
) -> Result<Permissions, String> {
    let mut policies = Vec::new();
    let mut inline = client
        .list_role_policies()
        .role_name(name)
        .into_paginator()
        .items()
        .send();
    while let Some(policy) = inline.next().await {
        let policy = policy.map_err(|error| refused("iam:ListRolePolicies", &error))?;
        let request = client.get_role_policy().role_name(name).policy_name(policy);
        let found = request.send().await;
        let found = found.map_err(|error| refused("iam:GetRolePolicy", &error))?;
        policies.push(document(Some(&found.policy_document))?);
    }
    let mut attached = client
        .list_attached_role_policies()
        .role_name(name)
        .into_paginator()
        .items()
        .send();
    while let Some(policy) = attached.next().await {
        let policy = policy.map_err(|error| refused("iam:ListAttachedRolePolicies", &error))?;
        policies.push(managed(client, policy.policy_arn.as_deref().unwrap_or_default()).await?);
    }
    let boundary = match boundary {
        Some(arn) => Some(managed(client, arn).await?),
        None => None,
    };
    Ok(Permissions { policies, boundary })
}

/// The version of a managed policy that is in force.
async fn managed(client: &Client, arn: &str) -> Result<Document, String> {
    let policy = client.get_policy().policy_arn(arn).send().await;
    let policy = policy.map_err(|error| refused("iam:GetPolicy", &error))?;
    let version = policy.policy.and_then(|policy| policy.default_version_id);
    let request = client.get_policy_version().policy_arn(arn);
    let found = request.set_version_id(version).send().await;
    let found = found.map_err(|error| refused("iam:GetPolicyVersion", &error))?;
    document(
        found
            .policy_version
            .and_then(|version| version.document)
            .as_deref(),
    )
}

/// IAM sends documents percent-encoded.
fn document(text: Option<&str>) -> Result<Document, String> {
    let text = text.ok_or("IAM sent no document")?;
    let text = percent_decode_str(text).decode_utf8_lossy();
    serde_json::from_str(&text).map_err(|error| format!("a document could not be read: {error}"))
}

fn refused<E>(action: &str, error: &aws_sdk_iam::error::SdkError<E>) -> String
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    match error.code() {
        Some(code) if code.starts_with("AccessDenied") => {
            format!("the credentials may not {action}; allow it, or look by hand")
        }
        Some(_) | None => format!("{action} failed: {}", DisplayErrorContext(error)),
    }
}
