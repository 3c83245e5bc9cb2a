//! The Merkle tree over the entries: RFC 6962 hashes, kept as the tiles of tlog-tiles. Pure.
//!
//! A tile holds 256 consecutive hashes of one level; a level's hash is the root of a full tile of the level below.
//! A tree that only grows therefore needs in memory nothing but the unfinished tile of each level, its [`Edge`].
//!
//! INVARIANT: [`Edge::root`] is the root of the RFC 6962 tree over exactly the leaves that were pushed, in order.

use std::fmt;

use sha2::{Digest, Sha256};

/// Hashes of a full tile.
pub const TILE_WIDTH: usize = 256;

pub(crate) const HASH_BYTES: usize = 32;

/// A hash of the tree: of an entry, or of two hashes below.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; HASH_BYTES]);

impl Hash {
    pub fn new(bytes: [u8; HASH_BYTES]) -> Hash {
        Hash(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// The hash of one entry: the leaf of the tree.
pub type LeafHash = Hash;

/// Hashes the stored bytes and nothing else, so that a proof outlives any change of the frame.
pub(crate) fn leaf_hash(stored: &[u8]) -> LeafHash {
    let mut hash = Sha256::new();
    hash.update([0x00]);
    hash.update(stored);
    Hash(hash.finalize().into())
}

/// The hash above two others.
pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0x01]);
    hash.update(left.0);
    hash.update(right.0);
    Hash(hash.finalize().into())
}

/// The root of the tree without entries.
pub(crate) fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// The root of the tree over `hashes`, which may be of any one level.
pub(crate) fn root_of(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty_root(),
        [only] => *only,
        _ => {
            let (left, right) = hashes.split_at(left_width(hashes.len()));
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// How many of `width` leaves stand left of the root: the largest power of two below it.
pub(crate) fn left_width(width: usize) -> usize {
    width.saturating_sub(1).checked_ilog2().map_or(0, |bits| 1 << bits)
}

/// What a tree's root is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subtree {
    /// The entries from here, and before there.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Subtree {
    /// The two trees below the root; `None` for a single entry.
    pub(crate) fn children(self) -> Option<(Subtree, Subtree)> {
        let bits = self.to.checked_sub(self.from)?.checked_sub(1)?.checked_ilog2()?;
        let middle = self.from.checked_add(1_u64.checked_shl(bits)?)?;
        Some((Subtree { to: middle, ..self }, Subtree { from: middle, ..self }))
    }

    /// The level of its root above the entries, if it is a perfect tree that begins where such trees begin.
    pub(crate) fn perfect_level(self) -> Option<u32> {
        let width = self.to.checked_sub(self.from)?;
        (width.is_power_of_two() && self.from.is_multiple_of(width)).then(|| width.trailing_zeros())
    }
}

/// The trees whose roots prove an entry, from the leaf's sibling up (RFC 6962, section 2.1.1).
pub(crate) fn inclusion_path(index: u64, size: u64) -> Vec<Subtree> {
    let mut siblings = Vec::new();
    let mut tree = Subtree { from: 0, to: size };
    while let Some((left, right)) = tree.children() {
        let (inside, sibling) = if index < right.from { (left, right) } else { (right, left) };
        siblings.push(sibling);
        tree = inside;
    }
    siblings.reverse();
    siblings
}

/// The root that an entry and its proof lead to. `None` where the proof has another length than such a proof has.
pub(crate) fn root_from_path(leaf: &LeafHash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    let siblings = inclusion_path(index, size);
    (siblings.len() == path.len() && index < size).then(|| {
        siblings.iter().zip(path).fold(*leaf, |hash, (sibling, other)| {
            if sibling.from > index { node_hash(&hash, other) } else { node_hash(other, &hash) }
        })
    })
}

/// The place of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tile {
    pub(crate) level: u8,
    /// Counted from 0 within the level.
    pub(crate) number: u64,
    /// From 1 to [`TILE_WIDTH`]; narrower ones are the right edge of a tree.
    pub(crate) width: usize,
}

