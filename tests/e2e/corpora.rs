//! The hostile corpora, in both targets, with both bundles.
//!
//! They ask what a query and a document may be whatever a contract says of them. Therefore undeclared parameters and what
//! schemas say of paths and bodies are in shadow here, for the operations that the corpora use: a query or a document that is sound
//! gets through whatever its names are. What a contract says is asked in `contract`.

use crate::handoff::copy_dir;
use tests::binaries;
use tests::corpus;
use tests::corpus::profile::Profile;
use tests::rig::{BundleUnderTest, Options, Rig, Target};

fn run(target: Target, bundle: BundleUnderTest) {
    let cases = corpus::load_all();
    let dir = tempfile::tempdir().expect("make a directory");
    let (settings, operations) = match bundle {
        BundleUnderTest::Demo => {
            ("services/orders/service.yaml", &["listOrders", "createOrder", "getOrder", "deleteOrder"][..])
        }
        BundleUnderTest::Second => {
            ("services/fleet/service.yaml", &["listVehicles", "registerVehicle", "replaceVehicle"][..])
        }
    };
    copy_dir(&binaries::workspace_dir().join(Profile::load(bundle).bundle), dir.path());
    let settings = dir.path().join(settings);
    let text = std::fs::read_to_string(&settings).expect("read the settings");
    let text = operations.iter().fold(text, |text, operation| watched(&text, operation));
    std::fs::write(&settings, text).expect("write the settings");
    corpus::run(&cases, &Rig::start_with(target, bundle, Options::default().bundle_dir(dir.path())));
}

/// Settings in which these rules of an operation are in shadow, beside those that are.
fn watched(settings: &str, operation: &str) -> String {
    let key = format!("\n  {operation}:\n");
    let Some((before, after)) = settings.split_once(&key) else {
        return watched(&format!("{}{key}", settings.trim_end()), operation);
    };
    let is_next = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let own: usize = after.split_inclusive('\n').take_while(|line| !is_next(line)).map(str::len).sum();
    let (own, after) = after.split_at(own);
    let rules =
        ["path", "query_not_declared", "body"].map(|rule| format!("      {rule}: 2999-12-31\n")).concat();
    let shadow = "    shadow:\n";
    match own.split_once(shadow) {
        Some((first, rest)) => format!("{before}{key}{first}{shadow}{rules}{rest}{after}"),
        None => format!("{before}{key}{shadow}{rules}{own}{after}"),
    }
}

#[test]
fn demo_bundle_on_envoy() {
    run(Target::Envoy, BundleUnderTest::Demo);
}

#[test]
fn demo_bundle_on_istio() {
    run(Target::Istio, BundleUnderTest::Demo);
}

#[test]
fn second_bundle_on_envoy() {
    run(Target::Envoy, BundleUnderTest::Second);
}

#[test]
fn second_bundle_on_istio() {
    run(Target::Istio, BundleUnderTest::Second);
}
