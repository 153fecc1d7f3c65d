//! IAM policy documents.
//!
//! Decides: their shape, in the order in which AWS prints them. They are read as well as
//! written: what IAM accepts as one value or a list of them is read as either.
//! Deliberately absent: what they mean (`roles.rs`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A trust policy or a permissions policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    #[serde(rename = "Version", default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    #[serde(rename = "Statement")]
    pub statements: Statements,
}

/// IAM takes a lone statement for a list of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Statements {
    Many(Vec<Statement>),
    One(Box<Statement>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    pub effect: Effect,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_principal: Option<Principal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Words>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_action: Option<Words>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Words>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_resource: Option<Words>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub condition: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    Allow,
    Deny,
}

/// `"*"`, or who by kind: `AWS`, `Service`, `Federated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Principal {
    Everyone(String),
    Of(BTreeMap<String, Words>),
}

/// One word or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let words = match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words.as_slice(),
        };
        words.iter().map(String::as_str)
    }

    /// A lone word stands by itself, as in AWS's own examples.
    pub(super) fn short(words: impl IntoIterator<Item = String>) -> Self {
        let mut words: Vec<String> = words.into_iter().collect();
        match (words.pop(), words.is_empty()) {
            (Some(only), true) => Self::One(only),
            (last, _) => {
                words.extend(last);
                Self::Many(words)
            }
        }
    }
}

impl Document {
    #[must_use]
    pub fn new(statements: Vec<Statement>) -> Self {
        Self {
            version: "2012-10-17".to_owned(),
            statements: Statements::Many(statements),
        }
    }

    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        match &self.statements {
            Statements::Many(statements) => statements,
            Statements::One(statement) => std::slice::from_ref(statement),
        }
    }
}

impl Statement {
    /// Allows nobody anything yet.
    fn blank() -> Self {
        Self {
            sid: None,
            effect: Effect::Allow,
            principal: None,
            not_principal: None,
            action: None,
            not_action: None,
            resource: None,
            not_resource: None,
            condition: BTreeMap::new(),
        }
    }

    /// Part of a permissions policy.
    pub(super) fn allow(
        sid: &str,
        actions: &[&str],
        resources: impl IntoIterator<Item = String>,
    ) -> Self {
        let actions = actions.iter().map(|action| (*action).to_owned());
        Self {
            sid: Some(sid.to_owned()),
            action: Some(Words::Many(actions.collect())),
            resource: Some(Words::short(resources)),
            ..Self::blank()
        }
    }

    /// Part of a trust policy: these may assume the role.
    pub(super) fn trust(kind: &str, who: impl IntoIterator<Item = String>) -> Self {
        let principal = BTreeMap::from([(kind.to_owned(), Words::short(who))]);
        Self {
            principal: Some(Principal::Of(principal)),
            action: Some(Words::One("sts:AssumeRole".to_owned())),
            ..Self::blank()
        }
    }

    /// Only where the request says exactly this.
    pub(super) fn only_if(mut self, key: &str, value: &str) -> Self {
        let wanted = BTreeMap::from([(key.to_owned(), serde_json::Value::from(value))]);
        self.condition.insert("StringEquals".to_owned(), wanted);
        self
    }
}
