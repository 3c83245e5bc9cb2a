//! The programs under test: built once for each test process, by the same cargo and with the same profile.
//!
//! Invariant: what runs is what the sources say now. Cargo is asked each time, which costs little when nothing changed,
//! and a stale binary is never picked up silently.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use palisade::dev::progress::Progress;
use palisade::dev::provision::{self, ProvisionError};

/// The one binary.
pub fn palisade() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let profile_dir = profile_dir();
        let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
            None | Some("debug") => "dev",
            Some(name) => name,
        };
        // The whole workspace chooses the features, as it does for the test run, so that nothing is built twice.
        cargo(&["build", "--quiet", "--workspace", "--bin", "palisade", "--profile", profile]);
        existing(profile_dir.join("palisade"))
    })
}

/// The filter, as `palisade dev` builds it.
pub fn filter() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| provisioned(provision::filter))
}

/// The filter that does what a test's script says (`filter/examples/probe.rs`).
pub fn probe() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        // This also sees to it that the wasm target is there.
        filter();
        let wasm = ["--target", "wasm32-wasip1", "--profile", "filter"];
        cargo(
            &[&["build", "--quiet", "-p", "palisade-filter", "--example", "probe"], wasm.as_slice()].concat(),
        );
        existing(target_dir().join("wasm32-wasip1/filter/examples/probe.wasm"))
    })
}

/// Envoy, as `palisade dev` finds or installs it.
pub fn envoy() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| provisioned(provision::envoy))
}

/// strace, which some proofs need. Where it is missing and the right to install is there, it is installed.
pub fn strace() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        on_path("strace").or_else(|| install_debian_package("strace")).unwrap_or_else(|| {
            panic!("strace is not installed and could not be; on Debian: apt-get install -y strace")
        })
    })
}

fn install_debian_package(name: &str) -> Option<PathBuf> {
    let apt_get = |arguments: &[&str]| {
        let done = Command::new("apt-get").args(arguments).status();
        done.is_ok_and(|status| status.success())
    };
    // Without the lists there is nothing to install from; a fresh image has none.
    let installed =
        apt_get(&["update", "-qq"]) && apt_get(&["install", "-y", "-qq", "--no-install-recommends", name]);
    installed.then(|| on_path(name)).flatten()
}

/// The directory of the workspace.
pub fn workspace_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests package stands in the workspace")
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// `target/<profile>`, from where the test executable stands: `target/<profile>/deps/<name>`.
fn profile_dir() -> PathBuf {
    let executable = std::env::current_exe().expect("the path of the test executable");
    executable.parent().and_then(Path::parent).expect("the test executable stands in deps").to_owned()
}

fn target_dir() -> PathBuf {
    profile_dir().parent().expect("a profile stands in the target directory").to_owned()
}

fn provisioned(part: impl FnOnce(&mut Progress) -> Result<PathBuf, ProvisionError>) -> PathBuf {
    match part(&mut Progress::human()) {
        Ok(path) => path,
        Err(error) => panic!("{error}"),
    }
}

fn cargo(args: &[&str]) {
    let status = cargo_command().args(args).status().expect("run cargo");
    assert!(status.success(), "cargo {} failed", args.join(" "));
}

/// The cargo that runs these tests, for this workspace and its target directory.
pub fn cargo_command() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace_dir()).env("CARGO_TARGET_DIR", target_dir());
    // What cargo set for this very test run must not reach the build within it.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

fn existing(path: PathBuf) -> PathBuf {
    assert!(path.is_file(), "`{}` was expected after the build", path.display());
    path
}
