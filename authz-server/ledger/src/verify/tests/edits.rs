//! Random edits, one at a time, on a ledger of many entries.
//!
//! `PALISADE_EDITS` and `PALISADE_EDITED_ENTRIES` make it more.

use super::*;
use crate::frame::{Body, HEAD_BYTES};

const EDITS: usize = 300;
const ENTRIES: usize = 3_000;
const ROUND: usize = 2_000;

fn number(variable: &str, otherwise: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("`{variable}` is a number")),
        Err(_) => otherwise,
    }
}

/// A small generator: its seed is printed, and repeats the run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// One edit: the bytes that are put in place of others, and the first entry that is wrong with it.
struct Edit {
    path: PathBuf,
    at: usize,
    bytes: Vec<u8>,
    index: usize,
}

fn framed(place: &Placed, stored: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    Body::new(place.kind, stored).unwrap().put(&mut frame);
    frame
}

fn edit(dice: &mut Dice, placed: &[Placed]) -> Edit {
    let index = dice.below(placed.len());
    let place = &placed[index];
    let next = placed
        .get(index + 1)
        .filter(|next| next.path == place.path && next.end - next.offset == place.end - place.offset);
    let whole = |bytes| Edit { path: place.path.clone(), at: place.offset, bytes, index };
    match (dice.below(4), next) {
        // One bit, anywhere in the frame.
        (0, _) => {
            let mut frame = framed(place, &place.stored);
            let at = dice.below(frame.len());
            frame[at] ^= 1 << dice.below(8);
            whole(frame)
        }
        // Another content, whose checksums fit.
        (1, _) => {
            let mut stored = place.stored.clone();
            let at = dice.below(stored.len());
            stored[at] = if stored[at] == b'7' { b'8' } else { b'7' };
            whole(framed(place, &stored))
        }
        // Two neighbours in the other order.
        (2, Some(next)) => whole([framed(next, &next.stored), framed(place, &place.stored)].concat()),
        // The entry after it in its place: the entry itself is gone, and the other is there twice.
        (3, Some(next)) => whole(framed(next, &next.stored)),
        // Nothing at all.
        _ => whole(vec![0; place.end - place.offset]),
    }
}

#[tokio::test]
async fn random_edits_are_each_found_and_their_entry_named() {
    let (edits, entries) = (number("PALISADE_EDITS", EDITS), number("PALISADE_EDITED_ENTRIES", ENTRIES));
    let sim = Sim::default();
    let settings = Settings { segment_bytes_max: 1024 * 1024, ..settings() };
    let mut recorded = 0;
    while recorded < entries {
        let round = recorded..(recorded + ROUND).min(entries);
        recorded = round.end;
        ledger_of(&sim, round.map(|number| admin(&format!("event {number:08}"))), &settings).await;
    }
    let placed = placed(&sim);
    assert_eq!(placed.len(), entries);
    let seed = 0x5eed_0000_0000_0000 | edits as u64;
    let mut dice = Dice(seed);
    for _ in 0..edits {
        let Edit { path, at, mut bytes, index } = edit(&mut dice, &placed);
        // Frames of one batch say where in it they stand; what is forged says so too, or the edit is trivial.
        keep_batch_offsets(&sim, &path, at, &mut bytes);
        let before = sim.overwrite(&path, at, &bytes);
        let checked = check(&sim);
        sim.overwrite(&path, at, &before);
        if before == bytes {
            continue;
        }
        let error = checked.expect_err("an edit was not found");
        let is_end = matches!(&error, VerifyError::RolledBack { entries, .. } if *entries == index as u64);
        let is_named = named(&error).is_some_and(|(named, file)| named == index as u64 && file == path);
        assert!(is_named || is_end, "entry {index}: {error}");
    }
    check(&sim).unwrap();
    println!("{edits} random edits on {entries} entries, all found and named (seed {seed:#x})");
    assert!(edits >= EDITS && entries >= ENTRIES);
}

/// Takes over the batch offset of each frame that is replaced, and mends the head's checksum where it was right.
fn keep_batch_offsets(sim: &Sim, path: &Path, at: usize, bytes: &mut [u8]) {
    let contents = sim.contents(path);
    let mut start = 0;
    while start + HEAD_BYTES <= bytes.len() {
        let head = &mut bytes[start..start + HEAD_BYTES];
        let was_right = crc32c::crc32c(&head[..10]).to_le_bytes() == head[10..14];
        if !was_right {
            return;
        }
        let length = usize::try_from(u32::from_le_bytes(head[..4].try_into().unwrap())).unwrap();
        head[4..8].copy_from_slice(&contents[at + start + 4..at + start + 8]);
        let checksum = crc32c::crc32c(&head[..10]).to_le_bytes();
        head[10..14].copy_from_slice(&checksum);
        start += HEAD_BYTES + length;
    }
}
