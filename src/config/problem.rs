//! Mistakes: where they stand, what is wrong, what to write instead.
//!
//! Decides: the one line in which a mistake is reported, and that none hides another.

use std::fmt;

/// One mistake in a configuration: `file:line:col: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as the user named it, or the environment variable.
    pub file: String,
    /// Line and column from 1, in characters; `None` for environment variables.
    pub at: Option<(usize, usize)>,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Where something stands: a file by its number, a byte by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) offset: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// The files that were read, and everything wrong with them.
#[derive(Debug, Default)]
pub(super) struct Problems {
    files: Vec<(String, Option<String>)>,
    found: Vec<(Place, Problem)>,
    repeated: usize,
}

impl Problems {
    /// Takes a file up; its number names it in places.
    pub(super) fn file(&mut self, name: String, text: String) -> usize {
        self.files.push((name, Some(text)));
        self.files.len() - 1
    }

    /// A place that is no place in a file: an environment variable, a path.
    pub(super) fn elsewhere(&mut self, name: &str) -> Place {
        self.files.push((name.to_owned(), None));
        Place {
            file: self.files.len() - 1,
            offset: 0,
        }
    }

    pub(super) fn add(&mut self, place: Place, message: impl Into<String>) {
        let (file, at) = match self.files.get(place.file) {
            Some((name, text)) => {
                let at = text.as_ref();
                (
                    name.clone(),
                    at.map(|text| line_and_column(text, place.offset)),
                )
            }
            None => ("configuration".to_owned(), None),
        };
        let message = message.into();
        let problem = Problem { file, at, message };
        self.found.push((place, problem));
    }

    /// How many there are so far: who counts before and after knows whether a part is sound.
    pub(super) fn count(&self) -> usize {
        self.found.len() + self.repeated
    }

    /// A mistake that has been said before has struck again.
    pub(super) fn repeat(&mut self) {
        self.repeated += 1;
    }

    /// All of them, in the order in which they stand in the files.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|(place, _)| *place);
        self.found.dedup();
        self.found.into_iter().map(|(_, problem)| problem).collect()
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

/// `; did you mean ...?` where one of the known words is close, else the known words.
pub(super) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let wanted = word.to_lowercase();
    let nearest = known
        .iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()),
                candidate,
            )
        })
        .min();
    if let Some((distance, candidate)) = nearest
        && distance <= (candidate.chars().count() / 3).max(1)
    {
        return format!("; did you mean `{candidate}`?");
    }
    match known.as_slice() {
        [] => String::new(),
        words if words.len() <= 12 => format!("; known: {}", words.join(", ")),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        assert_eq!(line_and_column("a\nüb", 4), (2, 2));
        assert_eq!(line_and_column("", 0), (1, 1));
    }

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(
            hint("taget_lag", ["target_lag"]),
            "; did you mean `target_lag`?"
        );
        assert_eq!(hint("zzz", ["rt", "dwh"]), "; known: rt, dwh");
    }
}
