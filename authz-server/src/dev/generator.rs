//! Envoy's configuration, from the command that makes it in production, for an Envoy that goes on running.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Options;
use super::drill;
use super::error::DevError;
use super::generated::{self, Generated};
use super::home::Home;
use super::stage::Addresses;
use crate::build::{BOOTSTRAP_FILE, EXTENSION_FILE};

#[derive(Debug, Clone)]
pub(super) struct Generator<'a> {
    pub(super) palisade: PathBuf,
    pub(super) options: &'a Options,
    pub(super) home: &'a Home,
    pub(super) filter: &'a Path,
}

impl Generator<'_> {
    /// `palisade build` for this bundle.
    pub(super) fn command(&self, bundle: &Path, addresses: &Addresses) -> Command {
        let Addresses { listen, server, envoy_admin, services, .. } = addresses;
        let mut build = Command::new(&self.palisade);
        build.arg("build").arg(bundle).args(["--target", self.options.target]);
        build.arg("--out").arg(self.home.generated()).arg("--filter").arg(self.filter);
        build.arg("--listen").arg(listen.to_string());
        build.arg("--envoy-admin").arg(envoy_admin.to_string());
        build.arg("--server").arg(server.to_string());
        for (service, address) in services {
            build.arg("--upstream").arg(format!("{service}={address}"));
        }
        build
    }

    /// What the command wrote, without what the drill goes without.
    pub(super) fn read(&self) -> Result<Generated, DevError> {
        let directory = self.home.generated();
        let bootstrap = directory.join(BOOTSTRAP_FILE);
        if let Some(without) = self.options.without {
            drill::rewrite(&bootstrap, without)?;
        }
        let extension = directory.join(EXTENSION_FILE);
        let extension = if extension.is_file() { Some(generated::read(&extension)?) } else { None };
        Ok(Generated::spread(generated::read(&bootstrap)?, extension, &self.home.watched())?)
    }
}
