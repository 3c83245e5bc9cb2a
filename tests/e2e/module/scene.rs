//! What the tests of the module share: the compiled filter, the demo's contract, and heads of its operations.

use std::path::Path;
use std::sync::OnceLock;

use palisade::bundle::Bundle;
use tests::binaries;
use tests::module::{Compiled, Host, Pairs, Vm};

pub(super) const SECRET: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
pub(super) const SECRET_VARIABLE: &str = "PALISADE_HANDOFF_SECRET";
pub(super) const ROOT: u32 = 1;

pub(super) fn compiled() -> &'static Compiled {
    static COMPILED: OnceLock<Compiled> = OnceLock::new();
    COMPILED.get_or_init(|| Compiled::read(binaries::filter()))
}

pub(super) fn contract_of(directory: &Path) -> Vec<u8> {
    let bundle = Bundle::load(directory).unwrap_or_else(|problems| panic!("{problems}"));
    bundle.contract.encode().unwrap()
}

/// The contract of the demo bundle.
pub(super) fn contract() -> &'static [u8] {
    static CONTRACT: OnceLock<Vec<u8>> = OnceLock::new();
    CONTRACT.get_or_init(|| contract_of(&binaries::workspace_dir().join("policies")))
}

pub(super) fn environment() -> Vec<(String, Vec<u8>)> {
    vec![
        (SECRET_VARIABLE.to_owned(), SECRET.into()),
        (palisade_core::report::CLUSTER_VARIABLE.to_owned(), b"palisade".to_vec()),
    ]
}

/// A filter with the demo's contract in force, in a host that fails nowhere.
pub(super) fn configured() -> Vm {
    let mut vm = Vm::start(compiled(), Host::new(environment(), 1)).unwrap();
    vm.create_root(ROOT).unwrap();
    assert!(vm.configure(ROOT, contract().to_vec()).unwrap(), "{:?}", vm.host().logs);
    vm
}

pub(super) fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// A head that the demo's contract accepts; `more` goes behind it.
pub(super) fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Pairs {
    let host = if path.starts_with("/payments") { "payments" } else { "orders" };
    let mut all = vec![(":authority", host), (":path", path), (":method", method), (":scheme", "http")];
    if method == "POST" {
        all.push(("content-type", "application/json"));
    }
    all.extend_from_slice(more);
    pairs(&all)
}

pub(super) const ORDER: &str = r#"{"item":"tea","quantity":2}"#;
