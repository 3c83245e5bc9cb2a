//! What does not become objects, and what is not overwritten.

use super::super::problem::KubernetesProblem;
use super::super::{Manifest, Manifests, Settings, render, write};
use super::settings;
use crate::build::BuildError;
use crate::bundle::Bundle;
use palisade_core::contract::BundleDigest;
use std::fs;
use std::path::Path;

const JSON: &str =
    "{post: {operationId: say, requestBody: {content: {application/json: {}}}, responses: {}}}";
const GRPC: &str =
    "{post: {operationId: talk, requestBody: {content: {application/grpc: {}}}, responses: {}}}";

/// A bundle of services: name, namespace, labels, paths.
fn bundle(services: &[(&str, &str, &str, &str)]) -> Bundle {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file(
        "palisade.yaml",
        "palisade: 1\ntrust_domains: []\nidentity: {}\nhandoff: {previous_bundle_accepted_s: 0}\n",
    );
    for (name, namespace, labels, paths) in services {
        let workload = format!("{{namespace: {namespace}, labels: {labels}}}");
        file(
            &format!("services/{name}/service.yaml"),
            &format!("hosts: [{name}.test]\nworkload: {workload}\nowner: team\n"),
        );
        file(
            &format!("services/{name}/openapi.yaml"),
            &format!("openapi: 3.0.3\ninfo: {{title: T, version: 1.0.0}}\npaths: {paths}\n"),
        );
    }
    Bundle::load(directory.path()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(services: &[(&str, &str, &str, &str)], settings: &Settings) -> Vec<String> {
    match render(&bundle(services), &[], settings) {
        Err(BuildError::Kubernetes(problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(error) => panic!("{error}"),
        Ok(_) => Vec::new(),
    }
}

#[test]
fn selectors_that_could_meet_are_refused_and_one_workload_may_serve_two() {
    let paths = format!("{{/say: {JSON}}}");
    let check = |one: &str, other: &str, expected: usize| {
        let services = [("one", "shop", one, paths.as_str()), ("two", "shop", other, &paths)];
        let found = problems(&services, &settings());
        assert_eq!(found.len(), expected, "{one} {other}: {found:?}");
        assert!(found.iter().all(|problem| problem.contains("could select the same pod")), "{found:?}");
    };
    check("{app: a}", "{app: b}", 0);
    check("{app: a, tier: x}", "{app: b, tier: x}", 0);
    check("{app: a}", "{app: a}", 0);
    check("{app: a}", "{app: a, tier: x}", 1);
    check("{app: a}", "{tier: x}", 1);
    let apart = [("one", "shop", "{app: a}", paths.as_str()), ("two", "bank", "{tier: x}", &paths)];
    assert_eq!(problems(&apart, &settings()), [""; 0]);
    let services = [("one", "shop", "{app: a}", paths.as_str()), ("two", "shop", "{app: a}", &paths)];
    let Ok(manifests) = render(&bundle(&services), &[], &settings()) else { panic!("one workload") };
    let of_workloads = manifests.files.iter().filter(|file| file.path.starts_with("4-decide/shop."));
    assert_eq!(of_workloads.map(|file| file.path.as_str()).collect::<Vec<_>>(), ["4-decide/shop.one.yaml"]);
}

#[test]
fn a_stream_beside_body_rules_is_refused_in_one_service_and_over_two() {
    let both = format!("{{/talk: {GRPC}, /say: {JSON}}}");
    let found = problems(&[("chat", "shop", "{app: chat}", &both)], &settings());
    let [problem] = &found[..] else { panic!("{found:?}") };
    assert!(
        problem.contains("operation `talk` is a stream")
            && problem.contains("operation `say` has body rules")
    );
    let (say, talk) = (format!("{{/say: {JSON}}}"), format!("{{/talk: {GRPC}}}"));
    let shared = [("plain", "shop", "{app: chat}", say.as_str()), ("stream", "shop", "{app: chat}", &talk)];
    let found = problems(&shared, &settings());
    assert!(found[0].contains("`stream.talk`") && found[0].contains("`plain.say`"), "{found:?}");
    let apart = [("plain", "shop", "{app: a}", say.as_str()), ("stream", "shop", "{app: b}", &talk)];
    assert_eq!(problems(&apart, &settings()), [""; 0]);
}

#[test]
fn all_that_is_wrong_with_names_is_told_together() {
    let paths = format!("{{/say: {JSON}}}");
    let services = [
        ("a-", "Shop", "{app: a}", paths.as_str()),
        ("b", "shop", "{}", &paths),
        ("c", "palisade-system", "{'a/b/c': x, app: -x}", &paths),
    ];
    let mut settings = settings();
    settings.namespace = "palisade-system".to_owned();
    settings.root_namespace = "istio_system".to_owned();
    settings.trust_domain = "Shop".to_owned();
    settings.replicas = 0;
    let found = problems(&services, &settings);
    let expected = [
        "--root-namespace: `istio_system`",
        "--trust-domain: `Shop`",
        "--replicas: 0 servers",
        "the namespace of service `a-`: `Shop`",
        "objects are named: `a-`",
        "service `b` has no `workload.labels`",
        "service `c` runs in namespace `palisade-system`",
        "service `c`: `a/b/c: x`",
        "service `c`: `app: -x`",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_contract_that_no_object_holds_is_refused() {
    let paths: String = (0..4_500)
        .map(|number| {
            let path = format!("/{}{number}", "p".repeat(100));
            format!("{path}: {{get: {{operationId: {}{number}, responses: {{}}}}}}, ", "o".repeat(60))
        })
        .collect();
    let services = [("large", "shop", "{app: a}", &*format!("{{{paths}}}"))];
    let Err(BuildError::Kubernetes(problems)) = render(&bundle(&services), &[], &settings()) else {
        panic!("expected a refusal")
    };
    assert!(matches!(problems[..], [KubernetesProblem::ContractTooLarge { .. }]), "{problems:?}");
}

#[test]
fn versions_and_images_are_read_strictly() {
    use super::super::{Image, IstioVersion};
    for (version, traffic_extension) in [("1.26", false), ("1.29", false), ("1.30", true), ("1.31", true)] {
        let read: IstioVersion = version.parse().unwrap();
        assert_eq!((read.to_string(), read.has_traffic_extension()), (version.to_owned(), traffic_extension));
    }
    for wrong in ["", "1", "1.", "2.0", "1.30.1", "1.+30", "v1.30", "1.25", "1.99999999999"] {
        assert!(wrong.parse::<IstioVersion>().is_err(), "{wrong}");
    }
    let digest = "0123456789abcdef".repeat(4);
    for name in ["registry.example/palisade", "localhost:5000/a/b-c/d_e"] {
        let text = format!("{name}@sha256:{digest}");
        assert_eq!(text.parse::<Image>().unwrap().to_string(), text);
    }
    for wrong in [
        format!("palisade@sha256:{digest}"),
        format!("oci://registry.example/palisade@sha256:{digest}"),
        format!("registry.example/palisade:v1@sha256:{digest}"),
        format!("registry.example:port/palisade@sha256:{digest}"),
        format!("registry.example/Palisade@sha256:{digest}"),
        format!("registry.example//palisade@sha256:{digest}"),
        format!("registry.example/palisade@sha256:{}", digest.to_uppercase()),
        format!("registry.example/palisade@sha256:{}", digest.trim_start_matches("0")),
        "registry.example/palisade:latest".to_owned(),
    ] {
        assert!(wrong.parse::<Image>().is_err(), "{wrong}");
    }
}

fn manifests(files: &[(&str, &str)]) -> Manifests {
    let file =
        |(path, text): &(&str, &str)| Manifest { path: (*path).to_owned(), bytes: text.as_bytes().to_vec() };
    Manifests { digest: BundleDigest([1; 32]), files: files.iter().map(file).collect() }
}

fn listing(directory: &Path) -> Vec<String> {
    super::tree(directory).into_keys().collect()
}

#[test]
fn what_an_earlier_build_left_is_removed_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("deep/out");
    write(&manifests(&[("2-closed/a.yaml", "a"), ("2-closed/b.yaml", "b"), ("3-gone/c.yaml", "c")]), &out)
        .unwrap();
    fs::write(out.join("2-closed/mine.yaml"), "kept").unwrap();
    let done = write(&manifests(&[("2-closed/a.yaml", "new")]), &out).unwrap();
    assert_eq!(done.removed, [out.join("2-closed/b.yaml"), out.join("3-gone/c.yaml")]);
    assert_eq!(listing(&out), ["2-closed/a.yaml", "2-closed/mine.yaml", "palisade-build.json"]);
    assert!(!out.join("3-gone").exists());
    assert_eq!(fs::read_to_string(out.join("2-closed/a.yaml")).unwrap(), "new");
}

#[test]
fn a_directory_of_somebody_elses_is_not_touched() {
    let check = |file: &str, text: &str| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(file), text).unwrap();
        let error = write(&manifests(&[("a.yaml", "a")]), directory.path()).unwrap_err();
        assert!(matches!(error, BuildError::NotOurs { .. }), "{error}");
        assert_eq!(listing(directory.path()), [file]);
    };
    check("notes.txt", "mine");
    check("palisade-build.json", "{}");
    check("palisade-build.json", r#"{"version":2,"bundle":"","files":[]}"#);
    // A list leads to nothing outside.
    for path in ["../victim", "/victim", "a/../../victim", ""] {
        check("palisade-build.json", &format!(r#"{{"version":1,"bundle":"","files":["{path}"]}}"#));
    }
}
