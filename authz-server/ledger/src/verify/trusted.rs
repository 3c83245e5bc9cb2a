//! The hash that an entry must have, as far as the tiles lead from it up to a signed root.
//!
//! INVARIANT: a hash that is given is under the signed root; where a tile on the way is missing or does not fit the one above
//! it, nothing is given.

use std::path::Path;

use crate::error::FileError;
use crate::file::Files;
use crate::merkle::{Edge, Finished, Hash, LeafHash, TILE_WIDTH, Tile, root_of};
use crate::tiles;

pub(super) struct Trusted<'a, F> {
    files: &'a F,
    dir: &'a Path,
    /// The trees that were signed, by size.
    heads: Vec<(u64, Hash)>,
    /// The largest of them whose unfinished tiles are there and lead to its root.
    edge: Option<Edge>,
    unfinished: Vec<Finished>,
    /// The tile that was last looked at of each level, and its hashes if they are trusted.
    recent: Vec<(u64, Option<Vec<Hash>>)>,
}

impl<'a, F: Files> Trusted<'a, F> {
    pub(super) fn new(files: &'a F, dir: &'a Path, heads: Vec<(u64, Hash)>) -> Trusted<'a, F> {
        Trusted { files, dir, heads, edge: None, unfinished: Vec::new(), recent: Vec::new() }
    }

    /// The hash of the entry of this index.
    pub(super) fn leaf(&mut self, index: u64) -> Result<Option<LeafHash>, FileError> {
        let size = match &self.edge {
            Some(edge) => edge.size(),
            None => self.find_edge()?,
        };
        if index < size { self.hash(0, index) } else { Ok(None) }
    }

    fn hash(&mut self, level: u8, place: u64) -> Result<Option<Hash>, FileError> {
        let number = place / TILE_WIDTH as u64;
        let within = usize::try_from(place % TILE_WIDTH as u64).unwrap_or(0);
        let slot = usize::from(level);
        if self.recent.get(slot).is_none_or(|(recent, _)| *recent != number) {
            let hashes = self.tile(level, number)?;
            if self.recent.len() <= slot {
                self.recent.resize(slot.saturating_add(1), (u64::MAX, None));
            }
            if let Some(recent) = self.recent.get_mut(slot) {
                *recent = (number, hashes);
            }
        }
        let recent = self.recent.get(slot).and_then(|(_, hashes)| hashes.as_ref());
        Ok(recent.and_then(|hashes| hashes.get(within).copied()))
    }

    fn tile(&mut self, level: u8, number: u64) -> Result<Option<Vec<Hash>>, FileError> {
        if let Some(finished) =
            self.unfinished.iter().find(|it| it.tile.level == level && it.tile.number == number)
        {
            return Ok(Some(finished.hashes.clone()));
        }
        if self.unfinished.last().is_none_or(|top| top.tile.level <= level) {
            // Above the whole tree.
            return Ok(None);
        }
        let Some(above) = self.hash(level.saturating_add(1), number)? else { return Ok(None) };
        let hashes = tiles::read(self.files, self.dir, Tile { level, number, width: TILE_WIDTH })?;
        Ok(hashes.filter(|hashes| root_of(hashes) == above))
    }

    /// Says how many entries are below the root that is trusted.
    fn find_edge(&mut self) -> Result<u64, FileError> {
        let read = |tile| tiles::read(self.files, self.dir, tile).map(Option::unwrap_or_default);
        while let Some((size, root)) = self.heads.pop() {
            if let Some(edge) = Edge::restore(size, read)?.filter(|edge| edge.root() == root) {
                self.unfinished = edge.unfinished();
                self.edge = Some(edge);
                return Ok(size);
            }
        }
        self.edge = Some(Edge::empty());
        Ok(0)
    }
}
