//! The core's own tests run again as wasm under Node, where a pointer has 32 bits as in the filter: every one of them.
//!
//! Invariant: what is compared are the names, so that a test which only one of the two worlds runs is found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::binaries::{cargo_command, workspace_dir};

const TARGET: &str = "wasm32-unknown-unknown";

const CORE_TESTS: [&str; 4] = ["test", "--package", "palisade-core", "--locked"];

/// Runs a command that must end well; its output, with what it said to both sides when it did not.
fn run(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{shown} cannot be started: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{shown} ended with {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// The compiler is asked where the target's library is, because that holds however Rust was installed.
fn add_target() {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(workspace_dir());
    let installed = Path::new(run(&mut rustc).trim()).is_dir();
    if !installed {
        run(Command::new("rustup").args(["target", "add", TARGET]).current_dir(workspace_dir()));
    }
}

/// The version in the lock file: generated code and runner refuse to work together where theirs differ.
fn wasm_bindgen_version() -> String {
    let id = run(cargo_command().args(["pkgid", "--locked", "wasm-bindgen"]));
    let version = id.trim().rsplit(['#', '@']).next();
    version.expect("a package id ends with its version").to_owned()
}

/// The runner of that version, installed into the workspace's own tools if need be.
fn runner() -> PathBuf {
    let version = wasm_bindgen_version();
    let tools = workspace_dir().join("target/tools");
    let runner = tools.join("bin/wasm-bindgen-test-runner");
    let said = Command::new(&runner).arg("--version").output();
    let is_installed = said.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).split_whitespace().last() == Some(&version)
    });
    if !is_installed {
        // It takes minutes, beside tests that measure time: it gets what they leave of the machine. Not `--locked`: a
        // version that its lock file pins can be gone from the registry.
        let mut install = Command::new("nice");
        install.arg(cargo_command().get_program()).args(["install", "wasm-bindgen-cli", "--quiet"]);
        install.args(["--version", &version, "--root"]).arg(&tools).current_dir(workspace_dir());
        // Without a target directory cargo builds in a temporary one, and removes it.
        run(install.env_remove("CARGO_TARGET_DIR"));
    }
    runner
}

/// The names in lines such as `<before>NAME<after>`.
fn names(output: &str, before: &str, after: &str) -> BTreeSet<String> {
    let name = |line: &str| Some(line.strip_prefix(before)?.strip_suffix(after)?.to_owned());
    output.lines().filter_map(name).collect()
}

#[test]
fn every_test_of_the_core_passes_as_wasm_too() {
    let native = run(cargo_command().args(CORE_TESTS).args(["--", "--list"]));
    let native = names(&native, "", ": test");
    assert!(native.len() > 50, "these are not all tests of the core: {native:?}");

    add_target();
    let mut wasm = cargo_command();
    wasm.args(CORE_TESTS).args(["--target", TARGET]);
    let output = run(wasm.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner()));
    let passed = names(&output, "test ", " ... ok");
    let skipped: Vec<&String> = native.difference(&passed).collect();
    assert!(skipped.is_empty(), "these did not run as wasm: {skipped:?}\n{output}");
}
