//! The hostile corpora, in both targets, with both bundles.

use tests::corpus;
use tests::rig::{BundleUnderTest, Rig, Target};

fn run(target: Target, bundle: BundleUnderTest) {
    let cases = corpus::load_all();
    corpus::run(&cases, &Rig::start(target, bundle));
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
