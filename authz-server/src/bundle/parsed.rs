//! The documents of a bundle as trees: the first thing that is done with its files.
//!
//! INVARIANT: nobody looks into a document before all of them were parsed, so that each file's one syntax error is
//! reported before anything that may only follow from another's.

use super::files::{File, Files, Role};
use super::problem::Problems;
use super::yaml::{self, Node};

/// A file with its tree.
#[derive(Debug)]
pub(crate) struct Document<'f> {
    pub(crate) file: &'f File,
    pub(crate) root: Node,
}

/// All documents of a bundle, in the order of their paths.
#[derive(Debug)]
pub(crate) struct Parsed<'f> {
    documents: Vec<Document<'f>>,
}

impl<'f> Parsed<'f> {
    /// Parses every document; what cannot be parsed is reported and left out.
    pub(super) fn of(files: &'f Files, problems: &mut Problems) -> Parsed<'f> {
        let mut documents = Vec::new();
        for file in files.iter().filter(|file| file.role.is_document()) {
            match yaml::parse(file) {
                Ok(root) => documents.push(Document { file, root }),
                Err(problem) => problems.push(problem),
            }
        }
        Parsed { documents }
    }

    pub(super) fn with_role(&self, role: Role) -> impl Iterator<Item = &Document<'f>> {
        self.documents.iter().filter(move |document| document.file.role == role)
    }
}
