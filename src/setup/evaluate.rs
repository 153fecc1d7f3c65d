//! Whether documents allow something, as far as documents can tell.
//!
//! Decides: an explicit Deny wins; wildcards and `Not…` mean what IAM says they mean; whatever
//! hangs on a condition, or on a name that is not wholly known, is unclear and never allowed.
//! Deliberately absent: what no role's document shows: service control policies, session
//! policies, policies of resources. An `Allowed` is "looks allowed".

use std::collections::BTreeSet;

use super::policy::{Document, Effect, Principal, Statement, Words};
use crate::config::Arn;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Why not.
    Denied(String),
    /// What it hangs on.
    Unclear(String),
}

/// Who wants to assume a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who<'a> {
    /// By its ARN.
    Role(&'a str),
    Service(&'a str),
}

/// Whether a statement speaks of what is asked.
enum Fit {
    No,
    Yes,
    Maybe(String),
}

/// Whether policies allow an action on a resource. A `*` in the resource stands for what is
/// not known of it.
#[must_use]
pub fn allows(policies: &[Document], action: &str, resource: &str) -> Verdict {
    let statements = policies.iter().flat_map(Document::statements);
    verdict(
        statements.map(|statement| (statement, speaks_of(statement, action, resource))),
        || format!("no statement allows {action} on {resource}"),
    )
}

/// Whether a trust policy lets somebody in, who gives this external id.
#[must_use]
pub fn trusts(trust: &Document, who: Who<'_>, external_id: Option<&str>) -> Verdict {
    let statements = trust.statements().iter();
    let name = match who {
        Who::Role(name) | Who::Service(name) => name,
    };
    verdict(
        statements.map(|statement| (statement, speaks_to(statement, who, external_id))),
        || stranger(trust, name),
    )
}

fn verdict<'a>(
    statements: impl Iterator<Item = (&'a Statement, Fit)>,
    nobody: impl FnOnce() -> String,
) -> Verdict {
    let mut allowed = false;
    let mut maybe_allowed = None;
    let mut maybe_denied = None;
    for (statement, fit) in statements {
        let sid = statement.sid.as_deref().unwrap_or("without a Sid");
        match (statement.effect, fit) {
            (Effect::Deny, Fit::Yes) => {
                return Verdict::Denied(format!("a Deny statement ({sid}) forbids it"));
            }
            (Effect::Deny, Fit::Maybe(why)) => {
                maybe_denied = Some(format!("a Deny statement ({sid}) may forbid it: {why}"));
            }
            (Effect::Allow, Fit::Yes) => allowed = true,
            (Effect::Allow, Fit::Maybe(why)) => {
                maybe_allowed = Some(format!("a statement ({sid}) may allow it: {why}"));
            }
            (Effect::Allow | Effect::Deny, Fit::No) => {}
        }
    }
    match (maybe_denied, allowed, maybe_allowed) {
        (Some(why), true, _) | (Some(why), false, Some(_)) | (None, false, Some(why)) => {
            Verdict::Unclear(why)
        }
        (None, true, _) => Verdict::Allowed,
        (Some(_) | None, false, None) => Verdict::Denied(nobody()),
    }
}

fn speaks_of(statement: &Statement, action: &str, resource: &str) -> Fit {
    if !names_action(statement, action) {
        return Fit::No;
    }
    let fit = match (&statement.resource, &statement.not_resource) {
        (Some(patterns), _) => one_of(patterns, resource),
        (None, Some(patterns)) => match one_of(patterns, resource) {
            Fit::No => Fit::Yes,
            Fit::Yes => Fit::No,
            Fit::Maybe(why) => Fit::Maybe(why),
        },
        (None, None) => Fit::No,
    };
    match fit {
        Fit::Yes if !statement.condition.is_empty() => Fit::Maybe(condition(statement)),
        Fit::Yes | Fit::No | Fit::Maybe(_) => fit,
    }
}

fn names_action(statement: &Statement, action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    let named = |patterns: &Words| {
        let mut patterns = patterns.iter();
        patterns.any(|pattern| covers(&pattern.to_ascii_lowercase(), &action))
    };
    match (&statement.action, &statement.not_action) {
        (Some(patterns), _) => named(patterns),
        (None, Some(patterns)) => !named(patterns),
        (None, None) => false,
    }
}

fn one_of(patterns: &Words, resource: &str) -> Fit {
    if patterns.iter().any(|pattern| covers(pattern, resource)) {
        return Fit::Yes;
    }
    let variable = patterns.iter().find(|pattern| pattern.contains("${"));
    if let Some(pattern) = variable {
        return Fit::Maybe(format!("it names {pattern}"));
    }
    let partly = patterns.iter().find(|pattern| overlaps(pattern, resource));
    partly.map_or(Fit::No, |pattern| {
        Fit::Maybe(format!("it names {pattern} only"))
    })
}

fn speaks_to(statement: &Statement, who: Who<'_>, external_id: Option<&str>) -> Fit {
    if !names_action(statement, "sts:AssumeRole") {
        return Fit::No;
    }
    let named = match (&statement.principal, &statement.not_principal) {
        (Some(principal), _) => names(principal, who),
        (None, Some(_)) => return Fit::Maybe("it names those it does not mean".to_owned()),
        (None, None) => false,
    };
    if !named {
        return Fit::No;
    }
    let wanted = statement.condition.get("StringEquals");
    let wanted = wanted.and_then(|keys| keys.get("sts:ExternalId"));
    let only =
        statement.condition.len() == 1 && statement.condition.values().all(|keys| keys.len() == 1);
    match (wanted, who) {
        _ if statement.condition.is_empty() => Fit::Yes,
        (Some(wanted), Who::Role(_)) if only => {
            let ids = wanted.as_array().map(Vec::as_slice);
            let ids = ids.unwrap_or_else(|| std::slice::from_ref(wanted));
            let given = external_id.unwrap_or_default();
            if ids.iter().any(|id| id.as_str() == Some(given)) {
                Fit::Yes
            } else {
                Fit::No
            }
        }
        (Some(_) | None, Who::Role(_) | Who::Service(_)) => Fit::Maybe(condition(statement)),
    }
}

/// A role is named itself, or with its whole account.
fn names(principal: &Principal, who: Who<'_>) -> bool {
    let of = match principal {
        Principal::Everyone(word) => return word == "*",
        Principal::Of(of) => of,
    };
    let listed = |kind: &str, fits: &dyn Fn(&str) -> bool| {
        of.get(kind).is_some_and(|words| words.iter().any(fits))
    };
    match who {
        Who::Service(name) => listed("Service", &|word| word == name),
        Who::Role(arn) => {
            let account = Arn::split(arn).map_or("", |arn| arn.account);
            listed("AWS", &|word| {
                let root = Arn::split(word)
                    .is_some_and(|word| word.resource == "root" && word.account == account);
                word == "*" || word == arn || word == account || root
            })
        }
    }
}

/// Why nobody by that name is let in.
fn stranger(trust: &Document, name: &str) -> String {
    let mut trusted = BTreeSet::new();
    for statement in trust.statements() {
        if let Some(Principal::Of(of)) = &statement.principal {
            trusted.extend(of.values().flat_map(Words::iter));
        }
    }
    // What IAM makes of the ARN of a role that is no more.
    if trusted.iter().any(|who| who.starts_with("AROA")) {
        return format!(
            "no statement trusts {name}; one trusts a role that was deleted (AROA…): creating it again does not bring the trust back"
        );
    }
    if trusted.contains(name) {
        return format!("{name} is trusted with another external id");
    }
    format!("no statement trusts {name}")
}

fn condition(statement: &Statement) -> String {
    let keys = statement.condition.values().flat_map(|keys| keys.keys());
    let keys: Vec<&str> = keys.map(String::as_str).collect();
    format!("it has a condition on {}", keys.join(", "))
}

/// Whether a pattern of `*` and `?` matches a text.
fn covers(pattern: &str, text: &str) -> bool {
    meet(pattern, text, false)
}

/// Whether two patterns have a text in common.
fn overlaps(a: &str, b: &str) -> bool {
    meet(a, b, true)
}

/// Walks both texts at once; the places reached are remembered, so that many stars cost no
/// more than their number.
fn meet(a: &str, b: &str, both_patterns: bool) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut open = vec![(0, 0)];
    let mut seen = BTreeSet::new();
    while let Some((i, j)) = open.pop() {
        if !seen.insert((i, j)) {
            continue;
        }
        let (left, right) = (a.get(i), b.get(j));
        if left.is_none() && right.is_none() {
            return true;
        }
        let star = |c: Option<&char>| c == Some(&'*');
        if star(left) {
            open.push((i + 1, j));
            open.extend(right.map(|_| (i, j + 1)));
        }
        if both_patterns && star(right) {
            open.push((i, j + 1));
            open.extend(left.map(|_| (i + 1, j)));
        }
        if let (Some(left), Some(right)) = (left, right)
            && (left == right || *left == '?' || (both_patterns && *right == '?'))
        {
            open.push((i + 1, j + 1));
        }
    }
    false
}
