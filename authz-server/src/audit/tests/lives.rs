//! Whatever happens to the index, the answers stay those of the ledger.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::sample::{self, NOON_MS};
use crate::audit::{AuditError, Filter, Found, INDEX_DIRECTORY, Indexer, Note, Pattern, Trail, Verdict};
use crate::ledger::{Entries, Entry, Ledger};
use crate::state::LEDGER_DIRECTORY;

const CALLS: u64 = 1_000;

/// Reads and denied deletes of two callers, each with its outcome a little later.
fn entries() -> Vec<Entry> {
    let mut entries = vec![sample::admin(NOON_MS)];
    for number in 0..CALLS {
        let at_ms = NOON_MS + number * 10;
        let id = sample::id(at_ms, number);
        let mut decision = match number % 10 {
            0 => sample::denied(&id, at_ms),
            _ => sample::decision(&id, at_ms),
        };
        if number.is_multiple_of(3) {
            decision.principal = "billing".to_owned();
        }
        entries.push(Entry::Decision(decision));
        if let Some(ended) = number.checked_sub(5) {
            let at_ms = NOON_MS + ended * 10;
            let id = sample::id(at_ms, ended);
            let status = if ended.is_multiple_of(10) { 403 } else { 200 };
            entries.push(Entry::Outcome(sample::outcome(Some(&id), at_ms + 3, status)));
        }
    }
    entries
}

fn state() -> (tempfile::TempDir, Vec<Entry>) {
    let (state, entries) = (tempfile::tempdir().unwrap(), entries());
    sample::record(state.path(), &entries);
    (state, entries)
}

/// Something that happens to the file of an index.
type Spoil = Box<dyn Fn(&Path)>;

fn index_file(state: &Path) -> PathBuf {
    state.join(INDEX_DIRECTORY).join("calls.sqlite")
}

/// What a few questions are answered, and what was said on the way.
fn answers(state: &Path) -> (Vec<Vec<String>>, Vec<String>) {
    let mut notes = Vec::new();
    let mut note = |said: Note| notes.push(format!("{said:?}"));
    let mut trail = Trail::open(state, false, &mut note).unwrap();
    let who = |text: &str| Some(Pattern::part(text));
    let questions = [
        Filter::default(),
        Filter { who: who("billing"), ..Filter::default() },
        Filter { decision: Some(Verdict::Deny), who: who("web"), ..Filter::default() },
        Filter { since_ms: Some(NOON_MS + 5_000), until_ms: Some(NOON_MS + 6_000), ..Filter::default() },
        Filter { status: Some("4xx".parse().unwrap()), ..Filter::default() },
        Filter { status: Some("none".parse().unwrap()), ..Filter::default() },
    ];
    let mut answers = Vec::new();
    for filter in questions {
        let mut answer = Vec::new();
        let listed = trail.list(&filter, None, &mut note, &mut |calls| {
            answer.extend(calls.iter().map(|call| call.object().to_string()));
            Ok(())
        });
        listed.unwrap();
        answers.push(answer);
    }
    for number in [0, 500, CALLS - 1] {
        let id = sample::id(NOON_MS + number * 10, number).parse().unwrap();
        answers.push(match trail.find(&id, &mut note).unwrap() {
            Found::One(why) => vec![why.call.object().to_string()],
            Found::Many(_) | Found::Nothing => Vec::new(),
        });
    }
    (answers, notes)
}

#[test]
fn an_index_that_is_gone_or_of_another_kind_is_built_anew() {
    let (state, _) = state();
    let (expected, notes) = answers(state.path());
    assert!(expected.iter().all(|answer| !answer.is_empty()) && notes.is_empty(), "{notes:?}");
    let index = state.path().join(INDEX_DIRECTORY);
    let sql = |text: &str| {
        let text = text.to_owned();
        move |path: &Path| Connection::open(path).unwrap().execute_batch(&text).unwrap()
    };
    let write = |text: &'static str| move |path: &Path| fs::write(path, text).unwrap();
    let ways: Vec<(&str, Spoil)> = vec![
        ("the file is gone", Box::new(|path| fs::remove_file(path).unwrap())),
        ("the directory is gone", Box::new(|path| fs::remove_dir_all(path.parent().unwrap()).unwrap())),
        ("an empty file", Box::new(write(""))),
        ("a text", Box::new(write("I am no database, and longer than a header of one would have to be"))),
        ("another version", Box::new(sql("PRAGMA user_version = 99"))),
        ("another application", Box::new(sql("PRAGMA application_id = 7"))),
        ("no state", Box::new(sql("DELETE FROM state"))),
        ("a table is gone", Box::new(sql("DROP TABLE outcome"))),
        ("written before a loss of power", Box::new(sql("UPDATE state SET boot = 'another'"))),
    ];
    for (name, spoil) in ways {
        spoil(&index_file(state.path()));
        assert!(answers(state.path()).0 == expected, "{name}");
        // It is an index again, and nothing is left to mend.
        let (again, notes) = answers(state.path());
        assert!(again == expected && notes.is_empty(), "{name}: {notes:?}");
    }
    assert!(index.is_dir());
}

