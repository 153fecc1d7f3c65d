//! Decides how streams are tagged.

use serde_json::json;

use super::fields::TAG_KEY;
use super::refusal::Refusal;
use super::{Answer, Request, done};

/// "You can assign up to 50 tags to a data stream."
const TAG_LIMIT: usize = 50;

impl Request<'_> {
    pub(super) fn add_tags(&mut self) -> Answer {
        let given = self.fields.tags("Tags")?;
        let given = given.ok_or_else(|| self.fields.missing("Tags"))?;
        let (name, log) = self.existing()?;
        let mut tags = log.tags().clone();
        tags.extend(given);
        if tags.len() > TAG_LIMIT {
            let account = &self.scope.account;
            return Err(Refusal::argument(format!(
                "Failed to add tags to stream {name} under account {account} because a given \
                 stream cannot have more than {TAG_LIMIT} tags associated with it."
            )));
        }
        self.streams.set_tags(&name, tags);
        done()
    }

    pub(super) fn remove_tags(&mut self) -> Answer {
        let keys = self.fields.texts("TagKeys", TAG_KEY)?;
        let (name, log) = self.existing()?;
        let mut tags = log.tags().clone();
        tags.retain(|key, _| !keys.contains(key));
        self.streams.set_tags(&name, tags);
        done()
    }

    pub(super) fn list_tags(&self) -> Answer {
        let limit = self.fields.count("Limit", 50)?.unwrap_or(TAG_LIMIT);
        let after = self.fields.text("ExclusiveStartTagKey", TAG_KEY)?;
        let (_, log) = self.existing()?;
        let mut tags = log
            .tags()
            .iter()
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let page: Vec<_> = tags
            .by_ref()
            .take(limit)
            .map(|(key, value)| json!({ "Key": key, "Value": value }))
            .collect();
        Ok(json!({ "Tags": page, "HasMoreTags": tags.next().is_some() }))
    }
}
