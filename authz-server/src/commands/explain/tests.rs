//! Requests to the demo bundle, each with what its operator reads and what a program reads.

use super::{Args, explained};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/explain/golden")
}

fn told(name: &str, json: bool) -> (String, ExitCode) {
    let request = golden().join(format!("{name}.yaml"));
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    explained(&Args { request, bundle, json }).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Compares what is told with what somebody has read and found good.
fn check(name: &str) {
    let (text, code) = told(name, false);
    let (json, same_code) = told(name, true);
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    let allowed = object["decision"] == "allow";
    let expected = if allowed { ExitCode::SUCCESS } else { ExitCode::from(super::DENIED) };
    // Exit codes have no equality.
    assert_eq!(format!("{code:?}{same_code:?}"), format!("{expected:?}{expected:?}"), "{name}");
    assert_eq!(allowed, text.lines().nth(1) == Some("allowed"), "{name}: {text}");
    let path = golden().join(format!("{name}.txt"));
    if std::env::var_os("PALISADE_BLESS").is_some() {
        fs::write(path, text).unwrap();
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{name}: read what changed, then set PALISADE_BLESS=1\n{text}");
}

#[test]
fn requests_to_the_demo_are_explained() {
    let mut names: Vec<String> = fs::read_dir(golden())
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".yaml").map(Into::into)
        })
        .collect();
    names.sort();
    assert!(names.len() >= 12, "{names:?}");
    names.iter().for_each(|name| check(name));
}

#[test]
fn a_shadow_policy_is_never_part_of_the_explanation() {
    let (json, _) = told("forbidden-page", true);
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(object["explanation"]["policies"][0]["id"], "pages-are-bounded");
    assert!(!json.contains("pages-of-fifty"), "{json}");
}

#[test]
fn what_describes_no_request_is_wrongly_used() {
    let directory = tempfile::tempdir().unwrap();
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    for (text, expected) in [
        ("caller: anonymous\n", "request"),
        (
            "caller: {client: wob}\nrequest: {method: GET, service: orders, path: /orders}\n",
            "did you mean `web`",
        ),
        ("caller: anonymous\nrequest: GET /orders\n", "goes nowhere"),
        ("caller: anonymous\nrequest: [\n", "describes no request"),
    ] {
        let request = directory.path().join("request.yaml");
        fs::write(&request, text).unwrap();
        let error = explained(&Args { request, bundle: bundle.clone(), json: false }).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
