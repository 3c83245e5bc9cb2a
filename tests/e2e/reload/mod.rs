//! Live reload, shown from outside: what is swapped in, what is not, what is told of it, and what callers notice.

mod changes;
mod credentials;
mod dev;
mod faults;
mod skew;
mod storm;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade::bundle::Bundle;
use palisade::ledger::{Admin, AdminEvent, Entry};
use serde_json::Value;
use tempfile::TempDir;
use tests::binaries::workspace_dir;
use tests::deadline::eventually;
use tests::raw_client::{self, Reply};
use tests::rig::{BundleUnderTest, Options, Rig, Target, admin};

use crate::handoff::copy_dir;

/// Long beyond the second in which a change must show, for a machine that has other things to do.
const SHOWN: Duration = Duration::from_secs(20);

/// A rig whose bundle is a copy that may be changed.
struct Live {
    rig: Rig,
    home: TempDir,
}

impl Live {
    fn start() -> Self {
        Self::start_with(Options::default())
    }

    fn start_with(options: Options) -> Self {
        let home = tempfile::tempdir().expect("make a directory");
        let bundle = home.path().join("bundle");
        copy_dir(&workspace_dir().join("policies"), &bundle);
        // Its own tests would notice every policy that these tests take away.
        fs::remove_dir_all(bundle.join("tests")).expect("remove the bundle's tests");
        let rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options.bundle_dir(&bundle));
        Self { rig, home }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn bundle_dir(&self) -> PathBuf {
        self.at("bundle")
    }

    /// What the administration port says of the bundle.
    fn told(&self) -> Value {
        told(&self.rig)
    }

    fn digest_in_force(&self) -> String {
        digest_in_force(&self.rig)
    }

    /// Waits until the directory's bundle is in force, and nothing is wrong any more.
    #[track_caller]
    fn wait_until_in_force(&self) {
        let expected = digest(&self.bundle_dir());
        eventually("the bundle is in force", SHOWN, || {
            let told = self.told();
            (told["digest"] == *expected && told["degraded"] == false).then_some(())
        });
    }

    /// Waits until the last attempt was refused for something that contains `part`.
    #[track_caller]
    fn wait_until_refused(&self, part: &str) -> Value {
        eventually(&format!("`{part}` is told"), SHOWN, || {
            let attempt = self.told()["last_attempt"].take();
            let is_told = |problem: &Value| {
                format!("{}: {}", text(problem, "place"), text(problem, "message")).contains(part)
            };
            let told = attempt["problems"].as_array()?.iter().any(is_told);
            told.then_some(attempt)
        })
    }

    fn entries(&self, event: AdminEvent) -> Vec<Admin> {
        admin_entries(&self.rig, event)
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn told(rig: &Rig) -> Value {
    admin(rig.server_admin(), "/bundle").and_then(|reply| reply.json()).unwrap_or_default()
}

fn digest_in_force(rig: &Rig) -> String {
    text(&told(rig), "digest")
}

/// The digest of a bundle that is a good one.
#[track_caller]
fn digest(directory: &Path) -> String {
    match Bundle::load(directory) {
        Ok(bundle) => bundle.digest.to_string(),
        Err(problems) => panic!("{problems}"),
    }
}

/// `POST /reload`.
#[track_caller]
fn order(rig: &Rig) -> Reply {
    let request = "POST /reload HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    raw_client::send(rig.server_admin(), request).expect_reply()
}

fn admin_entries(rig: &Rig, event: AdminEvent) -> Vec<Admin> {
    let wanted = |entry| match entry {
        Entry::Admin(admin) if admin.event == event => Some(admin),
        Entry::Admin(_)
        | Entry::Refusal(_)
        | Entry::Decision(_)
        | Entry::Outcome(_)
        | Entry::Drift(_)
        | Entry::Judged(_)
        | Entry::Shed(_)
        | Entry::Load(_) => None,
    };
    rig.ledger_entries().into_iter().filter_map(wanted).collect()
}

/// One number of the metrics; the name as it stands in them, labels included.
fn metric(rig: &Rig, name: &str) -> Option<f64> {
    let metrics = rig.server_metrics();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.parse().ok()
}

/// Writes as an editor does: beside, and renamed into place.
fn save(path: &Path, text: &str) {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a file's name");
    let beside = path.with_file_name(format!(".{name}.new"));
    fs::write(&beside, text).expect("write a file");
    fs::rename(&beside, path).expect("rename a file");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("read a file")
}
