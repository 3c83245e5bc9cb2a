//! The segments of a ledger in their order, as far as their headers tell.
//!
//! INVARIANT: what is given here follows one another without a gap, from the oldest segment that retention left.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{ChainError, FileError, FormatError, ReadError};
use crate::file::Files;
use crate::scan::read_header;
use crate::segment::{self, Beginning, Header};

/// How often the directory is listed again because a file of the list was deleted before it was opened.
const LOOKS_MAX: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    pub(crate) segments: Vec<Segment>,
    /// A file behind the last segment that holds no acknowledged entry.
    pub(crate) unfinished: Option<(u32, PathBuf)>,
}

impl Chain {
    /// Reads every header. An empty chain is a ledger that has not begun.
    pub(crate) fn read<F: Files>(files: &F, dir: &Path) -> Result<Chain, ReadError> {
        let mut looks = 0;
        loop {
            looks += 1;
            match Chain::look(files, dir) {
                // Retention deletes from the front while others read.
                Err(ReadError::File(error))
                    if error.source.kind() == io::ErrorKind::NotFound && looks < LOOKS_MAX => {}
                looked => return looked,
            }
        }
    }

    fn look<F: Files>(files: &F, dir: &Path) -> Result<Chain, ReadError> {
        let names = match files.list(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Chain::default()),
            Err(source) => return Err(FileError { action: "list", path: dir.to_owned(), source }.into()),
        };
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment::number_of(name)).collect();
        numbers.sort_unstable();
        let mut chain = Chain::default();
        for number in numbers {
            let path = segment::path(dir, number);
            if let Some((_, path)) = chain.unfinished.take() {
                // It never began, and yet there is a later one.
                return Err(FormatError::NotASegment { path }.into());
            }
            match header_at(files, &path)? {
                Beginning::Sound(header) => chain.push(dir, Segment { path, header }, number)?,
                Beginning::Unfinished => chain.unfinished = Some((number, path)),
            }
        }
        Ok(chain)
    }

    fn push(&mut self, dir: &Path, segment: Segment, number: u32) -> Result<(), ChainError> {
        if segment.header.number != number {
            return Err(ChainError::Renamed { path: segment.path, number: segment.header.number });
        }
        if let Some(before) = self.segments.last() {
            follows(dir, before, &segment)?;
        }
        self.segments.push(segment);
        Ok(())
    }
}

fn header_at<F: Files>(files: &F, path: &Path) -> Result<Beginning, ReadError> {
    let fail = |action| move |source| FileError { action, path: path.to_owned(), source };
    let file = files.open_to_read(path).map_err(fail("open"))?;
    Ok(read_header(&file, path).map_err(fail("read"))??)
}

/// The segment that was begun after `before`, if one was.
pub(crate) fn next<F: Files>(files: &F, dir: &Path, before: &Segment) -> Result<Option<Segment>, ReadError> {
    let path = segment::path(dir, before.header.number.saturating_add(1));
    let header = match header_at(files, &path) {
        Ok(Beginning::Sound(header)) => header,
        Ok(Beginning::Unfinished) => return Ok(None),
        Err(ReadError::File(error)) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let segment = Segment { path, header };
    follows(dir, before, &segment)?;
    Ok(Some(segment))
}

fn follows(dir: &Path, before: &Segment, segment: &Segment) -> Result<(), ChainError> {
    let expected = before.header.number.saturating_add(1);
    if segment.header.number != expected {
        return Err(ChainError::Missing { path: segment::path(dir, expected) });
    }
    let agrees = segment.header.previous.is_some_and(|previous| previous.header == before.header.hash())
        && segment.header.first_index >= before.header.first_index;
    if agrees {
        Ok(())
    } else {
        Err(ChainError::Mismatch { path: segment.path.clone(), before: before.path.clone() })
    }
}
