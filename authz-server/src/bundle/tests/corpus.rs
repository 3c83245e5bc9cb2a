//! The corpora of bundles: each case is edits to the sound bundle, and the report that its author then reads, or what
//! changed from the sound one.
//!
//! ```text
//! # A comment.
//! case a key that nobody knows
//! @ services/loans/service.yaml      the file that the next lines edit
//! - owner: team-desk                 these lines, of which there is exactly one place,
//! + ownr: team-desk                  become these; `+` alone adds to the end, and makes the file where there is none
//! ! remove entities/people.yaml
//! ! bytes desk.cedar ff fe           the whole file, in hexadecimal
//! ! size desk.cedar 40000000         a file of so many zero bytes
//! ! repeat desk.cedar 9 text         the text so many times, at the end of the file
//! ! link services/loop ..            a symbolic link
//! ! socket desk.cedar                something that is neither a file nor a folder
//! ! before                           of a change: what is above was so before, too
//! < error: unknown key `ownr`        the report, line by line
//! ```
//!
//! INVARIANT: what a report suggests in place of a marked text mends that problem; `! no mend` says where a suggestion
//! is not meant to be put there.

use super::{Bundle, workspace};
use crate::bundle::diff::Difference;
use crate::bundle::{Checked, Problem, Problems, Severity};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Set to write the reports anew.
const BLESS: &str = "PALISADE_BLESS";

/// A copy of the sound bundle that may be broken.
pub(super) struct Scene(TempDir);

impl Scene {
    pub(super) fn sound() -> Scene {
        Scene::copy(&workspace().join("tests/bundles/sound"))
    }

    pub(super) fn empty() -> Scene {
        Scene(tempfile::tempdir().unwrap())
    }

    pub(super) fn copy(base: &Path) -> Scene {
        let scene = Scene::empty();
        for path in files_below(base) {
            scene.write(&path, &fs::read(base.join(&path)).unwrap());
        }
        scene
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn files(&self) -> Vec<String> {
        files_below(self.path())
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap_or_default()
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8]) {
        fs::write(self.made(path), bytes).unwrap();
    }

    /// The full path, with its folders made.
    fn made(&self, path: &str) -> PathBuf {
        let full = self.path().join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        full
    }

    fn apply(&self, edit: &Edit) {
        match edit {
            Edit::Lines { path, old, new } => {
                let text = self.read(path);
                if !old.is_empty() {
                    assert_eq!(text.matches(old.as_str()).count(), 1, "`{old}` has not one place in {path}");
                }
                let edited = if old.is_empty() { text + new } else { text.replacen(old, new, 1) };
                self.write(path, edited.as_bytes());
            }
            Edit::Remove { path } => fs::remove_file(self.path().join(path)).unwrap(),
            Edit::Bytes { path, bytes } => self.write(path, bytes),
            Edit::Size { path, bytes } => {
                fs::File::create(self.made(path)).unwrap().set_len(*bytes).unwrap();
            }
            Edit::Repeat { path, times, text } => {
                self.write(path, (self.read(path) + &text.repeat(*times)).as_bytes());
            }
            Edit::Socket { path } => drop(std::os::unix::net::UnixListener::bind(self.made(path)).unwrap()),
            Edit::Link { path, target } => std::os::unix::fs::symlink(target, self.made(path)).unwrap(),
        }
    }
}

fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files_below(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[derive(Debug, Default)]
struct Case {
    name: String,
    edits: Vec<Edit>,
    /// How many of them were there before, where a change is told.
    edits_before: usize,
    /// Whether what is suggested can be put in the place of what is marked.
    mends: bool,
    report: String,
    /// The lines of the file before the report, and the number of lines that the report has now.
    before: usize,
    lines: usize,
}

#[derive(Debug)]
enum Edit {
    Lines { path: String, old: String, new: String },
    Remove { path: String },
    Bytes { path: String, bytes: Vec<u8> },
    Size { path: String, bytes: u64 },
    Repeat { path: String, times: usize, text: String },
    Socket { path: String },
    Link { path: String, target: String },
}

fn parse(file: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut editing = String::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = || format!("{file}:{}: cannot be read: `{line}`", number + 1);
        if let Some(name) = line.strip_prefix("case ") {
            cases.push(Case { name: name.to_owned(), mends: true, before: number + 1, ..Case::default() });
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("{}", wrong()));
        let (mark, rest) = line.split_at(1);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match mark {
            "<" => {
                case.lines += 1;
                writeln!(case.report, "{rest}").unwrap();
                continue;
            }
            "@" => {
                editing = rest.to_owned();
                case.edits.push(Edit::Lines {
                    path: editing.clone(),
                    old: String::new(),
                    new: String::new(),
                });
            }
            "-" | "+" => edit_line(case, &editing, mark, rest),
            "!" if rest == "no mend" => case.mends = false,
            "!" if rest == "before" => case.edits_before = case.edits.len(),
            "!" => case.edits.push(edit(rest).unwrap_or_else(|| panic!("{}", wrong()))),
            _ => panic!("{}", wrong()),
        }
        case.before = number + 1;
    }
    cases
}

fn edit_line(case: &mut Case, editing: &str, mark: &str, line: &str) {
    if let (Some(Edit::Lines { new, .. }), "-") = (case.edits.last(), mark)
        && !new.is_empty()
    {
        case.edits.push(Edit::Lines { path: editing.to_owned(), old: String::new(), new: String::new() });
    }
    let Some(Edit::Lines { old, new, .. }) = case.edits.last_mut() else {
        panic!("`{line}` belongs to no file: write `@ path` before it");
    };
    writeln!(if mark == "-" { old } else { new }, "{line}").unwrap();
}

