//! The official suite of JSON Schema, measured on a copy that whoever runs this has.

use super::{Outcome, compile};
use palisade_core::json::Numbers;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names the directory of one draft, in which each file is a list of groups.
const DIRECTORY: &str = "PALISADE_SCHEMA_SUITE";

/// Where another answer than the suite's is right: formats are asserted, which JSON Schema leaves open, and labels of hosts
/// are not looked up in the tables of internationalized names.
const OTHERWISE: [(&str, &str); 2] = [
    ("format.json", "is only an annotation by default"),
    ("optional/format/hostname.json", "A-label (punycode)"),
];

#[test]
#[ignore = "it measures by a suite that is not checked in: `PALISADE_SCHEMA_SUITE` names its draft2020-12"]
fn the_official_suite_is_passed_or_refused_by_name() {
    let directory = std::env::var_os(DIRECTORY).unwrap_or_else(|| panic!("{DIRECTORY} names no directory"));
    let mut files = Vec::new();
    collect(Path::new(&directory), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no suite in the directory");
    let (mut wrong, mut refused) = (Vec::new(), BTreeMap::<String, usize>::new());
    println!("| file | right | wrong | refused by name |");
    println!("|---|---|---|---|");
    for path in files {
        let name = path.strip_prefix(&directory).unwrap().display().to_string();
        let groups: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut marks = [0; 3];
        for group in groups.as_array().unwrap() {
            let tests = group["tests"].as_array().unwrap();
            match compile(&group["schema"]) {
                Outcome::Refused(why) => {
                    marks[2] += tests.len();
                    *refused.entry(why.into_iter().next().unwrap_or_default()).or_default() += tests.len();
                }
                Outcome::Compiled(schemas, index) => {
                    for test in tests {
                        let document = test["data"].to_string();
                        let passes = schemas.validate(index, document.as_bytes(), Numbers::Any);
                        let good = passes.is_ok() == (test["valid"] == Value::Bool(true));
                        marks[usize::from(!good)] += 1;
                        if !good {
                            let about = format!("{name}: {}: {}", group["description"], test["description"]);
                            let known = |(file, part): &(&str, &str)| name == *file && about.contains(part);
                            wrong.push((OTHERWISE.iter().any(known), format!("{about}: {passes:?}")));
                        }
                    }
                }
            }
        }
        println!("| {name} | {} | {} | {} |", marks[0], marks[1], marks[2]);
    }
    refused.iter().for_each(|(why, count)| println!("refused {count}: {why}"));
    wrong.iter().for_each(|(_, wrong)| println!("wrong: {wrong}"));
    let unexpected = wrong.iter().filter(|(known, _)| !known);
    assert_eq!(unexpected.count(), 0, "all else is passed or refused by name");
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
}
