//! The tree against another implementation of RFC 6962, and the layout against the examples of tlog-tiles.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;

use super::*;

fn leaf(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes()
}

fn theirs(size: u64) -> Hash {
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for number in 0..size {
        tree.push(leaf(number));
    }
    Hash(tree.root().as_bytes().as_slice().try_into().unwrap())
}

#[test]
fn the_leaf_hash_is_that_of_rfc_6962() {
    // SHA-256 of the single byte 0x00, known from every log that has an empty leaf.
    assert_eq!(
        leaf_hash(b"").to_string(),
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    );
    assert_ne!(leaf_hash(b"a"), leaf_hash(b"b"));
}

#[test]
fn roots_are_those_of_another_implementation() {
    let sizes = [1, 2, 3, 5, 8, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 70_000];
    let mut edge = Edge::default();
    let mut finished = Vec::new();
    assert_eq!(edge.root(), empty_root());
    for size in sizes {
        while edge.size() < size {
            edge.push(leaf_hash(&leaf(edge.size())), &mut finished);
        }
        assert_eq!(edge.root(), theirs(size), "at {size}");
    }
    let full = |level| finished.iter().filter(|tile| tile.tile.level == level).count();
    assert_eq!((full(0), full(1), full(2)), (273, 1, 0));
    let numbers: Vec<u64> =
        finished.iter().filter(|it| it.tile.level == 0).map(|it| it.tile.number).collect();
    assert_eq!(numbers, (0..273).collect::<Vec<u64>>());
    for Finished { tile, hashes } in &finished {
        assert_eq!(hashes.len(), TILE_WIDTH);
        assert!(tile.is_full());
    }
}

#[test]
fn an_edge_is_restored_from_its_unfinished_tiles() {
    let mut edge = Edge::default();
    for number in 0..66_000 {
        edge.push(leaf_hash(&leaf(number)), &mut Vec::new());
        if [0, 255, 256, 65_534, 65_535, 65_536, 65_999].contains(&number) {
            let tiles = edge.unfinished();
            let read = |tile| {
                let found = tiles.iter().find(|it| it.tile == tile).ok_or(tile)?;
                Ok::<_, Tile>(found.hashes.clone())
            };
            let mut restored = Edge::restore(edge.size(), read).unwrap().unwrap();
            assert_eq!((restored.root(), restored.size()), (edge.root(), edge.size()));
            let (mut ours, mut others) = (edge.clone(), edge.clone());
            restored.push(leaf_hash(b"next"), &mut Vec::new());
            ours.push(leaf_hash(b"next"), &mut Vec::new());
            assert_eq!(restored.root(), ours.root());
            others.push(leaf_hash(b"other"), &mut Vec::new());
            assert_ne!(restored.root(), others.root());
        }
    }
    let narrow = Edge::restore(5, |_| Ok::<_, Tile>(vec![empty_root(); 4]));
    assert_eq!(narrow, Ok(None));
}

#[test]
fn tiles_are_named_as_tlog_tiles_names_them() {
    let path = |level, number, width| Tile { level, number, width }.path();
    assert_eq!(path(0, 1_234_067, 256), "tile/0/x001/x234/067");
    assert_eq!(path(2, 0, 1), "tile/2/000.p/1");
    assert_eq!(path(0, 273, 112), "tile/0/273.p/112");
    assert_eq!(path(0, 1000, 256), "tile/0/x001/000");
}

#[test]
fn the_partial_tiles_of_a_tree_are_those_of_the_specification() {
    let widths = |size| -> Vec<(u8, u64, usize)> {
        partial_tiles(size).into_iter().map(|tile| (tile.level, tile.number, tile.width)).collect()
    };
    assert_eq!(widths(70_000), [(0, 273, 112), (1, 1, 17), (2, 0, 1)]);
    assert_eq!(widths(256), [(1, 0, 1)]);
    assert_eq!(widths(0), []);
}
