//! What a large contract costs each VM: its memory, which is the same on every machine, and its time in the engine that a
//! proxy has, too.

use std::process::Command;

use tests::binaries;
use tests::module::{Host, Vm};

use super::scene::{ROOT, SECRET, SECRET_VARIABLE, compiled, contract_of, environment};
use crate::scale;

const OPERATIONS: usize = 1_000;
const MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a machine that is busy with all other tests may take; the figure itself is printed.
const LOAD_MS_MAX: f64 = 3_000.0;

/// That of the bundle `PALISADE_FOOTPRINT_BUNDLE`, or a made one.
fn large_contract() -> Vec<u8> {
    if let Some(directory) = std::env::var_os("PALISADE_FOOTPRINT_BUNDLE") {
        return contract_of(directory.as_ref());
    }
    let home = tempfile::tempdir().unwrap();
    scale::write_bundle(home.path(), OPERATIONS / 20, 10);
    contract_of(home.path())
}

#[test]
fn a_contract_of_a_thousand_operations_is_within_its_memory() {
    let contract = large_contract();
    let mut vm = Vm::start(compiled(), Host::new(environment(), 1)).unwrap();
    vm.create_root(ROOT).unwrap();
    let before = vm.memory_bytes();
    let size = contract.len();
    assert!(vm.configure(ROOT, contract.clone()).unwrap(), "{:?}", vm.host().logs);
    let after = vm.memory_bytes();
    // An update stands beside the old one until the last request of that has ended.
    vm.create_root(ROOT + 1).unwrap();
    assert!(vm.configure(ROOT + 1, contract).unwrap(), "{:?}", vm.host().logs);
    let twice = vm.memory_bytes();
    println!(
        "{OPERATIONS} operations, {size} bytes: {before} bytes of memory without, {after} with, {twice} with it twice"
    );
    assert!(after <= MEMORY_BYTES_MAX, "{after} bytes are over {MEMORY_BYTES_MAX}");
}

#[test]
fn a_contract_of_a_thousand_operations_loads_soon() {
    let home = tempfile::tempdir().unwrap();
    let contract = home.path().join("contract.bin");
    std::fs::write(&contract, large_contract()).unwrap();
    let output = Command::new("node")
        .args(["-e", include_str!("load.js")])
        .arg(binaries::filter())
        .arg(&contract)
        .args([SECRET_VARIABLE, SECRET])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{OPERATIONS} operations in Node: {told}");
    let load_ms = told["configure_ms"].as_f64().unwrap();
    assert!(load_ms < LOAD_MS_MAX, "{load_ms} ms are over {LOAD_MS_MAX}");
}
