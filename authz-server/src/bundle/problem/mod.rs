//! What is wrong with a bundle, said so that it can be mended: where, the text, what was expected, what was probably meant.
//!
//! One form for machines (`--json`), one for a terminal (`report`), one line for logs (`Display`).

use super::lints::Lint;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::Path;

mod place;
mod report;

pub(crate) use place::Lines;
pub use place::Place;

/// How grave a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The bundle cannot be used.
    Error,
    /// The bundle can be used, and probably does not do what was meant.
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Boxed, because problems travel in results.
    #[serde(flatten)]
    pub place: Box<Place>,
    pub severity: Severity,
    /// The name of the lint that found it; errors have none, because they cannot be allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lint: Option<Lint>,
    /// The policy, operation, service, group or caller that a lint is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What was probably meant, where something near exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl Problem {
    pub fn new(place: Place, message: impl Into<String>) -> Problem {
        Problem {
            place: Box::new(place),
            severity: Severity::Error,
            lint: None,
            subject: None,
            message: message.into(),
            help: None,
            suggestion: None,
        }
    }

    /// Something that is allowed and rarely meant.
    pub fn lint(place: Place, lint: Lint, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, lint: Some(lint), ..Problem::new(place, message) }
    }

    /// Names what a lint is about, as `lints.allow` does.
    pub fn subject(mut self, subject: &str) -> Problem {
        self.subject = Some(subject.to_owned());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// Names the candidate that is nearest to what was written, if one is near.
    pub fn suggest<'a>(mut self, written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Problem {
        self.suggestion = nearest(written, candidates).map(ToOwned::to_owned);
        self
    }
}

/// How many edits apart two words may be and still count as the same word mistyped: one in three letters.
fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let edits_max = (written.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(written, candidate), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min()
        .map(|(_, candidate)| candidate)
}

impl Serialize for Lint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n    did you mean `{suggestion}`?")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n    help: {help}"),
            None => Ok(()),
        }
    }
}

/// All mistakes of a bundle. They are shown in the order of their places, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    found: Vec<Problem>,
}

impl Problems {
    pub fn push(&mut self, problem: Problem) {
        self.found.push(problem);
    }

    pub fn extend(&mut self, more: Problems) {
        self.found.extend(more.found);
    }

    /// Keeps a result's value, or its problems.
    pub fn keep<T>(&mut self, result: Result<T, Problems>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problems) => {
                self.extend(problems);
                None
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// In the order of their places, each once.
    pub fn sorted(&self) -> Vec<&Problem> {
        let mut found: Vec<_> = self.found.iter().collect();
        found.sort();
        found.dedup();
        found
    }

    /// How many there are of a severity, each counted once.
    pub fn count(&self, severity: Severity) -> usize {
        self.sorted().iter().filter(|problem| problem.severity == severity).count()
    }

    /// The same with places as somebody in the directory's parent names them, so that a terminal can open them.
    pub fn in_directory(&self, directory: &Path) -> Problems {
        let within = |problem: &Problem| {
            let mut problem = problem.clone();
            problem.place.file = directory.join(&problem.place.file).display().to_string();
            problem
        };
        Problems { found: self.found.iter().map(within).collect() }
    }

    /// Takes away the findings of some lints.
    pub fn without(&mut self, lints: &[Lint]) {
        self.found.retain(|problem| problem.lint.is_none_or(|lint| !lints.contains(&lint)));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Problems { found: vec![problem] }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.sorted().into_iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let keys = ["hosts", "workload", "owner", "operations"];
        assert_eq!(nearest("host", keys), Some("hosts"));
        assert_eq!(nearest("opertaions", keys), Some("operations"));
        assert_eq!(nearest("onwer", keys), Some("owner"));
        assert_eq!(nearest("timeout", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