#[test]
fn an_index_that_was_closed_survives_a_loss_of_power() {
    let (state, _) = state();
    answers(state.path());
    let (ledger, _) = Ledger::open(&state.path().join(LEDGER_DIRECTORY)).unwrap();
    let indexer = Indexer::start(state.path(), &ledger, |_| {});
    until(|| indexer.done() == ledger.entries());
    drop(indexer);
    let boot = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        connection.query_row("SELECT boot FROM state", [], |row| row.get::<_, Option<String>>(0)).unwrap()
    };
    assert_eq!(boot(&index_file(state.path())), None, "the server closes it when it stops");
}

#[test]
fn an_index_that_was_cut_or_wiped_never_gives_a_wrong_answer() {
    let (state, _) = state();
    let (expected, _) = answers(state.path());
    let path = index_file(state.path());
    let sound = fs::read(&path).unwrap();
    let pages = sound.len() / 4096;
    assert!(pages > 15, "there is something to spoil");
    let restore = || {
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, &sound).unwrap();
    };
    for page in 0..pages {
        let check = |name: &str, spoil: &dyn Fn(&fs::File)| {
            restore();
            spoil(&OpenOptions::new().write(true).open(&path).unwrap());
            let (found, notes) = answers(state.path());
            let lengths = |answers: &[Vec<String>]| answers.iter().map(Vec::len).collect::<Vec<_>>();
            assert!(
                found == expected,
                "page {page} of {pages} {name}: {:?} instead of {:?}; {notes:?}",
                lengths(&found),
                lengths(&expected)
            );
        };
        let at = (page * 4096) as u64;
        check("cut off", &|file| file.set_len(at).unwrap());
        check("cut in two", &|file| file.set_len(at + 1000).unwrap());
        check("zeros", &|file| file.write_all_at(&[0; 4096], at).unwrap());
        check("ones", &|file| file.write_all_at(&[0xff; 4096], at).unwrap());
    }
}

#[test]
fn a_page_in_the_place_of_another_is_found_when_the_server_starts() {
    let (state, _) = state();
    let (expected, _) = answers(state.path());
    let path = index_file(state.path());
    let sound = fs::read(&path).unwrap();
    let (ledger, _) = Ledger::open(&state.path().join(LEDGER_DIRECTORY)).unwrap();
    for page in 1..sound.len() / 4096 {
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, &sound).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let (at, other) = (page * 4096, (page - 1) * 4096);
        file.write_all_at(&sound[other..other + 4096], at as u64).unwrap();
        let indexer = Indexer::start(state.path(), &ledger, |_| {});
        until(|| indexer.done() == ledger.entries());
        drop(indexer);
        assert!(answers(state.path()).0 == expected, "page {page}");
    }
}

/// Polls a condition that must come true.
fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain");
        thread::yield_now();
    }
}

#[test]
fn a_row_that_contradicts_the_ledger_is_found_out_by_the_entry() {
    let (state, _) = state();
    let (expected, _) = answers(state.path());
    for (lie, is_rebuilt) in [
        "UPDATE call SET shape = (SELECT max(id) FROM shape)",
        "UPDATE call SET at_ms = at_ms + 1000000",
        "UPDATE outcome SET status = 404",
        "UPDATE outcome SET position = position + 2",
        "UPDATE call_id SET call = (SELECT max(position) FROM call)",
        "UPDATE shape SET policies = '[' WHERE id = 1",
    ]
    .map(|lie| (lie, true))
    .into_iter()
    // Where a place is wrong, the entry is looked for from the beginning of its segment.
    .chain([("UPDATE block SET byte_offset = byte_offset + 1 WHERE first > 0", false)])
    {
        Connection::open(index_file(state.path())).unwrap().execute_batch(lie).unwrap();
        let (found, notes) = answers(state.path());
        assert!(found == expected, "{lie}: {notes:?}");
        assert_eq!(notes.iter().any(|note| note.starts_with("Rebuilding")), is_rebuilt, "{lie}: {notes:?}");
    }
}

