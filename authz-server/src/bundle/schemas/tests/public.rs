//! The schemas of public contracts, measured on copies that whoever runs this has.

use crate::bundle::files::{File, Role};
use crate::bundle::openapi::{self, Model};
use crate::bundle::parsed::Document;
use crate::bundle::schemas::{Compiler, Direction, Located, Misdirected, Origin, Refused};
use crate::bundle::yaml;
use palisade_core::schema::CompiledSchemas;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Names the directory, in which each file is one contract.
const DIRECTORY: &str = "PALISADE_CONTRACTS";

#[test]
#[ignore = "it measures contracts that are not checked in: `PALISADE_CONTRACTS` names their directory"]
fn public_contracts_are_compiled_or_refused_with_reasons() {
    let directory = std::env::var_os(DIRECTORY).unwrap_or_else(|| panic!("{DIRECTORY} names no directory"));
    let mut files = Vec::new();
    collect(Path::new(&directory), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no contract in the directory");
    let mut kinds = BTreeMap::<String, usize>::new();
    println!(
        "| contract | operations | schemas | patterns | bytes | of patterns | compile ms | load ms | refused |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for path in &files {
        measure(path, &mut kinds);
    }
    kinds.iter().for_each(|(message, count)| println!("{count}: {message}"));
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

fn measure(path: &Path, kinds: &mut BTreeMap<String, usize>) {
    let text = std::fs::read_to_string(path).unwrap();
    let file = File { path: path.display().to_string(), text, role: Role::OpenApi };
    let Ok(root) = yaml::parse(&file) else { return };
    let (Some(model), _) = openapi::read(&Document { file: &file, root }, None) else { return };
    let started = Instant::now();
    let mut compiler = compiler(&model);
    let compile_ms = started.elapsed().as_millis();
    let refused = std::mem::take(&mut compiler.refused);
    for Refused { message, .. } in &refused {
        *kinds.entry(message.clone()).or_default() += 1;
    }
    let table = compiler.finish().table.unwrap();
    let bytes = table.encode().unwrap();
    let started = Instant::now();
    let schemas = CompiledSchemas::decode(&bytes).unwrap();
    let load_ms = started.elapsed().as_millis();
    println!(
        "| {} | {} | {} | {} | {} | {} | {compile_ms} | {load_ms} | {} |",
        path.display(),
        model.operations.len(),
        schemas.len(),
        table.patterns.len(),
        bytes.len(),
        table.patterns.iter().map(|pattern| pattern.len()).sum::<usize>(),
        refused.len(),
    );
}

/// All that requests bring and that responses carry.
fn compiler(model: &Model) -> Compiler<'_> {
    let mut compiler = Compiler::default();
    let service = compiler.service(model, Misdirected::Judged);
    for operation in &model.operations {
        let place = |what: &str| Located {
            service,
            origin: Origin::Operation(operation.id.clone()),
            way: format!("operation `{}`, {what}", operation.id),
        };
        for parameter in &operation.parameters {
            let place = place(&format!("parameter `{}`", parameter.name));
            compiler.schema(parameter.form.schema(), Direction::Request, &place);
        }
        for media in operation.body.iter().flat_map(|body| &body.media) {
            compiler.schema(media.schema, Direction::Request, &place("body"));
        }
        for media in operation.responses.iter().flat_map(|(_, response)| &response.media) {
            compiler.schema(media.schema, Direction::Response, &place("response"));
        }
    }
    compiler
}
