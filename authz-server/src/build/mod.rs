//! Generates everything that Envoy reads, from a checked bundle and the wiring of one place.
//!
//! `wiring` says what a bundle cannot know (addresses, files) → `bootstrap`, `listener`, `routes`, `filters`, `clusters`
//! and, for the shape of a sidecar, `istio` each make one part; `limiter` asks who counts for all proxies, and
//! `limits_files` is what that one reads → `rendered` writes it, and takes parts out for drills.
//! `kubernetes` makes the objects of a cluster, and `alerts` what Prometheus is to watch.
//! INVARIANT: the same bundle and wiring give the same bytes, and no setting about trust comes from a default.

mod alerts;
mod bodies;
mod bootstrap;
mod clusters;
mod error;
mod fails_open;
mod filters;
mod istio;
pub mod kubernetes;
mod limiter;
mod limits_files;
mod listener;
mod rendered;
mod routes;
mod settings;

#[cfg(test)]
mod tests;
mod wiring;
mod yaml;

pub use alerts::ALERTS_FILE;
pub(crate) use alerts::INDEX_BEHIND_ENTRIES_MAX;
pub use error::{BuildError, WiringProblem};
pub use fails_open::pair as closed_and_open;
pub(crate) use fails_open::settings_mut;
pub use filters::{CALL_ID_STATE, EXT_AUTHZ_FILTER, PALISADE_FILTER, SECRET_VARIABLE};
pub use rendered::{BOOTSTRAP_FILE, CONTRACT_FILE, EXTENSION_FILE, File, Rendered};
pub(crate) use settings::{CALL_LASTS_MAX, CHECK_TIMEOUT_MS};
pub use wiring::{
    Address, AddressError, MutualTls, Server, ServerLink, Target, Upstream, UpstreamProtocol, Wiring,
};

use crate::bundle::Bundle;

/// Renders a bundle for one place.
pub fn render(bundle: &Bundle, wiring: &Wiring) -> Result<Rendered, BuildError> {
    let mut problems = wiring.check(&bundle.contract);
    if wiring.target == Target::Sidecar {
        problems.extend(istio::stream_problems(&bundle.contract));
        let services = bundle.contract.services();
        problems.extend(services.iter().flat_map(istio::response_problems));
        problems.extend(services.iter().find_map(istio::fail_mode_problem));
    }
    problems.extend(limiter::problems(bundle, wiring.target));
    if !problems.is_empty() {
        return Err(BuildError::Wiring(problems));
    }
    let contract = bundle.contract.encode()?;
    let extension = match wiring.target {
        Target::Envoy => None,
        Target::Sidecar => Some(istio::extension(bundle, wiring)?),
    };
    let bootstrap = bootstrap::bootstrap(bundle, wiring, &contract);
    let limits = limits_files::files(bundle)?;
    Ok(Rendered { target: wiring.target, digest: bundle.digest, bootstrap, extension, contract, limits })
}

/// A message of Envoy's in the place of any message: its type goes first.
fn typed(message: &str, mut value: serde_json::Value) -> serde_json::Value {
    let mut typed = serde_json::Map::new();
    typed.insert("@type".to_owned(), format!("type.googleapis.com/{message}").into());
    if let Some(fields) = value.as_object_mut() {
        typed.append(fields);
    }
    typed.into()
}
