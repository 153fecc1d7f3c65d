//! Decides whether the members of a request are of the kind, length and form that the model
//! of Kinesis asks for, in the words in which AWS says that they are not.
//!
//! Unknown members are ignored, as AWS does; of several faults the first found is told.
//! Deliberately absent: whether what is named exists.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// What a text has to look like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    least: usize,
    most: usize,
    /// As the model writes it, for the message.
    pattern: &'static str,
    fits: fn(&str) -> bool,
}

const NAME_PATTERN: &str = "[a-zA-Z0-9_.-]+";

/// The name of a stream or a shard.
pub(super) const NAME: Form = Form {
    least: 1,
    most: 128,
    pattern: NAME_PATTERN,
    fits: |text| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
    },
};

pub(super) const ARN: Form = Form {
    least: 1,
    most: 2048,
    pattern: r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+",
    fits: |text| arn_parts(text).is_some(),
};

pub(super) const HASH_KEY: Form = Form {
    least: 1,
    most: 39,
    pattern: r"0|([1-9]\d{0,38})",
    fits: is_decimal,
};

pub(super) const SEQUENCE: Form = Form {
    least: 1,
    most: 129,
    pattern: r"0|([1-9]\d{0,128})",
    fits: is_decimal,
};

pub(super) const PARTITION_KEY: Form = any(1, 256);
pub(super) const ITERATOR: Form = any(1, 512);
pub(super) const TOKEN: Form = any(1, 1_048_576);
pub(super) const TAG_KEY: Form = any(1, 128);
const TAG_VALUE: Form = any(0, 256);

