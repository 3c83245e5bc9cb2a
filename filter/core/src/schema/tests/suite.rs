//! The official suite of JSON Schema, measured on a copy that whoever runs this has.

use super::plain::{ROOT, table};
use crate::json::Numbers;
use crate::schema::CompiledSchemas;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names the directory of one draft, in which each file is a list of groups.
const DIRECTORY: &str = "PALISADE_SCHEMA_SUITE";

#[test]
#[ignore = "it measures by a suite that is not checked in"]
fn the_official_suite_is_passed_or_refused_by_name() {
    let directory = std::env::var_os(DIRECTORY).unwrap_or_else(|| panic!("{DIRECTORY} names no directory"));
    let mut files = Vec::new();
    collect(Path::new(&directory), &mut files);
    files.sort();
    let (mut good, mut wrong, mut unknown) = (0, Vec::new(), BTreeMap::<String, usize>::new());
    for path in files {
        let groups: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for group in groups.as_array().unwrap() {
            let tests = group["tests"].as_array().unwrap();
            let schemas = match table(&group["schema"]) {
                Ok(table) => CompiledSchemas::assemble(table).unwrap(),
                Err(why) => {
                    *unknown.entry(why.chars().take(40).collect()).or_default() += tests.len();
                    continue;
                }
            };
            for test in tests {
                let passes = schemas.validate(ROOT, test["data"].to_string().as_bytes(), Numbers::Any);
                if passes.is_ok() == (test["valid"] == Value::Bool(true)) {
                    good += 1;
                } else {
                    let file = path.strip_prefix(&directory).unwrap().display().to_string();
                    wrong.push(format!(
                        "{file}: {}: {}: {passes:?}",
                        group["description"], test["description"]
                    ));
                }
            }
        }
    }
    println!("{good} right, {} wrong", wrong.len());
    wrong.iter().for_each(|wrong| println!("{wrong}"));
    unknown.iter().for_each(|(why, count)| println!("not read: {why}: {count}"));
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
