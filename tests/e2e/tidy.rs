//! Rules about the source itself, kept by a machine: rooms, foreign names, words that do not belong, the README's tables.

use palisade_core::reason::Reason;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files may grow to this; those listed stand above it and may only shrink.
const LINES_MAX: usize = 450;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file that git knows or would know.
fn files() -> Vec<(String, String)> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let read = |path: &str| Some((path.to_owned(), fs::read_to_string(root().join(path)).ok()?));
    let files: Vec<_> = listed.lines().filter_map(read).collect();
    assert!(files.len() > 50, "the list of files is not empty");
    files
}

fn sources() -> Vec<(String, String)> {
    files().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect()
}

#[test]
fn every_file_says_what_it_is_and_is_not_too_long() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{path}: does not begin with `//!`: its role and its invariant"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX && !path.contains("test") {
            wrong.push(format!("{path}: {lines} lines are over {LINES_MAX}: a room that wants a wall"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_file_names_each_foreign_api() {
    // The crate's name, and where it may stand.
    let rooms: [(&str, &[&str]); 6] = [
        ("proxy_wasm", &["filter/"]),
        ("envoy_types", &["authz-server/src/envoy", "tests/", "benches/"]),
        (
            "cedar_policy",
            &["authz-server/src/cedar/", "authz-server/policy-index/", "authz-server/explain/", "benches/"],
        ),
        (
            "serde_saphyr",
            &[
                "authz-server/src/bundle/format.rs",
                "authz-server/src/build/yaml.rs",
                "authz-server/src/dev/generated.rs",
                "authz-server/src/build/tests.rs",
                "tests/",
            ],
        ),
        ("rusqlite", &["authz-server/src/audit/index/", "authz-server/src/audit/tests/lives.rs"]),
        ("jiff", &["authz-server/src/audit/when.rs", "authz-server/identity/src/api_keys/when.rs"]),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (name, allowed) in rooms {
            let names = text
                .lines()
                .any(|line| line.contains(&format!("{name}::")) && !line.trim_start().starts_with("//"));
            if names && !path.ends_with("tidy.rs") && !allowed.iter().any(|room| path.starts_with(room)) {
                wrong.push(format!("{path}: names `{name}`, which belongs to {allowed:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_in_one_file_of_the_filter() {
    let mut allowed = BTreeSet::new();
    for (path, text) in sources() {
        if text.lines().any(|line| line.contains("unsafe {") || line.contains("unsafe extern"))
            && !path.ends_with("tidy.rs")
        {
            allowed.insert(path);
        }
    }
    allowed.retain(|path| !path.starts_with("filter/examples/"));
    assert_eq!(allowed.into_iter().collect::<Vec<_>>(), ["filter/src/host.rs"]);
}

#[test]
fn nothing_is_left_for_later_and_nobody_sleeps_for_a_condition() {
    let later = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
        ["todo", "!("].concat(),
        ["dbg", "!("].concat(),
    ];
    let sleep = ["thread::", "sleep"].concat();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if later.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{path}:{}: left for later", number + 1));
            }
            // The one place that polls, with a deadline.
            if line.contains(&sleep) && path != "tests/src/deadline.rs" {
                wrong.push(format!("{path}:{}: sleeps", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_path_of_a_machine_stands_in_the_tree() {
    let marks = [
        ["/wo", "rk/"].concat(),
        ["/ro", "ot/"].concat(),
        ["/ho", "me/"].concat(),
        [".lib", "rary"].concat(),
    ];
    let mut wrong = Vec::new();
    for (path, text) in files() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                wrong.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_depends_only_on_what_has_no_effects() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "-p", "palisade-core", "-e", "normal", "--prefix", "none", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let found: BTreeSet<String> = String::from_utf8(tree.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(ToOwned::to_owned))
        .collect();
    let allowed = [
        "palisade-core",
        "arrayref",
        "arrayvec",
        "base64",
        "blake3",
        "cfg-if",
        "constant_time_eq",
        "cpufeatures",
        "hex",
        "itoa",
        "memchr",
        "proc-macro2",
        "quote",
        "regex-automata",
        "serde",
        "serde_core",
        "serde_derive",
        "serde_json",
        "syn",
        "unicode-ident",
        "uuid",
        "zmij",
    ];
    let foreign: Vec<_> = found.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
    assert!(foreign.is_empty(), "the core gained {foreign:?}");
}

/// The text between the markers of a generated table in the README; with `PALISADE_BLESS` it is written anew.
fn check_readme_table(name: &str, expected: &str) {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = readme.split_once(&begin).unwrap_or_else(|| panic!("the README has no `{begin}`"));
    let (found, after) = rest.split_once(&end).unwrap();
    if found == expected {
        return;
    }
    if std::env::var_os("PALISADE_BLESS").is_some() {
        fs::write(&path, format!("{before}{begin}{expected}{end}{after}")).unwrap();
        return;
    }
    panic!("the README's {name} is out of date: run `PALISADE_BLESS=1 cargo test --workspace`");
}

#[test]
fn the_readme_lists_every_key_and_every_lint() {
    check_readme_table("keys", &format!("{}\n", palisade::bundle::reference::keys().trim_end()));
    check_readme_table("lints", &palisade::bundle::reference::lints());
}

#[test]
fn the_readme_lists_every_reason() {
    let mut table = String::from("| Reason | HTTP | gRPC | When |\n|---|---|---|---|\n");
    for reason in Reason::ALL {
        let row = format!(
            "| `{}` | {} | {} | {} |\n",
            reason.code(),
            reason.status(),
            reason.grpc_status() as u8,
            reason.explains()
        );
        table.push_str(&row);
    }
    check_readme_table("reasons", &table);
}