const fn any(least: usize, most: usize) -> Form {
    Form {
        least,
        most,
        pattern: "",
        fits: |_| true,
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
}

/// Account and stream name of a stream's ARN.
pub(super) fn arn_parts(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(6, ':');
    if parts.next()? != "arn" || !parts.next()?.starts_with("aws") || parts.next()? != "kinesis" {
        return None;
    }
    let _region = parts.next()?;
    let account = parts.next()?;
    let name = parts.next()?.strip_prefix("stream/")?;
    let numbered = account.len() == 12 && account.chars().all(|c| c.is_ascii_digit());
    (numbered && !name.is_empty() && !name.contains(char::is_whitespace)).then_some((account, name))
}

/// The members of a request's body, or of a structure in it.
#[derive(Debug)]
pub(crate) struct Fields {
    members: Map<String, Value>,
    /// Where the structure stands, for messages: empty, or with a dot at the end.
    path: String,
}

impl Fields {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refusal> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self {
                members,
                path: String::new(),
            }),
            Ok(_) => Err(Refusal::unreadable("The body is not a JSON object.")),
            Err(error) => Err(Refusal::unreadable(format!(
                "The body is not JSON: {error}"
            ))),
        }
    }

    /// The member's name as AWS puts it into messages.
    pub(super) fn member(&self, key: &str) -> String {
        let mut letters = key.chars();
        let first = letters.next().map(|c| c.to_ascii_lowercase());
        let name: String = first.into_iter().chain(letters).collect();
        format!("{}{name}", self.path)
    }

    fn given(&self, key: &str) -> Option<&Value> {
        self.members.get(key).filter(|value| !value.is_null())
    }

    /// For `ok_or_else` on a member that has to be there.
    pub(super) fn missing(&self, key: &str) -> Refusal {
        Refusal::constraint("null", &self.member(key), "Member must not be null")
    }

    pub(super) fn text(&self, key: &str, form: Form) -> Result<Option<&str>, Refusal> {
        let Some(value) = self.given(key) else {
            return Ok(None);
        };
        let text = value
            .as_str()
            .ok_or_else(|| Refusal::unreadable(format!("{key} is not a string.")))?;
        check(text, &self.member(key), form)?;
        Ok(Some(text))
    }

    pub(super) fn needed(&self, key: &str, form: Form) -> Result<&str, Refusal> {
        self.text(key, form)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn choice(&self, key: &str, of: &[&'static str]) -> Result<Option<&str>, Refusal> {
        let chosen = self.text(key, any(0, usize::MAX))?;
        match chosen {
            Some(text) if !of.contains(&text) => Err(Refusal::constraint(
                &format!("'{text}'"),
                &self.member(key),
                &format!("Member must satisfy enum value set: [{}]", of.join(", ")),
            )),
            known => Ok(known),
        }
    }

    pub(super) fn integer(&self, key: &str, least: i64, most: i64) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.given(key) else {
            return Ok(None);
        };
        let number = value
            .as_i64()
            .ok_or_else(|| Refusal::unreadable(format!("{key} is not an integer.")))?;
        let bound = if number < least {
            format!("Member must have value greater than or equal to {least}")
        } else if number > most {
            format!("Member must have value less than or equal to {most}")
        } else {
            return Ok(Some(number));
        };
        let value = format!("'{number}'");
        Err(Refusal::constraint(&value, &self.member(key), &bound))
    }

    /// A count from 1 on.
    pub(super) fn count(&self, key: &str, most: i64) -> Result<Option<usize>, Refusal> {
        let number = self.integer(key, 1, most)?;
        Ok(number.and_then(|number| usize::try_from(number).ok()))
    }

    /// A time since 1970, to the millisecond, as Kinesis keeps it.
    pub(super) fn time(&self, key: &str) -> Result<Option<Duration>, Refusal> {
        let Some(value) = self.given(key) else {
            return Ok(None);
        };
        let time = value
            .as_f64()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| Refusal::unreadable(format!("{key} is not a time.")))?;
        let millis = (time + Duration::from_micros(500)).as_millis();
        Ok(u64::try_from(millis).ok().map(Duration::from_millis))
    }

    pub(super) fn blob(&self, key: &str, most: usize) -> Result<Vec<u8>, Refusal> {
        let value = self.given(key).ok_or_else(|| self.missing(key))?;
        let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
        let bytes =
            bytes.ok_or_else(|| Refusal::unreadable(format!("{key} is not base64 text.")))?;
        if bytes.len() > most {
            let constraint = format!("Member must have length less than or equal to {most}");
            let value = format!("'java.nio.HeapByteBuffer[lim={}]'", bytes.len());
            return Err(Refusal::constraint(&value, &self.member(key), &constraint));
        }
        Ok(bytes)
    }

    /// A member that is a structure of its own.
    pub(super) fn inner(&self, key: &str) -> Result<Option<Self>, Refusal> {
        let Some(value) = self.given(key) else {
            return Ok(None);
        };
        let members = value
            .as_object()
            .ok_or_else(|| Refusal::unreadable(format!("{key} is not a structure.")))?;
        Ok(Some(Self {
            members: members.clone(),
            path: format!("{}.", self.member(key)),
        }))
    }

    /// A list of structures, of 1 to `most` of them.
    pub(super) fn list(&mut self, key: &str, most: usize) -> Result<Vec<Self>, Refusal> {
        let member = self.member(key);
        let Some(value) = self.members.get_mut(key).filter(|value| !value.is_null()) else {
            return Err(self.missing(key));
        };
        let Value::Array(items) = value.take() else {
            return Err(Refusal::unreadable(format!("{key} is not a list.")));
        };
        length(
            &format!("list of {}", items.len()),
            items.len(),
            &member,
            1,
            most,
        )?;
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let Value::Object(members) = item else {
                return Err(Refusal::unreadable(format!("{key} holds no structures.")));
            };
            let path = format!("{member}.{}.member.", index + 1);
            list.push(Self { members, path });
        }
        Ok(list)
    }

    pub(super) fn tags(&self, key: &str) -> Result<Option<BTreeMap<String, String>>, Refusal> {
        let Some(given) = self.inner(key)? else {
            return Ok(None);
        };
        let mut tags = BTreeMap::new();
        for name in given.members.keys() {
            check(name, &self.member(key), TAG_KEY)?;
            let value = given.text(name, TAG_VALUE)?.unwrap_or_default();
            tags.insert(name.clone(), value.to_owned());
        }
        Ok(Some(tags))
    }

    pub(super) fn texts(&self, key: &str, form: Form) -> Result<Vec<String>, Refusal> {
        let value = self.given(key).ok_or_else(|| self.missing(key))?;
        let texts: Option<Vec<&str>> = value
            .as_array()
            .and_then(|items| items.iter().map(Value::as_str).collect());
        let texts =
            texts.ok_or_else(|| Refusal::unreadable(format!("{key} is not a list of strings.")))?;
        for text in &texts {
            check(text, &self.member(key), form)?;
        }
        Ok(texts.into_iter().map(str::to_owned).collect())
    }
}

fn check(text: &str, member: &str, form: Form) -> Result<(), Refusal> {
    length(text, text.chars().count(), member, form.least, form.most)?;
    if (form.fits)(text) {
        return Ok(());
    }
    Err(Refusal::constraint(
        &format!("'{text}'"),
        member,
        &format!(
            "Member must satisfy regular expression pattern: {}",
            form.pattern
        ),
    ))
}

fn length(
    shown: &str,
    length: usize,
    member: &str,
    least: usize,
    most: usize,
) -> Result<(), Refusal> {
    let bound = if length < least {
        format!("Member must have length greater than or equal to {least}")
    } else if length > most {
        format!("Member must have length less than or equal to {most}")
    } else {
        return Ok(());
    };
    Err(Refusal::constraint(&format!("'{shown}'"), member, &bound))
}
