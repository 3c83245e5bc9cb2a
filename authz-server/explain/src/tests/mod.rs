//! What is told of denials: sixty and more, each with the text that an operator reads.
//!
//! The table is `denials.json`, the world is `bank/`, the texts are `told/`. `PALISADE_BLESS=1` writes the texts anew.
//! `claims` reads the sentences again and asks Cedar whether they are true.

mod bank;
mod claims;
mod many;

use crate::Verdict;
use bank::{Bank, folder, table};
use std::collections::BTreeSet;
use std::fs;

/// Compares what is told of one denial with what somebody has read and found good.
fn check(name: &str, told: &str) {
    let path = folder().join("told").join(format!("{name}.txt"));
    if std::env::var_os("PALISADE_BLESS").is_some() {
        fs::write(path, told).unwrap();
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == told, "{name}: read what changed, then set PALISADE_BLESS=1\n{told}");
}

#[test]
fn every_denial_is_told_as_it_was_read_and_found_good() {
    let bank = Bank::new();
    let table = table();
    let names: BTreeSet<&str> = table.iter().map(|asked| asked.name.as_str()).collect();
    assert!(names.len() >= 60 && names.len() == table.len(), "{}", names.len());
    for asked in &table {
        let explanation = bank.explain(asked);
        assert_ne!(explanation.verdict, Verdict::Allowed, "{}", asked.name);
        check(&asked.name, &explanation.to_string());
    }
    let files = fs::read_dir(folder().join("told")).unwrap().count();
    assert_eq!(files, names.len(), "each text belongs to a denial");
}

#[test]
fn what_is_hidden_is_told_nowhere() {
    let bank = Bank::new();
    let mut hidden = 0;
    for asked in table().iter().filter(|asked| !asked.hidden.is_empty()) {
        let explanation = bank.explain(asked);
        let whole = format!("{explanation}{}", serde_json::to_string(&explanation).unwrap());
        for value in ["5500", "25000", "my password"] {
            assert!(!whole.contains(value), "{}: {whole}", asked.name);
        }
        hidden += 1;
    }
    assert!(hidden >= 3);
}
