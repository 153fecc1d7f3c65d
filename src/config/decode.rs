//! TOML values with their places, read key by key so that every mistake is found.
//!
//! Decides: what each kind of value may be written as. Nothing is coerced: `5.9` is no
//! duration, `"4"` no number.
//! Deliberately absent: which keys there are (`file.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{At, Place, Problems, hint};
use super::values::parse_duration;

/// A TOML value and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    value: &'a DeValue<'a>,
    pub(super) place: Place,
}

/// A table whose keys are taken one by one; what is left over at the end is unknown.
#[derive(Debug)]
pub(super) struct Table<'a> {
    keys: BTreeMap<String, (Place, Value<'a>)>,
    pub(super) place: Place,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// The top of a file.
    pub(super) fn top(table: &'a Spanned<DeTable<'a>>, file: usize) -> Self {
        Self::new(table.get_ref(), Place { file, offset: 0 })
    }

    fn new(table: &'a DeTable<'a>, place: Place) -> Self {
        let at = |offset| Place {
            file: place.file,
            offset,
        };
        let keys = table.iter().map(|(key, value)| {
            let read = Value {
                value: value.get_ref(),
                place: at(value.span().start),
            };
            (key.get_ref().to_string(), (at(key.span().start), read))
        });
        Self {
            keys: keys.collect(),
            place,
            known: Vec::new(),
        }
    }

    /// The value of a key, once.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        self.keys.remove(key).map(|(_, value)| value)
    }

    pub(super) fn table(&mut self, key: &'static str, problems: &mut Problems) -> Option<Self> {
        self.take(key)?.table(key, problems)
    }

    pub(super) fn text(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<String>> {
        self.take(key)?.text(key, problems)
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<Duration>> {
        let value = self.take(key)?;
        if value.value.is_integer() || value.value.is_float() {
            let wrong = format!("`{key}` is a number without a unit; write a text like \"30s\"");
            problems.add(value.place, wrong);
            return None;
        }
        if !value.value.is_str() {
            return value.refuse(key, "a text like \"30s\"", problems);
        }
        let text = value.text(key, problems)?;
        text.parse(key, parse_duration, problems)
    }

    pub(super) fn number(&mut self, key: &'static str, problems: &mut Problems) -> Option<At<f64>> {
        self.take(key)?.number(key, problems)
    }

    /// A number above 0, at most 1.
    pub(super) fn share(&mut self, key: &'static str, problems: &mut Problems) -> Option<f64> {
        let number = self.number(key, problems)?;
        if number.value > 0.0 && number.value <= 1.0 {
            return Some(number.value);
        }
        let found = number.value;
        let wrong = format!("`{key}` is {found}; write a share above 0, at most 1");
        problems.add(number.place, wrong);
        None
    }

    pub(super) fn boolean(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<bool>> {
        let value = self.take(key)?;
        match value.value.as_bool() {
            Some(bool) => Some(value.at(bool)),
            None => value.refuse(key, "true or false", problems),
        }
    }

    /// A list of texts; a single text counts as a list of one.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<Vec<At<String>>>> {
        let value = self.take(key)?;
        if value.value.is_str() {
            let text = value.text(key, problems)?;
            return Some(value.at(vec![text]));
        }
        let items = value.list(key, problems)?;
        let texts = items
            .into_iter()
            .filter_map(|item| item.text(key, problems));
        Some(value.at(texts.collect()))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
        problems: &mut Problems,
    ) -> Option<At<T>> {
        let text = self.text(key, problems)?;
        let words = || choices.iter().map(|(word, _)| *word);
        let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.value) else {
            let known = words().collect::<Vec<_>>().join(", ");
            let message = format!("`{key}` cannot be `{}`; write one of: {known}", text.value);
            problems.add(text.place, message);
            return None;
        };
        Some(At {
            value: *value,
            place: text.place,
        })
    }

    /// Every entry, for tables whose keys are names.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (At<String>, Value<'a>)> {
        self.keys.into_iter().map(|(name, (place, value))| {
            let name = At { value: name, place };
            (name, value)
        })
    }

    /// Whatever was not taken is a mistake.
    pub(super) fn finish(self, what: &str, problems: &mut Problems) {
        for (key, (place, _)) in self.keys {
            let hint = hint(&key, self.known.iter().copied());
            problems.add(place, format!("{what} has no key `{key}`{hint}"));
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn at<T>(&self, value: T) -> At<T> {
        At {
            value,
            place: self.place,
        }
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    pub(super) fn table(&self, key: &str, problems: &mut Problems) -> Option<Table<'a>> {
        self.table_or(key, "a table", problems)
    }

    /// A table; a refusal says that `wanted` could be written.
    pub(super) fn table_or(
        &self,
        key: &str,
        wanted: &str,
        problems: &mut Problems,
    ) -> Option<Table<'a>> {
        match self.value.as_table() {
            Some(table) => Some(Table::new(table, self.place)),
            None => self.refuse(key, wanted, problems),
        }
    }

    pub(super) fn text(&self, key: &str, problems: &mut Problems) -> Option<At<String>> {
        match self.value.as_str() {
            Some("") => {
                problems.add(
                    self.place,
                    format!("`{key}` is empty; leave it out or give it a value"),
                );
                None
            }
            Some(text) => Some(self.at(text.to_owned())),
            None => self.refuse(key, "a text in quotes", problems),
        }
    }

    pub(super) fn list(&self, key: &str, problems: &mut Problems) -> Option<Vec<Self>> {
        let Some(items) = self.value.as_array() else {
            return self.refuse(key, "a list", problems);
        };
        let file = self.place.file;
        let read = items.iter().map(|item| Value {
            value: item.get_ref(),
            place: Place {
                file,
                offset: item.span().start,
            },
        });
        Some(read.collect())
    }

    fn number(&self, key: &str, problems: &mut Problems) -> Option<At<f64>> {
        let digits = match self.value {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(_)
            | DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return self.refuse(key, "a number without quotes", problems),
        };
        match digits.parse::<f64>() {
            Ok(number) if number.is_finite() => Some(self.at(number)),
            Ok(_) | Err(_) => self.refuse(key, "a number", problems),
        }
    }

    fn refuse<T>(&self, key: &str, wanted: &str, problems: &mut Problems) -> Option<T> {
        let found = self.value.type_str();
        problems.add(
            self.place,
            format!("`{key}` is {} {found}; write {wanted}", article(found)),
        );
        None
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

impl<T> At<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At {
            value: change(self.value),
            place: self.place,
        }
    }
}

impl At<String> {
    /// Reads the text as something; a refusal is reported at its place.
    pub(super) fn parse<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
        problems: &mut Problems,
    ) -> Option<At<T>> {
        match read(&self.value) {
            Ok(value) => Some(At {
                value,
                place: self.place,
            }),
            Err(wrong) => {
                problems.add(self.place, format!("`{key}`: {wrong}"));
                None
            }
        }
    }
}
