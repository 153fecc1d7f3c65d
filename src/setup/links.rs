//! What was found out about each link of the way from a stream to a view.
//!
//! Decides: the four things that can be said of a link, and how they are printed. What could
//! not be looked at is never called good.
//! Deliberately absent: looking (`roles.rs`, and whoever asks AWS or Redshift).

use std::fmt::Write as _;

use serde::Serialize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub links: Vec<Link>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    pub name: String,
    pub state: State,
    pub detail: String,
    /// What to do, ready to paste where it is a document or a statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// The rows of docs/assumptions.md that it speaks of.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    pub assumed: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    Broken,
    /// It could not be looked at, or what was seen does not settle it.
    Unverifiable,
    /// There is nothing to look at.
    Skipped,
}

impl Link {
    #[must_use]
    pub fn new(name: impl Into<String>, state: State, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state,
            detail: detail.into(),
            mend: None,
            assumed: &[],
        }
    }

    #[must_use]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }
}

impl State {
    #[must_use]
    pub fn sign(self) -> char {
        match self {
            Self::Ok => '✓',
            Self::Broken => '✗',
            Self::Unverifiable => '?',
            Self::Skipped => '–',
        }
    }
}

impl Report {
    /// For a person: a line per link, what to do below it, a sum at the end.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for link in &self.links {
            // Writing into a String cannot fail.
            let _ = write!(text, "{} {}: {}", link.state.sign(), link.name, link.detail);
            if !link.assumed.is_empty() {
                let _ = write!(text, " ({})", link.assumed.join(", "));
            }
            text.push('\n');
            for line in link.mend.iter().flat_map(|mend| mend.lines()) {
                let _ = writeln!(text, "    {line}");
            }
        }
        let _ = writeln!(
            text,
            "{} ok, {} broken, {} could not be verified, {} skipped",
            self.count(State::Ok),
            self.count(State::Broken),
            self.count(State::Unverifiable),
            self.count(State::Skipped)
        );
        text
    }

    /// 1 where something is broken, 2 where something could not be verified, else 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.count(State::Broken) > 0 {
            1
        } else if self.count(State::Unverifiable) > 0 {
            2
        } else {
            0
        }
    }

    fn count(&self, state: State) -> usize {
        let links = self.links.iter();
        links.filter(|link| link.state == state).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(states: &[State]) -> Report {
        let links = states.iter().map(|state| Link::new("a", *state, "b"));
        Report {
            links: links.collect(),
        }
    }

    #[test]
    fn what_could_not_be_verified_is_not_a_success() {
        for (states, code) in [
            (&[State::Ok, State::Skipped][..], 0),
            (&[State::Ok, State::Unverifiable], 2),
            (&[State::Unverifiable, State::Broken], 1),
            (&[], 0),
        ] {
            assert_eq!(report(states).exit_code(), code, "{states:?}");
        }
    }

    #[test]
    fn a_report_shows_sign_detail_and_what_to_do() {
        let broken =
            Link::new("trust", State::Broken, "nobody is trusted").mend("{\n  \"a\": 1\n}");
        let mut there = Link::new("schema", State::Ok, "is there");
        there.assumed = &["A42", "A43"];
        let links = vec![broken, there];
        let report = Report { links };
        assert_eq!(
            report.text(),
            "✗ trust: nobody is trusted\n    {\n      \"a\": 1\n    }\n✓ schema: is there (A42, A43)\n\
             1 ok, 1 broken, 0 could not be verified, 0 skipped\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        let first = json.pointer("/links/0/state");
        assert_eq!(first.and_then(|state| state.as_str()), Some("broken"));
        assert_eq!(json.pointer("/links/1/mend"), None);
    }
}
