//! The file of keys under writers that are killed, that come at once, and that left something lying about.

use super::{NOW_S, wanted};
use crate::api_keys::{ChangeRefused, Drawn, KeysFile, KeysStoreError, update};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const FILE: &str = "PALISADE_TEST_KEYS_FILE";
const WRITER: &str = "PALISADE_TEST_KEYS_WRITER";
const KEYS: &str = "PALISADE_TEST_KEYS_COUNT";

fn issue(path: &Path, writer: u8, index: u16) -> Result<String, KeysStoreError<ChangeRefused>> {
    let [high, low] = index.to_be_bytes();
    let id = [writer, high, low, 0, 0, 0];
    let mut secret = [0; 32];
    secret[..6].copy_from_slice(&id);
    update(path, true, |keys| keys.issue(wanted("web"), &Drawn { id, secret }, NOW_S))
}

fn ids(path: &Path) -> Vec<String> {
    let keys = KeysFile::parse(&fs::read(path).unwrap()).unwrap();
    keys.records().iter().map(|record| record.id.to_string()).collect()
}

#[test]
#[ignore = "the process that the other tests start and kill"]
fn writer() {
    let path = std::env::var_os(FILE).unwrap();
    let number = |name: &str| std::env::var(name).unwrap().parse::<u16>().unwrap();
    let writer = u8::try_from(number(WRITER)).unwrap();
    for index in 0..number(KEYS) {
        let key = issue(Path::new(&path), writer, index).unwrap();
        println!("\nissued {}", key.split('_').nth(1).unwrap());
    }
}

fn start(path: &Path, writer: u8, keys: u16) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "api_keys::tests::stopped::writer", "--ignored", "--nocapture"])
        .env(FILE, path)
        .env(WRITER, writer.to_string())
        .env(KEYS, keys.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn issued(line: &str) -> Option<String> {
    line.strip_prefix("issued ").map(str::to_owned)
}

#[test]
fn a_writer_that_is_killed_leaves_a_whole_file_with_every_key_that_it_told() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys.json");
    let mut told: Vec<String> = Vec::new();
    for writer in 0..20_u8 {
        let mut child = start(&path, writer, u16::MAX);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // After another number of keys each time, while the next one is written.
        let enough = told.len() + 1 + usize::from(writer) % 5;
        while told.len() < enough {
            told.extend(issued(&lines.next().unwrap().unwrap()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(lines.filter_map(|line| issued(&line.unwrap())));
        let kept = ids(&path);
        assert!(told.iter().all(|id| kept.contains(id)), "a key that was told is gone");
        // One more may be in the file: the writer was killed before it told.
        assert!(kept.len() <= told.len() + usize::from(writer) + 1);
    }
}

#[test]
fn writers_that_come_at_once_lose_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys.json");
    let writers: Vec<Child> = (0..3).map(|writer| start(&path, writer, 15)).collect();
    let mut told = Vec::new();
    for mut writer in writers {
        let mut text = String::new();
        writer.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(writer.wait().unwrap().success(), "{text}");
        told.extend(text.lines().filter_map(issued));
    }
    let mut kept = ids(&path);
    kept.sort();
    told.sort();
    assert_eq!(told.len(), 45);
    assert_eq!(kept, told);
}

#[test]
fn what_a_killed_writer_left_is_neither_read_nor_in_the_way() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys.json");
    issue(&path, 1, 1).unwrap();
    // As it stands between writing and renaming, and as it stands halfway.
    for unfinished in [r#"{"version": 2, "keys": []}"#, r#"{"version": 2, "ke"#] {
        fs::write(place.path().join(".keys.json.new"), unfinished).unwrap();
        let before = ids(&path);
        issue(&path, 2, u16::try_from(before.len()).unwrap()).unwrap();
        assert_eq!(ids(&path).len(), before.len() + 1);
        assert!(!place.path().join(".keys.json.new").exists());
    }
}

#[test]
fn the_file_is_its_owners_alone_even_if_it_was_not() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys.json");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    issue(&path, 1, 1).unwrap();
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    issue(&path, 1, 2).unwrap();
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_link_stays_a_link() {
    let place = tempfile::tempdir().unwrap();
    let (path, link) = (place.path().join("keys.json"), place.path().join("link.json"));
    issue(&path, 1, 1).unwrap();
    symlink(&path, &link).unwrap();
    issue(&link, 1, 2).unwrap();
    assert!(link.is_symlink());
    assert_eq!(ids(&path).len(), 2);
}

#[test]
fn a_file_that_is_missing_or_not_understood_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys.json");
    let error = update(&path, false, |keys| keys.revoke("010101010101", NOW_S)).unwrap_err();
    assert!(matches!(error, KeysStoreError::Missing { .. }), "{error}");
    assert!(!path.exists());
    for text in [r#"{"version": 3, "keys": []}"#, "", "{"] {
        fs::write(&path, text).unwrap();
        let error = issue(&path, 1, 1).unwrap_err();
        assert!(matches!(error, KeysStoreError::Unreadable { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    let error = issue(&place.path().join("missing/keys.json"), 1, 1).unwrap_err();
    assert!(matches!(error, KeysStoreError::Io { .. }), "{error}");
}
