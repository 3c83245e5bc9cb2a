//! What must be there before anything is measured: both wasm modules, an Envoy, the demo bundle.

use crate::Options;
use crate::arms::Bundled;
use crate::crowd::Crowd;
use crate::failure::Failure;
use crate::issuer::Issuer;
use crate::large;
use crate::service;
use palisade::bundle::Bundle;
use palisade::dev::progress::Progress;
use palisade::dev::{command, provision, workspace};
use serde::Deserialize;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Made once, used by every arm.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) envoy: PathBuf,
    pub(crate) filter: PathBuf,
    pub(crate) floor: PathBuf,
    pub(crate) baseline: Option<PathBuf>,
    pub(crate) bundle_directory: PathBuf,
    bundle: Bundle,
    /// The benches' own, and one of a thousand operations.
    own: Bundle,
    calm: Bundle,
    shedding: Bundle,
    large: Bundle,
    crowds: [Crowd; 3],
    /// Whose tokens the crowds believe.
    pub(crate) issuer: Issuer,
    /// The service behind the routes that lead to one.
    pub(crate) service: SocketAddr,
    /// This program, which is also the server of most arms.
    pub(crate) bench: PathBuf,
    pub(crate) state_in: Option<PathBuf>,
}

impl Setup {
    pub(crate) const fn bundle(&self, which: Bundled) -> &Bundle {
        match which {
            Bundled::Demo => &self.bundle,
            Bundled::Own => &self.own,
            Bundled::Calm => &self.calm,
            Bundled::Shedding => &self.shedding,
            Bundled::Large => &self.large,
            Bundled::Crowd10 => &self.crowds[0].bundle,
            Bundled::Crowd1k => &self.crowds[1].bundle,
            Bundled::Crowd10k => &self.crowds[2].bundle,
        }
    }

    /// Where a server reads it. Those without one serve no arm that has a server of ours.
    pub(crate) fn directory(&self, which: Bundled) -> &Path {
        match which {
            Bundled::Demo | Bundled::Own | Bundled::Calm | Bundled::Shedding | Bundled::Large => {
                &self.bundle_directory
            }
            Bundled::Crowd10 => self.crowds[0].directory.path(),
            Bundled::Crowd1k => self.crowds[1].directory.path(),
            Bundled::Crowd10k => self.crowds[2].directory.path(),
        }
    }
}

pub(crate) async fn prepare(options: &Options, progress: &mut Progress) -> Result<Setup, Failure> {
    let root = workspace::find()
        .ok_or_else(|| Failure::new("the benches need a checkout of Palisade: start them inside of one"))?;
    let filter = provision::filter(progress).map_err(Failure::because("no filter"))?;
    let floor = build_floor(&root, progress)?;
    let baseline = options.baseline.as_deref().map(provision::filter_at).transpose();
    let baseline = baseline.map_err(Failure::because("no filter to compare with"))?;
    let envoy = provision::envoy(progress).map_err(Failure::because("no Envoy"))?;
    let bundle_directory = root.join("policies");
    let bundle = Bundle::load(&bundle_directory).map_err(Failure::because("the demo bundle is refused"))?;
    let own = Bundle::load(&root.join("benches/bundle"))
        .map_err(Failure::because("the benches' bundle is refused"))?;
    let calm = demo_without(&bundle_directory, "\nshedding:\n")?;
    let shedding = demo_without(&bundle_directory, "\nlimits:\n")?;
    let large = large::load()?;
    let issuer = Issuer::new()?;
    let crowds = [Crowd::make(10, &issuer)?, Crowd::make(1_000, &issuer)?, Crowd::make(10_000, &issuer)?];
    let service = service::start().await?;
    let bench = std::env::current_exe().map_err(Failure::because("this program cannot be found again"))?;
    if cfg!(debug_assertions) {
        progress.note("this is a debug build: the servers' numbers mean nothing; run with `--release`");
    }
    let state_in = options.state_in.clone();
    Ok(Setup {
        envoy,
        filter,
        floor,
        baseline,
        bundle_directory,
        bundle,
        own,
        calm,
        shedding,
        large,
        crowds,
        issuer,
        service,
        bench,
        state_in,
    })
}

/// The demo bundle without its rules on load, from the mark on: they stand between it and the operations.
fn demo_without(demo: &Path, mark: &str) -> Result<Bundle, Failure> {
    const SERVICE: &str = "services/orders/service.yaml";
    let home = tempfile::tempdir().map_err(Failure::because("no place for a bundle"))?;
    let settings = copy(demo, home.path()).and_then(|()| fs::read_to_string(demo.join(SERVICE)));
    let settings = settings.map_err(Failure::because("the demo bundle cannot be copied"))?;
    let cut = settings.split_once(mark).and_then(|(before, rest)| {
        let (_, operations) = rest.split_once("\noperations:\n")?;
        Some(format!("{before}\noperations:\n{operations}"))
    });
    let cut = cut.ok_or_else(|| {
        Failure::new(format!("`{SERVICE}` of the demo has no `{mark}` before its operations"))
    })?;
    fs::write(home.path().join(SERVICE), cut)
        .map_err(Failure::because("the demo bundle cannot be changed"))?;
    Bundle::load(home.path()).map_err(Failure::because("the demo bundle with other rules on load is refused"))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Built as the filter is, so that only what it does differs.
fn build_floor(root: &Path, progress: &mut Progress) -> Result<PathBuf, Failure> {
    let mut step = progress.step("build the floor filter");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "-p", "palisade-filter", "--example", "floor", "--target", "wasm32-wasip1"])
        .args(["--profile", "filter", "--message-format", "json-render-diagnostics"])
        .current_dir(root);
    let messages =
        command::run(&mut step, cargo).map_err(Failure::because("the floor filter does not build"))?;
    let module = messages.iter().rev().find_map(|line| floor_of(line));
    let module = module.ok_or_else(|| Failure::new("cargo built the floor filter but named no module"))?;
    step.done(&format!("`{}`", module.display()));
    Ok(module)
}

fn floor_of(message: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        filenames: Vec<PathBuf>,
    }
    let message: Message = serde_json::from_str(message).ok()?;
    message.filenames.into_iter().find(|path| path.ends_with("examples/floor.wasm"))
}
