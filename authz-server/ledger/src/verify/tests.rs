//! Every change before the checkpoint is found and named, every rewriting too, and what is sound is called sound.

use futures_util::future::join_all;

use super::*;
use crate::entry::tests::{admin, decision};
use crate::file::sim::{Crash, Sim};
use crate::ledger::tests::{DIR, open, settings};
use crate::ledger::{Ledger, Settings};
use crate::queue::Bounds;
use crate::scan::{Scanner, Step};
use crate::segment::{self, HEADER_BYTES};

mod edits;

const ENTRIES: usize = 200;

/// A frame, where it stands, and what is stored in it.
#[derive(Clone, Debug)]
struct Placed {
    path: PathBuf,
    offset: usize,
    end: usize,
    kind: crate::Kind,
    stored: Vec<u8>,
}

/// Every tenth entry is a decision; the others are short, so that every byte can have its turn.
fn entry(number: usize) -> Entry {
    if number.is_multiple_of(10) { decision(&id(number)) } else { admin(&format!("event {number:06}")) }
}

fn id(number: usize) -> String {
    format!("01a1fe3c-22e2-72bf-b97b-{number:012x}")
}

async fn ledger_of(sim: &Sim, entries: impl Iterator<Item = Entry>, settings: &Settings) {
    let (ledger, _) = Ledger::open_on(sim, Path::new(DIR), None, Bounds::default(), settings).unwrap();
    let appends: Vec<_> = entries.map(|entry| ledger.append(&entry)).collect();
    for append in join_all(appends).await {
        append.unwrap();
    }
    ledger.close().await.unwrap();
}

/// A closed ledger of several segments, each entry synced alone.
async fn sound() -> Sim {
    let sim = Sim::default();
    let small = Settings { segment_bytes_min: 8 * 1024, segment_bytes_max: 16 * 1024, ..settings() };
    let (ledger, _) = Ledger::open_on(&sim, Path::new(DIR), None, Bounds::default(), &small).unwrap();
    for number in 0..ENTRIES {
        ledger.append(&entry(number)).await.unwrap();
    }
    ledger.close().await.unwrap();
    sim
}

fn placed(sim: &Sim) -> Vec<Placed> {
    let mut all = Vec::new();
    let segments = Chain::read(sim, Path::new(DIR)).unwrap().segments;
    for (number, segment) in segments.iter().enumerate() {
        let sealed_at =
            segments.get(number + 1).and_then(|next| next.header.previous).map(|previous| previous.end);
        let file = sim.open(&segment.path).unwrap();
        let mut scanner = Scanner::new(file, &segment.path, segment.header.first_index, sealed_at);
        while let Step::Frame(located) = scanner.step().unwrap() {
            let (kind, stored) = (located.frame.kind, located.frame.stored.to_vec());
            let offset = usize::try_from(located.offset).unwrap();
            let end = offset + crate::frame::HEAD_BYTES + stored.len();
            all.push(Placed { path: segment.path.clone(), offset, end, kind, stored });
        }
    }
    all
}

fn check(sim: &Sim) -> Result<Verified, VerifyError> {
    verify_on(sim, Path::new(DIR), &Against::default())
}

/// The entry that an error names, and the file.
fn named(error: &VerifyError) -> Option<(u64, PathBuf)> {
    match error {
        VerifyError::Damaged { corruption, .. } => Some((corruption.index, corruption.path.clone())),
        VerifyError::Changed { path, index, .. } => Some((*index, path.clone())),
        _ => None,
    }
}

#[tokio::test]
async fn a_sound_ledger_is_called_sound() {
    let verified = check(&sound().await).unwrap();
    assert_eq!((verified.entries, verified.unsigned(), verified.tiles_damaged), (200, 0, 0));
    assert!(verified.checkpoints >= 3, "{verified:?}");
    assert_eq!(verified.checkpoint.unwrap().root, verified.root);
}

