//! What must be there before anything is measured: the filter, an Envoy, certificates, the laboratory's bundle.
//!
//! INVARIANT: the bundle is the checked-in one; what an arm changes of it is a line in a copy.

use crate::failure::Failure;
use crate::identities::{Identities, caller_name, workload};
use crate::plan::{Arm, CALLERS, Guard};
use palisade::bundle::Bundle;
use palisade::dev::progress::Progress;
use palisade::dev::{provision, workspace};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Made once, used by every run.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) root: PathBuf,
    pub(crate) envoy: PathBuf,
    pub(crate) filter: PathBuf,
    pub(crate) identities: Identities,
    /// This program, which is also the server.
    pub(crate) this: PathBuf,
    plain: Loaded,
    /// `None`: no arm of this run sheds.
    shedding: Option<Loaded>,
    _directory: TempDir,
}

/// A bundle that was loaded, and where the server reads it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) directory: PathBuf,
    pub(crate) bundle: Bundle,
}

impl Setup {
    pub(crate) fn prepare(arms: &[&Arm], progress: &mut Progress) -> Result<Setup, Failure> {
        let root = workspace::find().ok_or_else(|| {
            Failure::new("the laboratory needs a checkout of Palisade: start it inside of one")
        })?;
        let filter = provision::filter(progress).map_err(Failure::because("no filter"))?;
        let envoy = provision::envoy(progress).map_err(Failure::because("no Envoy"))?;
        let directory = tempfile::tempdir().map_err(Failure::because("no place for certificates"))?;
        let identities = Identities::issue(directory.path(), CALLERS)?;
        let source = root.join("benches/storm/bundle");
        let plain = copy(&source, &directory.path().join("plain"), "")?;
        let sheds = arms.iter().any(|arm| arm.guard == Guard::Palisade { sheds: true });
        let shedding =
            sheds.then(|| copy(&source, &directory.path().join("shedding"), SHEDDING)).transpose()?;
        let this = std::env::current_exe().map_err(Failure::because("this program cannot be found again"))?;
        Ok(Setup { root, envoy, filter, identities, this, plain, shedding, _directory: directory })
    }

    /// What guards this arm; arms without a filter of ours have its listener and routes.
    pub(crate) fn bundle(&self, arm: &Arm) -> Result<&Loaded, Failure> {
        match arm.guard {
            Guard::Palisade { sheds: true } => {
                self.shedding.as_ref().ok_or_else(|| Failure::new("no bundle that sheds was prepared"))
            }
            _ => Ok(&self.plain),
        }
    }
}

/// What the laboratory adds to the service of arms that shed.
const SHEDDING: &str = "\
shedding: {mode: enforce}
operations:
  critical: {priority: critical}
  sheddable: {priority: sheddable}
";

/// `more` is added to what is said of the service.
fn copy(source: &Path, to: &Path, more: &str) -> Result<Loaded, Failure> {
    let cannot = || Failure::because(format!("the bundle `{}` cannot be copied", source.display()));
    let file = |path: &str| -> std::io::Result<()> {
        let mut text = fs::read_to_string(source.join(path))?;
        if path.ends_with("service.yaml") {
            text.push_str(more);
        }
        let path = to.join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, text)
    };
    for path in ["palisade.yaml", "all.cedar", "services/pool/openapi.yaml", "services/pool/service.yaml"] {
        file(path).map_err(cannot())?;
    }
    let mut callers = String::from("workloads:\n");
    for caller in 0..CALLERS {
        // Writing into a string cannot fail.
        let _written = writeln!(callers, "  \"{}\": {{}}", workload(&caller_name(caller)));
    }
    fs::create_dir_all(to.join("entities")).map_err(cannot())?;
    fs::write(to.join("entities/callers.yaml"), callers).map_err(cannot())?;
    let bundle = Bundle::load(to).map_err(Failure::because("the laboratory's bundle is refused"))?;
    Ok(Loaded { directory: to.to_path_buf(), bundle })
}