#[test]
fn an_index_of_another_ledger_is_not_believed() {
    let ((state, entries), other) = (state(), tempfile::tempdir().unwrap());
    let (expected, _) = answers(state.path());
    let elsewhere: Vec<Entry> = (0..CALLS * 2)
        .map(|number| Entry::Decision(sample::denied(&sample::id(NOON_MS, number), NOON_MS)))
        .collect();
    sample::record(other.path(), &elsewhere);
    Trail::open(other.path(), false, &mut |_| {}).unwrap();
    let bring = || fs::copy(index_file(other.path()), index_file(state.path())).unwrap();
    bring();
    assert!(answers(state.path()).0 == expected, "another ledger, and a longer one");

    // The ledger before its last entries were lost, and one that went on in another way from there.
    let (shorter, parted) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let half = entries.len() / 2;
    sample::record(shorter.path(), &entries[..half]);
    sample::record(parted.path(), &[&entries[..half], &elsewhere[..half]].concat());
    for (name, truth) in [("shorter", &shorter), ("parted", &parted)] {
        let mut alone = Trail::open(truth.path(), true, &mut |_| {}).unwrap();
        fs::create_dir(truth.path().join(INDEX_DIRECTORY)).unwrap();
        fs::copy(index_file(state.path()), index_file(truth.path())).unwrap();
        let mut lent = Trail::open(truth.path(), false, &mut |_| {}).unwrap();
        assert!(everything(&mut lent) == everything(&mut alone), "{name}");
    }
}

fn everything(trail: &mut Trail) -> Vec<String> {
    let mut all = Vec::new();
    let listed = trail.list(&Filter::default(), None, &mut |_| {}, &mut |calls| {
        all.extend(calls.iter().map(|call| call.object().to_string()));
        Ok(())
    });
    listed.unwrap();
    all
}

#[test]
fn where_no_index_can_be_kept_the_ledger_answers_alone() {
    let (state, _) = state();
    fs::write(state.path().join(INDEX_DIRECTORY), "in the way").unwrap();
    let (found, notes) = answers(state.path());
    assert!(notes.iter().all(|note| note.starts_with("WithoutIndex")) && notes.len() == 1, "{notes:?}");
    fs::remove_file(state.path().join(INDEX_DIRECTORY)).unwrap();
    assert!(answers(state.path()).0 == found);
}

#[test]
fn many_may_write_at_once_and_one_may_throw_all_of_it_away() {
    let state = tempfile::tempdir().unwrap();
    let entries = entries();
    sample::record(state.path(), &entries[..1]);
    let state_path = state.path();
    thread::scope(|scope| {
        for number in 0..4_u32 {
            scope.spawn(move || {
                for _ in 0..20 {
                    let mut trail = Trail::open(state_path, false, &mut |_| {}).unwrap();
                    if number == 0 {
                        let _gone = fs::remove_file(index_file(state_path));
                    }
                    let mut last = None;
                    let listed = trail.list(&Filter::default(), None, &mut |_| {}, &mut |calls| {
                        for call in calls {
                            assert!(last < Some(call.position()), "the order is that of the ledger");
                            last = Some(call.position());
                        }
                        Ok(())
                    });
                    listed.unwrap();
                }
            });
        }
        scope.spawn(|| entries[1..].chunks(100).for_each(|entries| sample::record(state_path, entries)));
    });
    let mut alone = Trail::open(state.path(), true, &mut |_| {}).unwrap();
    let mut kept = Trail::open(state.path(), false, &mut |_| {}).unwrap();
    assert!(everything(&mut kept) == everything(&mut alone));
}

#[test]
fn the_server_keeps_it_near_the_end_and_never_ahead_of_what_is_durable() {
    let state = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (ledger, _) = Ledger::open(&state.path().join(LEDGER_DIRECTORY)).unwrap();
    let indexer = Indexer::start(state.path(), &ledger, |_| {});
    let mut indexed = 0;
    for entry in entries().iter().take(200) {
        runtime.block_on(ledger.append(entry)).unwrap();
        if let Ok(connection) = Connection::open(index_file(state.path())) {
            let done = connection.query_row("SELECT done FROM state", [], |row| row.get::<_, i64>(0));
            indexed = done.unwrap_or(indexed);
            assert!(indexed <= ledger.entries().cast_signed());
        }
    }
    drop(indexer);
    runtime.block_on(ledger.close()).unwrap();
}

#[test]
fn a_ledger_that_cannot_be_read_to_its_end_is_said_to_be_so() {
    let (state, entries) = state();
    let ledger = state.path().join(LEDGER_DIRECTORY);
    let spoilt = Entries::open(&ledger).unwrap().nth(entries.len() / 2).unwrap().unwrap();
    let file = OpenOptions::new().write(true).open(ledger.join("00000000.seg")).unwrap();
    file.write_all_at(b"spoiled", spoilt.offset + 100).unwrap();
    let mut trail = Trail::open(state.path(), false, &mut |_| {}).unwrap();
    let known = trail.entries().unwrap();
    assert_eq!(known, spoilt.index);
    let told = trail.is_whole().unwrap_err();
    assert!(told.contains(&format!("nothing is known of entry {known} and what follows")), "{told}");
    assert!(!everything(&mut trail).is_empty(), "what is there is shown");
}

#[test]
fn without_a_ledger_there_is_no_answer() {
    let state = tempfile::tempdir().unwrap();
    let error = Trail::open(state.path(), false, &mut |_| {}).unwrap_err();
    assert!(matches!(&error, AuditError::Ledger(_)) && error.to_string().contains("there is no ledger"));
}
