//! The filter module: named, or built from the sources around us.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::ProvisionError;
use crate::dev::command;
use crate::dev::progress::Progress;
use crate::dev::workspace;

const TARGET: &str = "wasm32-wasip1";

/// The module of `PALISADE_FILTER`, else the one that the workspace around us builds.
pub fn filter(progress: &mut Progress) -> Result<PathBuf, ProvisionError> {
    if let Some(path) = env::var_os("PALISADE_FILTER") {
        return filter_at(Path::new(&path));
    }
    let workspace = workspace::find().ok_or(ProvisionError::NotInWorkspace)?;
    wasm_target(progress, &workspace)?;
    build(progress, &workspace)
}

/// The module at `path`, if it looks like one.
pub fn filter_at(path: &Path) -> Result<PathBuf, ProvisionError> {
    let unusable = |why: String| ProvisionError::FilterUnusable { path: path.to_path_buf(), why };
    let mut magic = [0; 4];
    let mut file = File::open(path).map_err(|error| unusable(error.to_string()))?;
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"\0asm" => Ok(path.to_path_buf()),
        Ok(()) | Err(_) => Err(unusable("it does not begin like a wasm module".to_owned())),
    }
}

/// Adds the wasm target to the workspace's toolchain if it is missing.
///
/// The compiler is asked, not rustup, because that also holds for a Rust that came another way.
fn wasm_target(progress: &mut Progress, workspace: &Path) -> Result<(), ProvisionError> {
    let mut step = progress.step("find the wasm target");
    let mut rustc = Command::new(program("RUSTC", "rustc"));
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(workspace);
    let lines = command::run(&mut step, rustc).map_err(|error| {
        ProvisionError::from_command(error, |error| match error.is_missing() {
            true => ProvisionError::CargoMissing,
            false => ProvisionError::WasmTarget { tail: error.tail().to_vec(), rustup: true },
        })
    })?;
    if lines.first().is_some_and(|directory| Path::new(directory).is_dir()) {
        step.done("installed");
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).current_dir(workspace);
    command::run(&mut step, rustup).map_err(|error| {
        ProvisionError::from_command(error, |error| ProvisionError::WasmTarget {
            tail: error.tail().to_vec(),
            rustup: !error.is_missing(),
        })
    })?;
    step.done("added");
    Ok(())
}

fn build(progress: &mut Progress, workspace: &Path) -> Result<PathBuf, ProvisionError> {
    let mut step = progress.step("build the filter");
    let mut cargo = Command::new(program("CARGO", "cargo"));
    cargo
        .args(["build", "-p", "palisade-filter", "--target", TARGET, "--profile", "filter"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(workspace);
    let messages = command::run(&mut step, cargo).map_err(|error| {
        ProvisionError::from_command(error, |error| match error.is_missing() {
            true => ProvisionError::CargoMissing,
            false => ProvisionError::FilterBuild { why: error.to_string() },
        })
    })?;
    // Where cargo puts the module depends on the caller's configuration, so cargo is asked.
    let module = messages.iter().rev().find_map(|line| module_of(line)).ok_or_else(|| {
        ProvisionError::FilterBuild { why: "cargo reported success but named no wasm module".to_owned() }
    })?;
    step.done(&format!("`{}`", module.display()));
    Ok(module)
}

/// The wasm module that a line of cargo's messages names, if it names one.
fn module_of(line: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        filenames: Vec<PathBuf>,
    }
    let message: Message = serde_json::from_str(line).ok()?;
    message.filenames.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "wasm"))
}

/// A tool by the variable under which cargo hands it on, so that a nested build uses the same one.
fn program(variable: &str, otherwise: &str) -> OsString {
    env::var_os(variable).unwrap_or_else(|| otherwise.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_named_module_must_be_wasm() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("filter.wasm");
        assert!(filter_at(&path).unwrap_err().to_string().contains("is not a filter module"));
        fs::write(&path, "not wasm").unwrap();
        assert!(filter_at(&path).unwrap_err().to_string().contains("does not begin like a wasm module"));
        fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
        assert_eq!(filter_at(&path).unwrap(), path);
    }

    #[test]
    fn the_module_is_read_from_cargos_messages() {
        let artifact =
            r#"{"reason":"compiler-artifact","filenames":["/t/libx.rlib","/t/palisade_filter.wasm"]}"#;
        assert_eq!(module_of(artifact).as_deref(), Some(Path::new("/t/palisade_filter.wasm")));
        assert_eq!(module_of(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(module_of("   Compiling"), None);
    }
}
