//! Both bundles are good bundles, and they have nothing in common that a mistake could hide behind.

use std::collections::BTreeSet;

use palisade::bundle::Bundle;
use tests::binaries::workspace_dir;
use tests::corpus::profile::Profile;
use tests::rig::BundleUnderTest;

fn load(bundle: BundleUnderTest) -> Bundle {
    let dir = workspace_dir().join(Profile::load(bundle).bundle);
    match Bundle::load(&dir) {
        Ok(bundle) => bundle,
        Err(problems) => {
            let shown: Vec<String> = problems.iter().map(|problem| format!("{problem:?}")).collect();
            panic!("{}:\n{}", dir.display(), shown.join("\n"));
        }
    }
}

/// Services, hosts, operations: the canary, which is in every contract, left out.
fn names(bundle: &Bundle) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for service in
        bundle.contract.services().iter().filter(|service| *service.name != *palisade_core::canary::SERVICE)
    {
        names.insert(service.name.to_string());
        names.extend(service.hosts.iter().map(ToString::to_string));
        names.extend(service.operations.iter().map(|operation| operation.name.to_string()));
    }
    names
}

#[test]
fn both_bundles_load_and_share_no_name() {
    let demo = names(&load(BundleUnderTest::Demo));
    let second = names(&load(BundleUnderTest::Second));
    assert!(!demo.is_empty() && !second.is_empty());
    let shared: Vec<&String> = demo.intersection(&second).collect();
    assert!(shared.is_empty(), "both bundles have {shared:?}");
}

#[test]
fn the_profiles_name_the_services_of_their_bundles() {
    for bundle in [BundleUnderTest::Demo, BundleUnderTest::Second] {
        let profile = Profile::load(bundle);
        let loaded = load(bundle);
        let services: BTreeSet<&str> =
            loaded.contract.services().iter().map(|service| &*service.name).collect();
        let named: BTreeSet<&str> = profile.services.keys().map(String::as_str).collect();
        let missing: Vec<&&str> = services.symmetric_difference(&named).collect();
        assert_eq!(missing, [&palisade_core::canary::SERVICE], "{}", profile.bundle);
    }
}