#[tokio::test]
async fn every_changed_byte_is_found_and_its_entry_named() {
    let sim = sound().await;
    let placed = placed(&sim);
    assert_eq!(placed.len(), ENTRIES);
    let mut flips = 0;
    for (index, place) in placed.iter().enumerate() {
        let contents = sim.contents(&place.path);
        for (at, before) in contents.into_iter().enumerate().take(place.end).skip(place.offset) {
            sim.overwrite(&place.path, at, &[before ^ (1 << (at % 8))]);
            let error = check(&sim).unwrap_err();
            sim.overwrite(&place.path, at, &[before]);
            assert_eq!(named(&error), Some((index as u64, place.path.clone())), "byte {at}: {error}");
            flips += 1;
        }
    }
    let headers: Vec<PathBuf> =
        Chain::read(&sim, Path::new(DIR)).unwrap().segments.into_iter().map(|it| it.path).collect();
    for path in &headers {
        for (at, before) in sim.contents(path).into_iter().enumerate().take(HEADER_BYTES) {
            sim.overwrite(path, at, &[before ^ 0x10]);
            let message = check(&sim).unwrap_err().to_string();
            sim.overwrite(path, at, &[before]);
            assert!(message.contains(&path.display().to_string()), "byte {at}: {message}");
            flips += 1;
        }
    }
    check(&sim).unwrap();
    println!("{flips} bytes changed one by one, all found and named");
    assert!(flips > ENTRIES * 80, "{flips}");
}

/// The same segment with other entries, whose checksums fit.
fn rewrite(sim: &Sim, path: &Path, entries: &[Placed]) {
    let mut contents = sim.contents(path)[..HEADER_BYTES].to_vec();
    for placed in entries {
        let mut alone = Vec::new();
        crate::frame::Body::new(placed.kind, &placed.stored).unwrap().put(&mut alone);
        contents.extend_from_slice(&alone);
    }
    contents.resize(contents.len().max(sim.contents(path).len()), 0);
    sim.put(path, &contents);
}

#[tokio::test]
async fn entries_changed_swapped_deleted_or_added_with_fitting_checksums_are_found_and_named() {
    let sim = sound().await;
    let placed = placed(&sim);
    let mut found = 0;
    for index in 0..ENTRIES {
        let path = placed[index].path.clone();
        let of_segment: Vec<Placed> = placed.iter().filter(|place| place.path == path).cloned().collect();
        let first = placed.iter().position(|place| place.path == path).unwrap();
        let at = index - first;
        let mut changed = of_segment.clone();
        let digit = changed[at].stored.iter().rposition(u8::is_ascii_digit).unwrap();
        changed[at].stored[digit] ^= 1;
        let mut deleted = of_segment.clone();
        deleted.remove(at);
        let mut doubled = of_segment.clone();
        doubled.insert(at, of_segment[at].clone());
        let mut edits = vec![(changed, index), (deleted, index)];
        // What stands behind a segment's end is not part of the ledger, and behind the last one's not signed yet.
        if at + 1 < of_segment.len() {
            edits.push((doubled, index + 1));
            let mut swapped = of_segment.clone();
            swapped.swap(at, at + 1);
            edits.push((swapped, index));
        }
        edits.push((of_segment[..at].to_vec(), index));
        let original = sim.contents(&path);
        for (edit, expected) in edits {
            rewrite(&sim, &path, &edit);
            let error = check(&sim).unwrap_err();
            sim.put(&path, &original);
            let is_last = expected >= ENTRIES || (edit.len() == at && first + of_segment.len() == ENTRIES);
            match named(&error) {
                Some((index, _)) => assert_eq!(index, expected as u64, "{error}"),
                // At the end of the ledger there is nothing to read where the entry should be.
                None => assert!(is_last || index + 1 == ENTRIES, "{index}: {error}"),
            }
            if let VerifyError::RolledBack { entries, .. } = error {
                assert_eq!(entries, edit.len() as u64 + first as u64);
            }
            found += 1;
        }
    }
    check(&sim).unwrap();
    println!("{found} edits with fitting checksums, all found and named");
    assert!(found > ENTRIES * 4, "{found}");
}

#[tokio::test]
async fn a_ledger_cut_off_at_any_entry_before_the_checkpoint_is_found() {
    let sim = sound().await;
    for (index, place) in placed(&sim).iter().enumerate() {
        let cut = sim.after(Crash::Killed);
        let mut contents = cut.contents(&place.path);
        contents.truncate(place.offset);
        cut.put(&place.path, &contents);
        let next = segment::number_of(place.path.file_name().unwrap().to_str().unwrap()).unwrap() + 1;
        for number in next..20 {
            let path = segment::path(Path::new(DIR), number);
            if cut.names().contains(&path) {
                cut.delete(&path);
            }
        }
        let error = check(&cut).unwrap_err();
        let VerifyError::RolledBack { signed, entries, .. } = &error else { panic!("{error}") };
        assert_eq!((*signed, *entries), (200, index as u64));
        assert!(error.to_string().starts_with(&format!("entry {index} is missing: ")), "{error}");
        assert!(matches!(open(&cut), Err(crate::LedgerError::RolledBack { .. })));
    }
}

