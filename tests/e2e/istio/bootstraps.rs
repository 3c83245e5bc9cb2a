//! Every bootstrap that `palisade build` writes is one by Envoy's own judgement.

use std::process::Command;

use tests::binaries;
use tests::corpus::profile::Profile;
use tests::rig::BundleUnderTest;

fn validate(target: &str, bundle: BundleUnderTest) {
    let profile = Profile::load(bundle);
    let out = tempfile::tempdir().unwrap();
    let mut build = Command::new(binaries::palisade());
    build
        .arg("build")
        .arg(binaries::workspace_dir().join(&profile.bundle))
        .args(["--target", target, "--out"]);
    build.arg(out.path()).args(["--server", "127.0.0.1:9191", "--filter"]).arg(binaries::filter());
    for service in profile.services.keys() {
        build.args(["--upstream", &format!("{service}=h2c://127.0.0.1:8081")]);
    }
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let config = out.path().join("envoy.yaml");
    let judged = |config: &std::path::Path| {
        let mut envoy = Command::new(binaries::envoy());
        envoy.args(["--mode", "validate", "--log-level", "error", "--config-path"]).arg(config);
        envoy.env("PALISADE_HANDOFF_SECRET", "01".repeat(32)).output().unwrap()
    };
    let good = judged(&config);
    assert!(good.status.success(), "{target}: {}", String::from_utf8_lossy(&good.stderr));
    // And the judge can say no.
    let text = std::fs::read_to_string(&config).unwrap();
    let broken = text.replacen("failure_mode_allow", "failure_mode_allowed", 1);
    assert_ne!(text, broken);
    std::fs::write(&config, broken).unwrap();
    assert!(!judged(&config).status.success());
}

#[test]
fn bootstraps_of_the_demo_are_valid() {
    for target in ["envoy", "sidecar"] {
        validate(target, BundleUnderTest::Demo);
    }
}

#[test]
fn bootstraps_of_the_second_bundle_are_valid() {
    for target in ["envoy", "sidecar"] {
        validate(target, BundleUnderTest::Second);
    }
}
