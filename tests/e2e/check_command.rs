//! `palisade check` and `palisade diff` as programs: what they end with, what they print where, and for whom.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use tests::binaries::{palisade, workspace_dir};

/// The sound bundle, below the directory in which the commands run.
struct Scene(TempDir);

impl Scene {
    fn new() -> Scene {
        let scene = Scene(tempfile::tempdir().expect("make a directory"));
        for name in ["before", "after"] {
            copy(&workspace_dir().join("tests/bundles/sound"), &scene.0.path().join(name));
        }
        scene
    }

    fn append(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        let known = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, known + text).expect("write a file of the bundle");
    }

    fn run(&self, args: &[&str]) -> Said {
        let output = Command::new(palisade())
            .args(args)
            .current_dir(self.0.path())
            .output()
            .expect("run palisade");
        Said::from(output)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make a folder");
    for entry in fs::read_dir(from).expect("list a folder") {
        let entry = entry.expect("list a folder");
        let target: PathBuf = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Said { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
    }
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    fn last_line(&self) -> &str {
        self.out.lines().last().unwrap_or_default()
    }
}

#[test]
fn a_sound_bundle_is_told_by_its_digest() {
    let scene = Scene::new();
    let said = scene.run(&["check", "before"]);
    assert_eq!((said.code, said.error.as_str()), (Some(0), ""), "{}", said.out);
    let json = scene.run(&["check", "before", "--json"]).json();
    let digest = json["digest"].as_str().expect("a digest");
    assert_eq!(
        said.out,
        format!("✓ bundle {digest}: 2 services, 7 operations, 4 policies, no problems\n")
    );
    assert_eq!((&json["sound"], &json["problems"]), (&Value::Bool(true), &Value::Array(Vec::new())));
}

#[test]
fn errors_are_told_at_places_that_a_terminal_can_open_and_without_colours() {
    let scene = Scene::new();
    scene.append("before/services/loans/service.yaml", "colour: red\n");
    scene.append("before/policies/catalog.cedar", "permit (principal, action, resource);\n");
    let said = scene.run(&["check", "before"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("--> before/services/loans/service.yaml:10:1"), "{}", said.out);
    assert!(said.out.contains("--> before/policies/catalog.cedar:11:1"), "{}", said.out);
    assert!(!said.out.contains('\u{1b}') && !said.out.contains("tmp"), "{}", said.out);
    assert_eq!(said.last_line(), "✗ 2 errors in 8 files");
    let json = scene.run(&["check", "before", "--json"]).json();
    let problem = &json["problems"][0];
    assert_eq!(json["sound"], Value::Bool(false));
    assert_eq!(problem["file"], "before/policies/catalog.cedar");
    assert_eq!((&problem["line"], &problem["column"]), (&11.into(), &1.into()));
    assert_eq!(problem["severity"], "error");
    assert!(problem["excerpt"]["text"].is_string() && problem["message"].is_string(), "{problem}");
}

#[test]
fn warnings_fail_only_where_they_are_denied_and_can_be_allowed() {
    let scene = Scene::new();
    scene.append("before/desk.cedar", "@id(\"all\")\npermit (principal, action in Action::\"write\", resource);\n");
    let said = scene.run(&["check", "before"]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("warning[anyone-may-write]"), "{}", said.out);
    assert!(said.last_line().ends_with("5 policies, 1 warning"), "{}", said.out);
    assert_eq!(scene.run(&["check", "before", "--deny-warnings"]).code, Some(1));
    let allowed = scene.run(&["check", "before", "--deny-warnings", "--allow", "anyone-may-write"]);
    assert_eq!(allowed.code, Some(0), "{}", allowed.out);
    let json = scene.run(&["check", "before", "--json"]).json();
    assert_eq!(json["problems"][0]["lint"], "anyone-may-write");
    assert_eq!(json["problems"][0]["subject"], "all");
}

#[test]
fn a_command_that_was_used_wrongly_says_so() {
    let scene = Scene::new();
    for args in [
        &["check", "nowhere"][..],
        &["check", "before", "--allow", "anyone-may-wright"],
        &["check"],
        &["diff", "before", "nowhere"],
        &["diff", "before"],
        &["diff", "before", "after", "--json", "--markdown"],
    ] {
        let said = scene.run(args);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}");
        assert!(!said.error.is_empty(), "{args:?}");
    }
}

#[test]
fn bundles_are_compared_like_files() {
    let scene = Scene::new();
    assert_eq!(scene.run(&["diff", "before", "after"]).code, Some(0));
    scene.append("after/desk.cedar", "// Nothing else.\n");
    let same = scene.run(&["diff", "before", "after"]);
    assert_eq!(same.code, Some(0), "{}", same.out);
    scene.append(
        "after/desk.cedar",
        "@id(\"desk-describes\")\npermit (principal == Client::\"desk\", action == Action::\"catalog.describeBook\", resource);\n",
    );
    let other = scene.run(&["diff", "before", "after"]);
    assert_eq!(other.code, Some(1));
    assert!(other.out.contains("client desk: catalog.describeBook: denied → conditional"), "{}", other.out);
    assert!(!other.out.contains('\u{1b}'), "{}", other.out);
    let json = scene.run(&["diff", "before", "after", "--json"]);
    assert_eq!(json.code, Some(1));
    let json = json.json();
    assert_eq!(json["access"][0]["callers"][0], "client desk");
    assert!(json["access"][0]["danger"].is_string(), "{json}");
    let markdown = scene.run(&["diff", "before", "after", "--markdown"]);
    assert!(markdown.out.contains("### Policies\n\n- added `desk-describes`"), "{}", markdown.out);
    scene.append("after/palisade.yaml", "colour: red\n");
    let broken = scene.run(&["diff", "before", "after"]);
    assert_eq!((broken.code, broken.out.as_str()), (Some(2), ""));
    assert!(broken.error.contains("--> after/palisade.yaml:8:1"), "{}", broken.error);
}
