//! `palisade build`: writes what Envoy reads, or what Kubernetes and Istio read.

mod cluster;
mod proxy;

use crate::build::kubernetes;
use crate::build::{self, Target};
use crate::bundle::Bundle;
use cluster::ClusterArgs;
use proxy::ProxyArgs;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write the configuration of a proxy or of a cluster, from a bundle and where things are.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle's directory
    #[arg(value_name = "DIR")]
    bundle: PathBuf,

    /// What to write it for
    #[arg(long, value_enum)]
    target: TargetName,

    /// Where to write; made if it is not there
    #[arg(long, value_name = "OUT")]
    out: PathBuf,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    proxy: Box<ProxyArgs>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TargetName {
    /// An Envoy of its own
    Envoy,
    /// One Envoy in the shape that Istio gives to a sidecar, to be tried without a cluster
    Sidecar,
    /// The objects of a cluster
    Istio,
}

/// What was done.
#[derive(Debug)]
struct Done {
    bundle: String,
    written: Vec<PathBuf>,
    removed: Vec<PathBuf>,
}

pub fn run(args: Args) -> ExitCode {
    let as_json = args.json;
    match run_target(args) {
        Ok(done) => {
            report(&done, as_json);
            ExitCode::SUCCESS
        }
        Err(message) if as_json => {
            println!("{}", json!({ "error": message }));
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run_target(args: Args) -> Result<Done, String> {
    let Args { bundle: directory, target, out, json: _, proxy, cluster } = args;
    // Wrong flags and a wrong bundle are found at once, and flags first: they cost nothing to mend.
    let load = || Bundle::load(&directory).map_err(|problems| problems.to_string());
    let proxy_target = match target {
        TargetName::Envoy => Target::Envoy,
        TargetName::Sidecar => Target::Sidecar,
        TargetName::Istio => {
            let settings = belongs(&proxy.given(), "istio", cluster.settings())?;
            let bundle = load()?;
            let files = bundle.files(&directory).map_err(|problems| problems.to_string())?;
            let manifests =
                kubernetes::render(&bundle, &files, &settings).map_err(|error| error.to_string())?;
            let kubernetes::Written { written, removed } =
                kubernetes::write(&manifests, &out).map_err(|error| error.to_string())?;
            return Ok(Done { bundle: manifests.digest.to_string(), written, removed });
        }
    };
    let name = if target == TargetName::Envoy { "envoy" } else { "sidecar" };
    let wiring = belongs(&cluster.given(), name, proxy.wiring(proxy_target, &out))?;
    let rendered = build::render(&load()?, &wiring).map_err(|error| error.to_string())?;
    let written = rendered.write(&wiring.out).map_err(|error| error.to_string())?;
    Ok(Done { bundle: rendered.digest.to_string(), written, removed: Vec::new() })
}

/// Refuses flags of another target, together with what is wrong with those of this one.
fn belongs<T>(foreign: &[&str], target: &str, flags: Result<T, String>) -> Result<T, String> {
    let mut problems: Vec<String> = foreign
        .iter()
        .map(|flag| format!("`{flag}` says nothing to `--target {target}`: leave it out"))
        .collect();
    match flags {
        Ok(flags) if problems.is_empty() => Ok(flags),
        Ok(_) => Err(join(&problems)),
        Err(more) => {
            problems.push(more);
            Err(join(&problems))
        }
    }
}

fn join(problems: &[String]) -> String {
    problems.join("\n")
}

fn report(done: &Done, as_json: bool) {
    let shown =
        |paths: &[PathBuf]| -> Vec<String> { paths.iter().map(|path| path.display().to_string()).collect() };
    let (written, removed) = (shown(&done.written), shown(&done.removed));
    if as_json {
        println!("{}", json!({ "bundle": done.bundle, "files": written, "removed": removed }));
        return;
    }
    println!("bundle {}", done.bundle);
    for path in written {
        println!("wrote {path}");
    }
    for path in removed {
        println!("removed {path}");
    }
}

#[cfg(test)]
mod tests;
