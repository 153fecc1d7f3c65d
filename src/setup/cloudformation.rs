//! Roles as a CloudFormation template.
//!
//! Decides: one template per account, in JSON (which CloudFormation reads as it reads YAML).

use serde_json::{Map, Value, json};

use super::iam::Account;

/// The template that creates an account's roles.
///
/// # Errors
/// Never for documents of ours; the writer's own otherwise.
pub fn template(id: &str, account: &Account) -> Result<Value, serde_json::Error> {
    let mut resources = Map::new();
    for role in &account.roles {
        let mut policies = Vec::new();
        for (name, document) in &role.policies {
            policies.push(json!({
                "PolicyName": name,
                "PolicyDocument": serde_json::to_value(document)?,
            }));
        }
        let mut properties = json!({
            "RoleName": role.name,
            "AssumeRolePolicyDocument": serde_json::to_value(&role.trust)?,
        });
        if let Some(properties) = properties.as_object_mut() {
            if let Some(path) = &role.path {
                properties.insert("Path".to_owned(), Value::from(path.clone()));
            }
            if !policies.is_empty() {
                properties.insert("Policies".to_owned(), Value::from(policies));
            }
        }
        let resource = json!({ "Type": "AWS::IAM::Role", "Properties": properties });
        resources.insert(logical_id(&role.name, &resources), resource);
    }
    Ok(json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": format!("Roles of streaming ingestion in account {id}, from Tidekeeper's configuration"),
        "Resources": resources,
    }))
}

/// Letters and digits only, and used once.
fn logical_id(name: &str, taken: &Map<String, Value>) -> String {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut id = plain.clone();
    let mut number = 2;
    while id.is_empty() || taken.contains_key(&id) {
        id = format!("{plain}{number}");
        number += 1;
    }
    id
}