#[tokio::test]
async fn segments_that_are_missing_swapped_or_renamed_are_found() {
    let sim = sound().await;
    let path = |number| segment::path(Path::new(DIR), number);
    let message = |change: &dyn Fn(&Sim)| {
        let changed = sim.after(Crash::Killed);
        change(&changed);
        let message = check(&changed).unwrap_err().to_string();
        (message, open(&changed).map(|_| ()).map_err(|error| error.to_string()))
    };
    let (missing, refused) = message(&|sim| sim.delete(&path(1)));
    assert_eq!(refused, Err(missing.clone()));
    assert!(missing.starts_with("the segment `simulated/00000001.seg` is missing"), "{missing}");
    let (swapped, refused) = message(&|sim| {
        let (one, two) = (sim.contents(&path(0)), sim.contents(&path(1)));
        sim.put(&path(0), &two);
        sim.put(&path(1), &one);
    });
    assert_eq!(refused, Err(swapped.clone()));
    assert!(
        swapped.starts_with("the segment `simulated/00000000.seg` says that its number is `1`"),
        "{swapped}"
    );
    let (first, _) = message(&|sim| sim.delete(&path(0)));
    assert!(first.starts_with("entry 0 is missing: the ledger begins with entry "), "{first}");
}

#[tokio::test]
async fn a_segment_of_another_ledger_is_found() {
    let (sim, other) = (sound().await, sound().await);
    let path = segment::path(Path::new(DIR), 1);
    sim.put(&path, &other.contents(&path));
    let message = check(&sim).unwrap_err().to_string();
    assert!(message.starts_with("the segment `simulated/00000001.seg` was not begun after"), "{message}");
}

#[tokio::test]
async fn an_entry_that_was_changed_together_with_its_tile_is_found_between_two_checkpoints() {
    let sim = sound().await;
    let placed = placed(&sim);
    let first_of_last = placed.iter().position(|place| place.path == placed[ENTRIES - 1].path).unwrap();
    for index in [0, 7, first_of_last - 1, ENTRIES - 1] {
        let forged = sim.after(Crash::Killed);
        let mut entry = placed[index].clone();
        let digit = entry.stored.iter().rposition(u8::is_ascii_digit).unwrap();
        entry.stored[digit] ^= 1;
        let mut frame = Vec::new();
        crate::frame::Body::new(entry.kind, &entry.stored).unwrap().put(&mut frame);
        // The batch offset of an entry that was synced alone is 0, as it is in a frame that stands alone.
        forged.overwrite(&entry.path, entry.offset, &frame);
        for name in forged.names().into_iter().filter(|name| name.starts_with(Path::new(DIR).join("tile/0")))
        {
            if forged.contents(&name).len() > index * 32 {
                forged.overwrite(&name, index * 32, leaf_hash(&entry.stored).as_bytes());
            }
        }
        let error = check(&forged).unwrap_err();
        let VerifyError::Forked { from, to, .. } = &error else { panic!("{index}: {error}") };
        assert!((*from..*to).contains(&(index as u64)), "{index}: {error}");
    }
}

#[tokio::test]
async fn tiles_that_are_lost_or_damaged_are_named_and_made_again() {
    let sim = Sim::default();
    let entries = || (0..600).map(|number| admin(&format!("event {number}")));
    ledger_of(&sim, entries(), &settings()).await;
    let first = Path::new(DIR).join("tile/0/000");
    sim.overwrite(&first, 5, &[0xff]);
    sim.delete(&Path::new(DIR).join("tile/0/001"));
    let verified = check(&sim).unwrap();
    assert_eq!(
        (verified.tiles_damaged, verified.tiles),
        (2, vec!["tile/0/000".to_owned(), "tile/0/001".to_owned()])
    );
    // A crash forgets tiles that no sealed checkpoint covers; then the tree begins with what is left.
    for name in sim.names().into_iter().filter(|name| name.starts_with(Path::new(DIR).join("checkpoints"))) {
        sim.delete(&name);
    }
    let (ledger, _) = open(&sim).unwrap();
    ledger.close().await.unwrap();
    assert_eq!(check(&sim).unwrap().tiles_damaged, 0);
}

