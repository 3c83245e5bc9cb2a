//! Reports of a bundle whose tests pass and fail in every way, kept word by word; and that nothing in them is chance.

use super::{Access, Coverage, Gaps, Matrix, Proxy, Report, Run, json, junit, run, text};
use crate::bundle::Bundle;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Set to write the reports anew.
const BLESS: &str = "PALISADE_BLESS";

/// What the sound bundle does not have: a shadow, and a policy without a reason.
const SHADOW: &str = r#"
@id("reading-rooms-close")
@reason("nobody looks from outside the house")
@mode("shadow")
forbid (principal, action in Action::"read", resource)
unless { principal in Group::"librarians" };

@id("never-asked")
@mode("shadow")
permit (principal in Group::"librarians", action == Action::"loans.endLoan", resource);
"#;

const PASSING: &str = "\
cases:
  - name: staff reads books
    callers: [{client: desk}, {client: curator}]
    request: {service: catalog, method: GET, path: /books/b-1}
    expect: {decision: allow, policies: [staff-reads]}
  - name: outside of the house it will be over
    caller: {client: desk}
    request: {service: catalog, method: GET, path: /books/b-1}
    expect: {decision: allow, shadow: {decision: deny, policies: [reading-rooms-close]}}
";

/// One case for each way to fail.
const FAILING: &str = r#"
service: loans
cases:
  - name: a decision
    caller: {client: curator}
    request: {service: catalog, method: GET, path: /books/b-1}
    expect: {decision: deny}
  - name: nobody permits it, and somebody else may
    caller: {stranger: "spiffe://library.example/ns/street/sa/passer-by"}
    request: {method: POST, path: /loans, body: {book: b-1, days: 14}}
    expect: {decision: allow, policies: [staff-lends]}
  - name: a forbid nobody thought of
    caller: {client: curator}
    request: {host: back.door, method: PUT, path: /books/b-1, body: {title: "<&>\"'"}}
    expect: {decision: allow, policies: [librarians-describe]}
  - name: the filter was faster
    caller: {client: desk}
    requests:
      - {method: POST, path: /loans, headers: {content-type: application/json}, body: "{"}
      - {method: POST, path: /loans, headers: {content-type: application/json}, body: "{"}
    expect: {decision: deny, reason: policy_denied, shadow: {decision: deny}}
  - name: another policy
    caller: {client: desk}
    request: GET /loans
    expect: {decision: allow, policies: [staff-lends, staff-reads], shadow: {decision: allow, policies: []}}
  - name: 'names & <tags> "quoted", with a ü'
    caller: anonymous
    request: GET /loans?limit=1
    expect: {decision: allow}
"#;

struct Scene(TempDir);

impl Scene {
    /// The sound bundle with its contract of many hosts, the shadows, and these tests in place of its own.
    fn with(tests: &[(&str, &str)]) -> Scene {
        let scene = Scene(tempfile::tempdir().unwrap());
        copy(&workspace().join("tests/bundles/sound"), scene.0.path());
        let _none = fs::remove_dir_all(scene.0.path().join("tests"));
        let service = scene.0.path().join("services/catalog/service.yaml");
        let text = fs::read_to_string(&service).unwrap();
        fs::write(service, text.replace("hosts: [catalog]", "hosts: [catalog, back.door]")).unwrap();
        fs::write(scene.0.path().join("shadow.cedar"), SHADOW).unwrap();
        fs::create_dir(scene.0.path().join("tests")).unwrap();
        for (name, text) in tests {
            fs::write(scene.0.path().join("tests").join(name), text).unwrap();
        }
        scene
    }

    fn proxy(&self) -> Proxy {
        let bundle =
            Bundle::load(self.0.path()).unwrap_or_else(|problems| panic!("{}", problems.report(false)));
        Proxy::new(bundle).unwrap()
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn report<'r>(run: &'r Run<'r>, coverage: &'r Coverage) -> Report<'r> {
    let took = Duration::from_millis(1234);
    Report { run, coverage: Some(coverage), took, directory: Path::new("library") }
}

/// Compares with a file beside this one.
fn check(file: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testing/golden").join(file);
    if std::env::var_os(BLESS).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{file} is out of date ({BLESS}=1 writes it anew):\n{found}");
}

