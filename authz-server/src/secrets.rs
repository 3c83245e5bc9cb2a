//! The handoff secrets of a server: one or two, so that they can be rotated while filters still hold the old one.
//!
//! INVARIANT: a secret comes from a file, never from a flag or the bundle, and is never printed.

use palisade_core::handoff::{Secret, SecretSlot};
use std::path::{Path, PathBuf};

/// The secrets in force.
#[derive(Debug, Clone)]
pub struct HandoffSecrets {
    current: Secret,
    previous: Option<Secret>,
}

/// Why a file holds no secrets.
#[derive(Debug)]
pub struct SecretsError {
    path: PathBuf,
    detail: String,
}

impl std::fmt::Display for SecretsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the handoff secrets in `{}` cannot be used: {}", self.path.display(), self.detail)
    }
}

impl std::error::Error for SecretsError {}

impl HandoffSecrets {
    pub fn read(path: &Path) -> Result<HandoffSecrets, SecretsError> {
        let fail = |detail: String| SecretsError { path: path.to_owned(), detail };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        HandoffSecrets::parse(&text).map_err(fail)
    }

    /// One secret, for tools that are filter and server at once.
    pub(crate) const fn only(current: Secret) -> HandoffSecrets {
        HandoffSecrets { current, previous: None }
    }

    fn parse(text: &str) -> Result<HandoffSecrets, String> {
        let mut secrets = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let secret = Secret::parse(line).ok_or_else(|| {
                format!("line {} is not a secret: expected 64 hexadecimal digits, as `openssl rand -hex 32` prints them", index + 1)
            })?;
            secrets.push(secret);
        }
        let mut secrets = secrets.into_iter();
        match (secrets.next(), secrets.next(), secrets.next()) {
            (None, ..) => {
                Err("the file is empty: expected one or two lines of 64 hexadecimal digits".to_owned())
            }
            (Some(current), Some(previous), None) if current == previous => {
                Err("both lines hold the same secret: remove the second".to_owned())
            }
            (Some(current), previous, None) => Ok(HandoffSecrets { current, previous }),
            (Some(_), _, Some(_)) => {
                Err("more than two lines: the first is the current secret, the second the one before"
                    .to_owned())
            }
        }
    }

    pub fn slots(&self) -> impl Iterator<Item = (SecretSlot, &Secret)> {
        let previous = self.previous.as_ref().map(|secret| (SecretSlot::Previous, secret));
        std::iter::once((SecretSlot::Current, &self.current)).chain(previous)
    }
}

#[cfg(test)]
mod tests {
    use super::HandoffSecrets;

    #[test]
    fn one_or_two_lines_are_secrets() {
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        assert_eq!(HandoffSecrets::parse(&format!("{one}\n")).unwrap().slots().count(), 1);
        assert_eq!(HandoffSecrets::parse(&format!("{one}\n{two}\n")).unwrap().slots().count(), 2);
        let check = |text: &str, part: &str| {
            let error = HandoffSecrets::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check("", "the file is empty");
        check("short\n", "line 1 is not a secret");
        check(&format!("{one}\n\n"), "line 2 is not a secret");
        check(&format!("{one}\n{one}\n"), "same secret");
        check(&format!("{one}\n{two}\n{one}\n"), "more than two lines");
        check(&"00".repeat(32), "line 1 is not a secret");
    }
}
