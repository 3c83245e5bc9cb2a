//! What a large contract costs each VM: its memory, which is the same on every machine, and its time in Node's engine.

use tests::module::{Host, Vm};

use super::scene::{ROOT, compiled, contract_of, environment};
use crate::scale;

const OPERATIONS: usize = 1_000;
const MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;

#[test]
fn a_contract_of_a_thousand_operations_is_within_its_memory() {
    let home = tempfile::tempdir().unwrap();
    scale::write_bundle(home.path(), OPERATIONS / 20, 10);
    let contract = contract_of(home.path());
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