fn edit(text: &str) -> Option<Edit> {
    let (what, rest) = text.split_once(' ')?;
    let (path, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let path = path.to_owned();
    Some(match what {
        "remove" => Edit::Remove { path },
        "bytes" => Edit::Bytes { path, bytes: hex::decode(rest.replace(' ', "")).ok()? },
        "size" => Edit::Size { path, bytes: rest.parse().ok()? },
        "repeat" => {
            let (times, text) = rest.split_once(' ')?;
            Edit::Repeat { path, times: times.parse().ok()?, text: text.replace("\\n", "\n") }
        }
        "socket" => Edit::Socket { path },
        "link" => Edit::Link { path, target: rest.to_owned() },
        _ => return None,
    })
}

/// What the author of the bundle reads.
fn report(checked: &Checked) -> String {
    let mut parts: Vec<String> = checked.notes.iter().map(|note| format!("note: {note}\n")).collect();
    if !checked.problems.is_empty() {
        parts.insert(0, checked.problems.report(false) + "\n");
    }
    parts.join("\n")
}

/// The one check of a case: its report is the expected one, and what is suggested mends.
fn check(case: &Case) -> (String, Vec<String>) {
    let scene = Scene::sound();
    case.edits.iter().for_each(|edit| scene.apply(edit));
    let checked = Bundle::check(scene.path());
    let mut wrong = Vec::new();
    for problem in checked.problems.sorted() {
        if let Some(suggestion) = problem.suggestion.as_deref().filter(|_| case.mends)
            && mended(&scene, problem, suggestion) >= errors(&checked.problems)
        {
            wrong.push(format!("`{suggestion}` does not mend: {problem}"));
        }
    }
    (report(&checked), wrong)
}

fn errors(problems: &Problems) -> usize {
    problems.count(Severity::Error)
}

/// Puts the suggestion in the place of what is marked, and counts the errors that are left.
fn mended(scene: &Scene, problem: &Problem, suggestion: &str) -> usize {
    let place = &problem.place;
    let checked = || errors(&Bundle::check(scene.path()).problems);
    let (Some(line), Some(column), Some(excerpt)) = (place.line, place.column, &place.excerpt) else {
        // A file whose name is wrong.
        let (wrong, right) = (scene.path().join(&place.file), scene.path().join(suggestion));
        fs::rename(&wrong, &right).unwrap();
        let left = checked();
        fs::rename(&right, &wrong).unwrap();
        return left;
    };
    let text = scene.read(&place.file);
    let line_start: usize = text.split_inclusive('\n').take(line as usize - 1).map(str::len).sum();
    let (above, below) = text.split_at(line_start);
    let column_start: usize = below.chars().take(column as usize - 1).map(char::len_utf8).sum();
    let (left, rest) = below.split_at(column_start);
    let marked = excerpt.text.get(excerpt.from..excerpt.to).unwrap();
    let rest = rest.strip_prefix(marked).unwrap_or_else(|| panic!("{place} is not where the excerpt stands"));
    let new = [above, left, suggestion, rest].concat();
    scene.write(&place.file, new.as_bytes());
    let left = checked();
    scene.write(&place.file, text.as_bytes());
    left
}

/// Runs all cases of a folder through one check, and compares or writes what they find. How many there were.
fn run(folder: &str, check: impl Fn(&Case) -> (String, Vec<String>)) -> usize {
    let folder = workspace().join("tests/bundles").join(folder);
    let bless = std::env::var_os(BLESS).is_some();
    let (mut count, mut wrong) = (0, Vec::new());
    for file in files_below(&folder) {
        let text = fs::read_to_string(folder.join(&file)).unwrap();
        let cases = parse(&file, &text);
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        // From the end, so that the lines of those before keep their numbers.
        for case in cases.iter().rev() {
            count += 1;
            let (found, failures) = check(case);
            wrong.extend(failures.into_iter().map(|text| format!("{file}: {}: {text}", case.name)));
            let marked = found.lines().map(|line| format!("< {line}").trim_end().to_owned());
            if bless {
                lines.splice(case.before..case.before + case.lines, marked);
            } else if found.lines().map(str::trim_end).ne(case.report.lines()) {
                let expected = &case.report;
                wrong.push(format!("{file}: {}\nexpected:\n{expected}found:\n{found}", case.name));
            }
        }
        if bless {
            fs::write(folder.join(&file), lines.join("\n") + "\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    count
}

#[test]
fn every_broken_bundle_has_its_report() {
    let count = run("broken", check);
    assert!(count >= 80, "{count} broken bundles: the corpus has shrunk");
}

/// What changed from the sound bundle, or from what is said to have been before, to the edited one, which holds no error.
fn changes(case: &Case) -> (String, Vec<String>) {
    let (sound, scene) = (Scene::sound(), Scene::sound());
    case.edits.iter().take(case.edits_before).for_each(|edit| sound.apply(edit));
    case.edits.iter().for_each(|edit| scene.apply(edit));
    let load =
        |scene: &Scene| Bundle::load(scene.path()).unwrap_or_else(|wrong| panic!("{}: {wrong}", case.name));
    let (before, after) = (load(&sound), load(&scene));
    let difference = Difference::of(&before, &after);
    // The digests follow every byte of the sound bundle, which is not what the cases are about.
    let text = difference.text(false).lines().skip(1).collect::<Vec<_>>().join("\n").trim().to_owned() + "\n";
    let back = Difference::of(&after, &before);
    let mut wrong = Vec::new();
    let pairs = |difference: &Difference| -> usize {
        difference.access.iter().map(|change| change.callers.len() * change.operations.len()).sum()
    };
    if back.changes.len() != difference.changes.len() || pairs(&back) != pairs(&difference) {
        wrong.push(format!("the way back is another one: {}", back.text(false)));
    }
    (text, wrong)
}

#[test]
fn every_change_of_a_bundle_is_told() {
    run("changed", changes);
}
