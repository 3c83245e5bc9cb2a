//! `palisade test` as a program: what it ends with, what CI systems read, and that it follows a bundle that is edited.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tests::binaries::{palisade, workspace_dir};
use tests::deadline::eventually;
use tests::process::{Launch, Process};

/// How long an edit may take to show; beyond what a busy machine needs.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

const PASSING: &str = "\
service: orders
cases:
  - name: the storefront reads
    caller: {client: web}
    request: GET /orders
    expect: {decision: allow}
";

/// The demo bundle with one file of tests in place of its own.
struct Scene(TempDir);

impl Scene {
    fn new(tests: &str) -> Scene {
        let scene = Scene(tempfile::tempdir().expect("make a directory"));
        copy(&workspace_dir().join("policies"), &scene.bundle());
        fs::remove_dir_all(scene.bundle().join("tests")).expect("remove the tests of the bundle");
        scene.write("tests/own.yaml", tests);
        scene
    }

    fn bundle(&self) -> PathBuf {
        self.0.path().join("bundle")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.bundle().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(path, text).expect("write a file of the bundle");
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(palisade());
        command.arg("test").arg(self.bundle()).args(args).output().expect("run palisade test")
    }

    fn code(&self, args: &[&str]) -> Option<i32> {
        self.run(args).status.code()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make a folder");
    for entry in fs::read_dir(from).expect("list a folder") {
        let entry = entry.expect("list a folder");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}

#[test]
fn it_ends_with_what_came_of_it() {
    let scene = Scene::new(PASSING);
    assert_eq!(scene.code(&[]), Some(0));
    assert_eq!(scene.code(&["--filter", "storefront"]), Some(0));
    assert_eq!(scene.code(&["--filter", "no such case"]), Some(2), "nothing ran is not success");
    assert_eq!(scene.code(&["--coverage-min", "12"]), Some(0), "one policy and one operation");
    assert_eq!(scene.code(&["--coverage-min", "50"]), Some(1));
    assert_eq!(scene.code(&["--require-full-coverage"]), Some(1));
    assert_eq!(scene.code(&["--coverage-min", "101"]), Some(2));
    scene.write("tests/own.yaml", &PASSING.replace("allow", "deny"));
    assert_eq!(scene.code(&[]), Some(1));
    scene.write("tests/own.yaml", &PASSING.replace("web", "wep"));
    let broken = scene.run(&[]);
    assert_eq!(broken.status.code(), Some(2));
    let said = String::from_utf8_lossy(&broken.stderr);
    assert!(said.contains("own.yaml:4:22") && said.contains("did you mean `web`?"), "{said}");
    let broken: Value = serde_json::from_slice(&scene.run(&["--json"]).stdout).expect("one object");
    assert_eq!(broken["problems"][0]["suggestion"], "web");
    fs::remove_dir_all(scene.bundle().join("tests")).expect("remove the tests");
    assert_eq!(scene.code(&[]), Some(2), "no tests are not passed tests");
    fs::remove_dir_all(scene.bundle()).expect("remove the bundle");
    let missing = scene.run(&[]);
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(said.contains(&format!("--> {}\n", scene.bundle().display())), "{said}");
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn the_bundles_of_this_repository_are_covered_whole() {
    for bundle in ["policies", "tests/bundles/second"] {
        let mut command = Command::new(palisade());
        command.arg("test").arg(workspace_dir().join(bundle)).arg("--require-full-coverage");
        let output = command.output().expect("run palisade test");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{bundle}:\n{said}");
    }
}

/// Names that would break a document that was put together carelessly, as another implementation reads it.
#[test]
fn a_parser_of_its_own_reads_the_junit_file() {
    let hostile = "a <b> & \\\"c\\\" ]]> ü";
    let tests = PASSING
        .replace("the storefront reads", "NAME")
        .replace("name: NAME", &format!("name: \"{hostile}\""));
    let tests = tests.replace("decision: allow", "decision: deny, reason: policy_denied");
    let scene = Scene::new(&tests);
    let file = scene.0.path().join("reports/junit.xml");
    assert_eq!(scene.code(&["--junit", file.to_str().expect("a UTF-8 path")]), Some(1));
    let program = "import sys, json, xml.etree.ElementTree as tree\n\
        root = tree.parse(sys.argv[1]).getroot()\n\
        case = root.find('testsuite/testcase')\n\
        failure = case.find('failure')\n\
        print(json.dumps([root.attrib, case.attrib, failure.attrib, failure.text]))";
    let output = Command::new("python3").args(["-c", program]).arg(&file).output().expect("run python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).expect("what python printed");
    assert_eq!(read[0]["tests"], "1");
    assert_eq!(read[0]["failures"], "1");
    assert_eq!(read[1]["name"], hostile.replace("\\\"", "\""));
    assert_eq!(read[1]["line"], "3");
    assert!(
        read[2]["message"].as_str().is_some_and(|text| text.contains("expected deny, got allow")),
        "{read}"
    );
    assert!(read[3].as_str().is_some_and(|text| text.lines().count() >= 3), "{read}");
}

#[test]
fn it_follows_the_bundle_through_good_and_broken_states() {
    let scene = Scene::new(PASSING);
    let launch =
        Launch::new("watching", palisade()).arg("test").arg(scene.bundle()).args(["--watch", "--json"]);
    let watching = Process::start(launch, scene.0.path());
    // Each run prints one object.
    let runs = || -> Vec<Value> {
        let log = watching.log();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let shows = |what: &str, count: usize, holds: &dyn Fn(&Value) -> bool| {
        eventually(what, SHOWN_WITHIN, || {
            let runs = runs();
            runs.len().checked_sub(count + 1)?;
            runs.last().is_some_and(holds).then_some(runs.len())
        })
    };
    let passes = |run: &Value| run["passed"] == 1 && run["failed"] == 0;
    let seen = shows("the first run", 0, &passes);
    scene.write("tests/own.yaml", &PASSING.replace("allow", "deny"));
    let seen = shows("a failure", seen, &|run| run["failed"] == 1);
    scene.write("guardrails.cedar", "permit (principal, action");
    let seen = shows("a broken bundle", seen, &|run| {
        run["problems"][0]["file"].as_str().is_some_and(|file| file.ends_with("guardrails.cedar"))
    });
    scene.write("guardrails.cedar", "");
    scene.write("tests/own.yaml", PASSING);
    let seen = shows("all is well again", seen, &passes);
    fs::rename(scene.bundle(), scene.0.path().join("away")).expect("take the bundle away");
    let seen = shows("there is no bundle", seen, &|run| run["problems"].is_array());
    fs::rename(scene.0.path().join("away"), scene.bundle()).expect("bring the bundle back");
    shows("it is back", seen, &passes);
}
