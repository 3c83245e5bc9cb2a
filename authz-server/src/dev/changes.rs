//! Which files of a bundle differ from those of another.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use crate::bundle::Snapshot;

/// How many names stand in a line.
const NAMED_MAX: usize = 3;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    changed: Vec<String>,
    added: Vec<String>,
    removed: Vec<String>,
}

impl Changes {
    /// Between two directories that were found to be whole; nothing is known of one that is not.
    pub(super) fn between(old: &Path, new: &Path) -> Changes {
        let read = |directory: &Path| {
            let snapshot = Snapshot::read(directory).ok()?;
            let owned = snapshot.files().map(|(name, text)| (name.to_owned(), text.to_owned()));
            Some(owned.collect::<BTreeMap<_, _>>())
        };
        let (Some(mut old), Some(new)) = (read(old), read(new)) else { return Changes::default() };
        let mut changes = Changes::default();
        for (name, text) in new {
            match old.remove(&name) {
                Some(before) if before == text => {}
                Some(_) => changes.changed.push(name),
                None => changes.added.push(name),
            }
        }
        changes.removed = old.into_keys().collect();
        changes
    }

    pub(super) fn object(&self) -> Value {
        json!({"changed": self.changed, "added": self.added, "removed": self.removed})
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("changed", &self.changed), ("new", &self.added), ("gone", &self.removed)];
        let mut written = false;
        for (what, names) in parts.into_iter().filter(|(_, names)| !names.is_empty()) {
            let shown = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
            write!(f, "{}{what} {shown}", if written { ", " } else { "" })?;
            let more = names.len().saturating_sub(NAMED_MAX);
            if more > 0 {
                write!(f, " and {more} more")?;
            }
            written = true;
        }
        if written { Ok(()) } else { f.write_str("another bundle") }
    }
}

#[cfg(test)]
mod tests {
    use super::Changes;
    use std::fs;

    #[test]
    fn files_are_named_by_what_became_of_them() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (directory, name, text) in [
            (&old, "same.cedar", "1"),
            (&new, "same.cedar", "1"),
            (&old, "other.cedar", "1"),
            (&new, "other.cedar", "2"),
            (&old, "gone.cedar", "1"),
            (&new, "a.cedar", "1"),
            (&new, "b.cedar", "1"),
            (&new, "c.cedar", "1"),
            (&new, "d.cedar", "1"),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let changes = Changes::between(old.path(), new.path());
        assert_eq!(
            changes.to_string(),
            "changed other.cedar, new a.cedar, b.cedar, c.cedar and 1 more, gone gone.cedar"
        );
        assert_eq!(Changes::between(old.path(), old.path()).to_string(), "another bundle");
    }
}