#[tokio::test]
async fn a_copied_checkpoint_finds_a_rollback_and_a_rewriting() {
    let sim = Sim::default();
    let settings = settings();
    ledger_of(&sim, (0..50).map(entry), &settings).await;
    let old = sim.after(Crash::PowerLost);
    let checkpoint = Path::new(DIR).join(CHECKPOINT_FILE);
    let early = sim.contents(&checkpoint);
    ledger_of(&sim, (50..80).map(entry), &settings).await;
    let late = sim.contents(&checkpoint);
    let key = key::verifier(&sim, Path::new(DIR)).unwrap();
    let with =
        |copy: &[u8]| Against { key: key.clone(), copies: vec![(PathBuf::from("copy"), copy.to_vec())] };

    // An older copy is no contradiction, and alone the older state is sound.
    assert_eq!(verify_on(&sim, Path::new(DIR), &with(&early)).unwrap().entries, 80);
    assert_eq!(check(&old).unwrap().entries, 50);
    let message = verify_on(&old, Path::new(DIR), &with(&late)).unwrap_err().to_string();
    assert_eq!(
        message,
        "entry 50 is missing: the copy of a checkpoint `copy` covers 80 entries, and the ledger ends after 50; they were \
         taken away, or an older state was put in place"
    );
    // The older state goes on in another way, signed by the same key.
    ledger_of(&old, (100..150).map(entry), &settings).await;
    assert_eq!(check(&old).unwrap().entries, 100);
    let message = verify_on(&old, Path::new(DIR), &with(&late)).unwrap_err().to_string();
    assert!(
        message.starts_with("the entries from 50 to 79 are not those that the copy of a checkpoint"),
        "{message}"
    );
    assert_eq!(verify_on(&old, Path::new(DIR), &with(&early)).unwrap().entries, 100);
}

#[tokio::test]
async fn a_ledger_made_anew_with_another_key_is_found_with_the_key_that_was_kept() {
    let (sim, forged) = (sound().await, sound().await);
    let kept = Against { key: key::verifier(&sim, Path::new(DIR)).unwrap(), copies: Vec::new() };
    check(&forged).unwrap();
    verify_on(&sim, Path::new(DIR), &kept).unwrap();
    let message = verify_on(&forged, Path::new(DIR), &kept).unwrap_err().to_string();
    assert!(
        message.starts_with("`simulated/checkpoint` is not believed: it is not signed by the key `"),
        "{message}"
    );
    // Without its own key beside it the ledger is not called sound either.
    forged.delete(&Path::new(DIR).join(crate::VERIFIER_KEY_FILE));
    assert!(matches!(check(&forged), Err(VerifyError::NoKey { .. })));
}

#[tokio::test]
async fn a_changed_or_missing_checkpoint_is_found() {
    let sim = sound().await;
    let path = Path::new(DIR).join(CHECKPOINT_FILE);
    let note = sim.contents(&path);
    for at in 0..note.len() {
        let changed = sim.after(Crash::Killed);
        changed.overwrite(&path, at, &[note[at] ^ 1]);
        let error = check(&changed).unwrap_err();
        assert!(
            matches!(&error, VerifyError::Checkpoint { path: named, .. } if *named == path),
            "byte {at}: {error}"
        );
    }
    sim.delete(&path);
    assert!(matches!(check(&sim), Err(VerifyError::NoCheckpoint { .. })));
}

#[tokio::test]
async fn the_message_names_entry_file_byte_and_decision() {
    let sim = sound().await;
    let placed = placed(&sim);
    let place = &placed[30];
    let at = place.offset + crate::frame::HEAD_BYTES + place.stored.len() - 20;
    let before = sim.contents(&place.path)[at];
    sim.overwrite(&place.path, at, &[before ^ 1]);
    let message = check(&sim).unwrap_err().to_string();
    let expected = format!(
        "entry 30 at byte {} of `{}` (decision id `{}`) cannot be read: the checksum of its content does not match",
        place.offset,
        place.path.display(),
        id(30)
    );
    assert_eq!(message, expected);
}
