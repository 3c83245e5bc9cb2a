//! A change that somebody could make, as edits of the world and in words.
//!
//! INVARIANT: a `Change` claims nothing. It becomes a sentence about the answer only after Cedar was asked again.

use crate::path::{Path, Root};
use cedar_policy::EntityUid;
use serde_json::Value as Json;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Principal,
    Resource,
}

impl Who {
    pub(crate) const fn root(self) -> Root {
        match self {
            Who::Principal => Root::Principal,
            Who::Resource => Root::Resource,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Edit {
    Join {
        who: Who,
        parent: EntityUid,
    },
    Leave {
        who: Who,
        parent: EntityUid,
    },
    /// A value, or none there.
    Put {
        path: Path,
        value: Option<Json>,
    },
    Caller(EntityUid),
    Action(EntityUid),
}

/// The kinds of change, in the order in which an operator would rather make them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Membership,
    Scope,
    CallerAttribute,
    ResourceMembership,
    ResourceAttribute,
    Value,
    Workload,
    Absence,
    Departure,
    Caller,
    Action,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) edits: Vec<Edit>,
    /// Edits of which each must do what `edits` does, or the words are not true.
    pub(crate) also: Vec<Vec<Edit>>,
    /// What follows an "if", each of these true at once.
    pub(crate) words: Vec<Words>,
    pub(crate) kinds: Vec<Kind>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Words {
    pub(crate) text: String,
    /// Whether it only says that there should be something, which a further wish says better.
    pub(crate) presence_of: Option<Path>,
    pub(crate) about: Option<Path>,
}

impl Change {
    pub(crate) const NOTHING: Change =
        Change { edits: Vec::new(), also: Vec::new(), words: Vec::new(), kinds: Vec::new() };

    pub(crate) fn one(kind: Kind, edit: Edit, text: String) -> Change {
        let about = match &edit {
            Edit::Put { path, .. } => Some(path.clone()),
            Edit::Join { .. } | Edit::Leave { .. } | Edit::Caller(_) | Edit::Action(_) => None,
        };
        let words = Words { text, presence_of: None, about };
        Change { edits: vec![edit], also: Vec::new(), words: vec![words], kinds: vec![kind] }
    }

    /// Only that something is there.
    pub(crate) fn presence(mut self) -> Change {
        for words in &mut self.words {
            words.presence_of = words.about.take();
        }
        self
    }

    /// Both at once. `None`: they contradict each other.
    pub(crate) fn and(&self, other: &Change) -> Option<Change> {
        let mut both = self.clone();
        for edit in &other.edits {
            let Edit::Put { path, .. } = edit else {
                if !both.edits.contains(edit) {
                    both.edits.push(edit.clone());
                }
                continue;
            };
            let same = |known: &Edit| matches!(known, Edit::Put { path: known, .. } if known == path);
            if both.edits.contains(edit) {
                continue;
            }
            if both.edits.iter().any(same) {
                let known_is_presence = |change: &Change| {
                    change.words.iter().any(|words| words.presence_of.as_ref() == Some(path))
                };
                match (known_is_presence(&both), known_is_presence(other)) {
                    (true, _) => both.edits.retain(|known| !same(known)),
                    (false, true) => continue,
                    (false, false) => return None,
                }
            }
            both.edits.push(edit.clone());
        }
        // Two sets of which any member will do: only the first of the second is tried.
        if both.also.is_empty() {
            let rest = other.also.iter().map(|also| {
                let mut all = self.edits.clone();
                all.extend(also.clone());
                all
            });
            both.also = rest.collect();
        } else if other.also.is_empty() {
            for also in &mut both.also {
                also.extend(other.edits.clone());
            }
        } else {
            return None;
        }
        both.kinds.extend(&other.kinds);
        for words in &other.words {
            if !both.words.contains(words) {
                both.words.push(words.clone());
            }
        }
        let said: Vec<Path> = both.words.iter().filter_map(|words| words.about.clone()).collect();
        both.words.retain(|words| words.presence_of.as_ref().is_none_or(|path| !said.contains(path)));
        Some(both)
    }

    pub(crate) fn sentence(&self) -> String {
        let all: Vec<&str> = self.words.iter().map(|words| words.text.as_str()).collect();
        all.join(" and ")
    }

    /// The fewer and the easier, the smaller.
    pub(crate) fn size(&self) -> (bool, usize, Vec<Kind>) {
        let mut kinds = self.kinds.clone();
        kinds.sort_unstable_by(|one, other| other.cmp(one));
        (self.is_other_request(), self.words.len(), kinds)
    }

    /// Whether somebody else would ask, or for something else: no grant at all.
    pub(crate) fn is_other_request(&self) -> bool {
        self.kinds.iter().any(|kind| matches!(kind, Kind::Caller | Kind::Action))
    }
}
