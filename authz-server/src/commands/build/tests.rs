//! Flags: what belongs to which target, and that all that is wrong is told at once.

use super::{Args, TargetName, run_target};
use crate::build::Target;
use clap::Parser;
use std::fs;
use std::path::Path;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn parse(target: &str, more: &[&str]) -> Result<Args, String> {
    let fixed = ["build", "policies", "--target", target, "--out", "o"];
    let arguments = fixed.iter().chain(more);
    Cli::try_parse_from(arguments).map(|cli| cli.args).map_err(|error| error.to_string())
}

fn wiring(more: &[&str]) -> Result<crate::build::Wiring, String> {
    let required = ["--server", "[::1]:9", "--filter", "f"];
    let args = parse("envoy", &[&required, more].concat())?;
    args.proxy.wiring(Target::Envoy, &args.out)
}

#[test]
fn half_of_tls_is_refused() {
    for more in [
        &["--tls-cert", "c"][..],
        &["--tls-key", "k", "--client-ca", "a"],
        &["--server-name", "authz"],
        &["--server-tls-cert", "c", "--server-tls-key", "k", "--server-ca", "a"],
    ] {
        assert!(wiring(more).is_err(), "{more:?}");
    }
    let whole = wiring(&["--tls-cert", "c", "--tls-key", "k", "--client-ca", "a"]);
    assert!(whole.unwrap().listener_tls.unwrap().key.is_absolute());
}

#[test]
fn a_service_has_one_upstream() {
    let twice = wiring(&["--upstream", "orders=127.0.0.1:1", "--upstream", "orders=h2c://127.0.0.1:2"]);
    assert_eq!(twice.unwrap_err(), "`--upstream` names the service `orders` twice, expected once");
    assert!(wiring(&["--upstream", "orders"]).is_err());
    assert!(wiring(&["--upstream", "orders=nowhere"]).is_err());
}

fn refusal(target: &str, more: &[&str]) -> Vec<String> {
    let args = parse(target, more).unwrap();
    run_target(args).unwrap_err().lines().map(ToOwned::to_owned).collect()
}

#[test]
fn flags_of_another_target_are_refused_and_missing_ones_named() {
    assert_eq!(
        refusal(
            "istio",
            &[
                "--server",
                "[::1]:9",
                "--istio-version",
                "1.9",
                "--filter-image",
                "reg/f:latest",
                "--replicas",
                "two"
            ]
        ),
        [
            "`--server` says nothing to `--target istio`: leave it out",
            "--istio-version: Istio `1.9` is too old: expected 1.26 or newer",
            "--filter-image: `reg/f:latest` is not an image by digest: expected `HOST/NAME@sha256:` and 64 hexadecimal digits",
            "`--server-image` is missing: expected an image by digest, `HOST/NAME@sha256:…`",
            "`--trust-domain` is missing: expected the mesh's own, such as `cluster.local`; there is no default for whom to trust",
            "`--replicas two` is not a number of servers",
        ]
    );
    for target in ["envoy", "sidecar"] {
        assert_eq!(
            refusal(target, &["--namespace", "n", "--bundle-in-image", "--filter", "f"]),
            [
                format!("`--namespace` says nothing to `--target {target}`: leave it out"),
                format!("`--bundle-in-image` says nothing to `--target {target}`: leave it out"),
                "`--server` is missing: where the proxy finds the authorization server".to_owned(),
            ]
        );
    }
    assert_eq!(parse("sidecar", &[]).unwrap().target, TargetName::Sidecar);
}

#[test]
fn a_cluster_is_built_from_the_command_line() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("policies");
    let directory = tempfile::tempdir().unwrap();
    let image = format!("registry.example/palisade@sha256:{}", "0".repeat(64));
    let build = |more: &[&str]| {
        let (demo, out) = (demo.to_str().unwrap(), directory.path().to_str().unwrap());
        let fixed = ["build", demo, "--target", "istio", "--out", out, "--istio-version", "1.29"];
        let images = ["--filter-image", &image, "--server-image", &image, "--trust-domain", "cluster.local"];
        let arguments = fixed.iter().chain(&images).chain(more);
        run_target(Cli::try_parse_from(arguments).unwrap().args)
    };
    let done = build(&[]).unwrap();
    assert!(done.written.iter().all(|path| path.is_file()));
    let filter = fs::read_to_string(directory.path().join("3-filter/shop.orders.yaml")).unwrap();
    assert!(filter.contains("kind: WasmPlugin") && !filter.contains("kind: TrafficExtension"));
    // What is wrong with names is told together, and nothing is written.
    let wrong = build(&["--namespace", "Palisade", "--replicas", "0"]).unwrap_err();
    assert_eq!(wrong.lines().count(), 2, "{wrong}");
    assert_eq!(fs::read_to_string(directory.path().join("3-filter/shop.orders.yaml")).unwrap(), filter);
}