impl Tile {
    pub(crate) fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Where the tile stands below the log's directory, as tlog-tiles names it.
    pub(crate) fn path(&self) -> String {
        let name = path_of_number(self.number);
        let Tile { level, width, .. } = self;
        if self.is_full() { format!("tile/{level}/{name}") } else { format!("tile/{level}/{name}.p/{width}") }
    }
}

/// `1234067` is `x001/x234/067`: three digits a part, so that no directory grows large.
fn path_of_number(number: u64) -> String {
    let mut name = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        name = format!("x{:03}/{name}", rest % 1000);
        rest /= 1000;
    }
    name
}

/// The unfinished tiles of a tree of this size, each level's once, from the leaves up.
pub(crate) fn partial_tiles(size: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let (mut level, mut hashes) = (0, size);
    while hashes > 0 {
        let width = usize::try_from(hashes % TILE_WIDTH as u64).unwrap_or(0);
        if width > 0 {
            tiles.push(Tile { level, number: hashes / TILE_WIDTH as u64, width });
        }
        hashes /= TILE_WIDTH as u64;
        level = level.saturating_add(1);
    }
    tiles
}

/// The right edge of a growing tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    size: u64,
    /// For each level, from the leaves up, the hashes of its unfinished tile.
    levels: Vec<Vec<Hash>>,
}

/// A tile and its hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) tile: Tile,
    pub(crate) hashes: Vec<Hash>,
}

impl Edge {
    /// The edge of a tree of this size, whose unfinished tiles `read` gives. `None` where one of them is not so wide.
    pub(crate) fn restore<E>(
        size: u64,
        mut read: impl FnMut(Tile) -> Result<Vec<Hash>, E>,
    ) -> Result<Option<Edge>, E> {
        let mut levels = Vec::new();
        for tile in partial_tiles(size) {
            levels.resize(usize::from(tile.level), Vec::new());
            let hashes = read(tile)?;
            if hashes.len() != tile.width {
                return Ok(None);
            }
            levels.push(hashes);
        }
        Ok(Some(Edge { size, levels }))
    }

    pub(crate) const fn empty() -> Edge {
        Edge { size: 0, levels: Vec::new() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds an entry, and tells the tiles that are full with it.
    pub(crate) fn push(&mut self, leaf: LeafHash, finished: &mut Vec<Finished>) {
        self.size = self.size.saturating_add(1);
        let mut carried = leaf;
        // How many hashes the level has, the carried one included.
        let mut hashes = self.size;
        for level in 0..=u8::MAX {
            let Some(unfinished) = self.levels.get_mut(usize::from(level)) else {
                let mut first = Vec::with_capacity(TILE_WIDTH);
                first.push(carried);
                self.levels.push(first);
                return;
            };
            unfinished.push(carried);
            if unfinished.len() < TILE_WIDTH {
                return;
            }
            carried = root_of(unfinished);
            let full = std::mem::replace(unfinished, Vec::with_capacity(TILE_WIDTH));
            hashes /= TILE_WIDTH as u64;
            let tile = Tile { level, number: hashes.saturating_sub(1), width: TILE_WIDTH };
            finished.push(Finished { tile, hashes: full });
        }
    }

    /// The root of the tree over all entries so far.
    pub(crate) fn root(&self) -> Hash {
        // The peaks of the perfect trees that make up the whole, the smallest and last one first.
        let mut root: Option<Hash> = None;
        for level in &self.levels {
            let mut rest = level.as_slice();
            let mut peaks = Vec::new();
            while !rest.is_empty() {
                let width = 1_usize << rest.len().checked_ilog2().unwrap_or(0);
                let (perfect, after) = rest.split_at(width);
                peaks.push(root_of(perfect));
                rest = after;
            }
            for peak in peaks.iter().rev() {
                root = Some(root.map_or(*peak, |right| node_hash(peak, &right)));
            }
        }
        root.unwrap_or_else(empty_root)
    }

    /// The unfinished tiles, from the leaves up.
    pub(crate) fn unfinished(&self) -> Vec<Finished> {
        let hashes_of = |tile: &Tile| self.levels.get(usize::from(tile.level)).cloned().unwrap_or_default();
        let tiles = partial_tiles(self.size).into_iter();
        tiles.map(|tile| Finished { hashes: hashes_of(&tile), tile }).collect()
    }
}

#[cfg(test)]
mod tests;
