//! Public contracts, measured on copies that whoever runs this has: `just contracts DIRECTORY`.

use crate::bundle::files::{File, Role};
use crate::bundle::openapi;
use crate::bundle::parsed::Document;
use crate::bundle::problem::Problem;
use crate::bundle::yaml;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Names the directory, in which each file is one contract.
const DIRECTORY: &str = "PALISADE_CONTRACTS";

#[test]
#[ignore = "it measures contracts that are not checked in: `just contracts DIRECTORY`"]
fn public_contracts_are_read_or_refused_with_reasons() {
    let directory = std::env::var_os(DIRECTORY).unwrap_or_else(|| panic!("{DIRECTORY} names no directory"));
    let mut files = Vec::new();
    collect(Path::new(&directory), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no contract in the directory");
    println!("| contract | bytes | operations | schemas | parse ms | read ms | facts ms | errors | lints |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for path in &files {
        measure(path);
    }
    println!("peak memory of all: {} MB", peak_memory_kb() / 1024);
    for path in &files {
        explain(path);
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "json") {
            files.push(path);
        }
    }
}

fn file(path: &Path) -> File {
    let text = std::fs::read_to_string(path).unwrap();
    File { path: path.display().to_string(), text, role: Role::OpenApi }
}

fn measure(path: &Path) {
    let file = file(path);
    let started = Instant::now();
    let root = match yaml::parse(&file) {
        Ok(root) => root,
        Err(problem) => return println!("| {problem} |"),
    };
    let parse_ms = started.elapsed().as_millis();
    let document = Document { file: &file, root };
    let started = Instant::now();
    let (model, problems) = openapi::read(&document, None);
    let read_ms = started.elapsed().as_millis();
    let started = Instant::now();
    let facts: usize = model
        .iter()
        .flat_map(|model| model.operations.iter().map(|operation| model.facts(operation).len()))
        .sum();
    let facts_ms = started.elapsed().as_millis();
    let (operations, schemas, lints) =
        model.map_or((0, 0, 0), |model| (model.operations.len(), model.schemas.len(), model.habits.len()));
    println!(
        "| {} | {} | {operations} | {schemas} | {parse_ms} | {read_ms} | {facts_ms} ({facts}) | {} | {lints} |",
        path.display(),
        file.text.len(),
        problems.sorted().len(),
    );
}

/// Each kind of problem once, with how often it comes.
fn explain(path: &Path) {
    let file = file(path);
    let Ok(root) = yaml::parse(&file) else { return };
    let (model, problems) = openapi::read(&Document { file: &file, root }, None);
    println!("\n{}", path.display());
    let habits = model.iter().flat_map(|model| &model.habits);
    for (kind, (count, example)) in kinds(problems.sorted().into_iter().chain(habits)) {
        println!("{count:>6} × {kind}\n         {}", example.replace('\n', "\n         "));
    }
}

fn kinds<'p>(problems: impl Iterator<Item = &'p Problem>) -> BTreeMap<String, (usize, String)> {
    let mut kinds = BTreeMap::new();
    for problem in problems {
        // What stands in backticks is the document's.
        let kind: Vec<_> = problem.message.split('`').step_by(2).collect();
        let found = kinds.entry(kind.join("…")).or_insert_with(|| (0, problem.to_string()));
        found.0 += 1;
    }
    kinds
}

fn peak_memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