#[test]
fn failures_are_told_to_people_programs_and_ci_systems() {
    let scene = Scene::with(&[("a-passing.yaml", PASSING), ("b-failing.yaml", FAILING)]);
    let proxy = scene.proxy();
    let run = run(&proxy, None);
    let coverage = Coverage::of(proxy.bundle(), &run);
    let report = report(&run, &coverage);
    assert_eq!((run.count(), run.failed()), (10, 7));
    check("failing.txt", &text(report, false));
    check("failing.json", &format!("{:#}\n", json(report)));
    check("failing.xml", &junit(report));
    let plain = text(report, false);
    let coloured = text(report, true);
    assert!(coloured.len() > plain.len() && !plain.contains('\u{1b}'));
}

#[test]
fn what_passes_takes_a_line() {
    let scene = Scene::with(&[("a-passing.yaml", PASSING)]);
    let proxy = scene.proxy();
    let run = run(&proxy, None);
    let coverage = Coverage::of(proxy.bundle(), &run);
    check("passing.txt", &text(report(&run, &coverage), false));
    check("passing.xml", &junit(report(&run, &coverage)));
}

#[test]
fn a_filter_chooses_by_name_and_by_file() {
    let scene = Scene::with(&[("a-passing.yaml", PASSING), ("b-failing.yaml", FAILING)]);
    let proxy = scene.proxy();
    let count = |filter: &str| run(&proxy, Some(filter)).count();
    assert_eq!(count("a-passing"), 3);
    assert_eq!(count("outside of the house"), 1);
    assert_eq!(count("[curator]"), 1);
    assert_eq!(count("no such case"), 0);
}

/// Ten thousand cases: every one is answered, in its order, the same each time.
#[test]
fn many_cases_keep_their_order_and_their_answers() {
    let paths: Vec<String> = (0..2_500).map(|number| format!("      - GET /loans/l-{number}\n")).collect();
    let tests = format!(
        "service: loans\ncases:\n  - name: many\n    callers: [anonymous, {{client: desk}}, {{client: curator}}, {{workload: \"spiffe://library.example/ns/library/sa/loans\"}}]\n    requests:\n{}    expect: {{decision: allow, policies: [staff-reads]}}\n",
        paths.concat()
    );
    let scene = Scene::with(&[("many.yaml", &tests)]);
    let proxy = scene.proxy();
    let (one, two) = (run(&proxy, None), run(&proxy, None));
    assert_eq!((one.count(), one.failed()), (10_000, 2_500), "anonymous may read nothing");
    let coverage = Coverage::of(proxy.bundle(), &one);
    let shown = |run: &Run<'_>| json(report(run, &coverage)).to_string();
    assert_eq!(shown(&one), shown(&two));
    let cases = proxy.bundle().cases.iter().flat_map(|file| &file.cases);
    assert!(one.cases().map(|ran| ran.case).eq(cases), "in the order of the bundle");
}

/// Who may do what in both bundles, kept cell by cell. What nobody can say anything of fails.
#[test]
fn every_caller_and_every_operation_has_its_cell() {
    for (name, directory) in [("demo", "policies"), ("second", "tests/bundles/second")] {
        let proxy = Proxy::new(Bundle::load(&workspace().join(directory)).unwrap()).unwrap();
        let matrix = Matrix::of(&proxy);
        check(&format!("matrix-{name}.txt"), &matrix.to_string());
        assert_eq!(*matrix.gaps(), Gaps::default(), "{name}: write a test whose request meets it");
        let declared = proxy.bundle().entities.clients.keys().chain(proxy.bundle().entities.workloads.keys());
        for caller in declared {
            for (matched, _) in proxy.bundle().operations() {
                let operation = format!("{}.{}", matched.service.name, matched.operation.name);
                assert!(matrix.access(caller, &operation).is_some(), "{name}: {caller} and {operation}");
            }
        }
    }
}

#[test]
fn what_the_matrix_cannot_tell_is_a_gap() {
    let scene = Scene::with(&[("a-passing.yaml", PASSING)]);
    let proxy = scene.proxy();
    let matrix = Matrix::of(&proxy);
    let Gaps { operations, policies } = matrix.gaps();
    assert!(operations.iter().any(|name| name == "loans.endLoan"), "{operations:?}");
    assert!(policies.iter().any(|id| id == "never-asked"), "{policies:?}");
    assert!(!policies.iter().any(|id| id == "reading-rooms-close"), "a shadow has its cell: {policies:?}");
    assert_eq!(matrix.access("anonymous", "catalog.readBook"), Some(Access::Denied));
}
