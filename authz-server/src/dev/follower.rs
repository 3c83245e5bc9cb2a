//! Follows the bundle while everything runs: when the server has a new one, Envoy gets the filter that belongs to it.
//!
//! The server watches the files and swaps first, because it honours filters that lag. What it took it has kept by its
//! digest, and from exactly those files the configuration is generated, so that filter and server can never be made of
//! different saves. Whether the filter has it is asked of the filter: requests to the canary, on connections of their
//! own, until the server has recorded for a row of them that they came with a handoff of its own bundle.
//!
//! INVARIANT: "in force" is said only after that; whatever fails on the way is said, and the run goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use palisade_core::canary::{HOST, PATH};
use palisade_core::contract::BundleDigest;
use palisade_core::reason::Reason;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use super::changes::Changes;
use super::children::{tail_of, until};
use super::demo;
use super::error::DevError;
use super::generated::Generated;
use super::generator::Generator;
use super::home::{Credentials, Home};
use super::http::{self, Request};
use super::issuers::Issuers;
use super::outline::Outline;
use super::stage::{Addresses, start_service};
use crate::ledger::{Decision, Entry, Follow};
use crate::serve::service::now_ms;
use crate::state::Bundles;

/// The server answers earlier, with or without news.
const NEWS: Duration = Duration::from_secs(60);

/// A server that does not answer is about to end, which others notice; until then it is not asked in a circle.
const AGAIN: Duration = Duration::from_millis(500);

/// How long Envoy may take to give a new configuration to all its workers.
const FILTER_CHANGED: Duration = Duration::from_secs(15);

/// Canaries in a row that must have come from the new filter. Each is a new connection, which the kernel gives to one of
/// the two workers: that all went to the same one happens once in thousands of times.
const IN_A_ROW: usize = 12;

const EXCHANGE: Duration = Duration::from_secs(2);

/// Something that happened while everything runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    pub(super) text: String,
    pub(super) object: Value,
}

/// What the server says of its bundle.
#[derive(Debug, Deserialize)]
struct Told {
    attempts: u64,
    digest: String,
    last_attempt: LastAttempt,
}

#[derive(Debug, Deserialize)]
struct LastAttempt {
    result: String,
    noticed_at_ms: u64,
    at_ms: u64,
    problems: Vec<Value>,
}

#[derive(Debug)]
pub(super) struct Follower<'a> {
    pub(super) generator: Generator<'a>,
    pub(super) home: &'a Home,
    pub(super) addresses: Addresses,
    /// Those that this run answers for itself; they end when they are dropped.
    pub(super) services: BTreeMap<String, demo::Service>,
    pub(super) credentials: Credentials,
    pub(super) issuers: Issuers,
    pub(super) generated: Generated,
    /// The bundle that Envoy was given last.
    pub(super) given: BundleDigest,
    /// The bundle that the filter was seen to work with last.
    pub(super) seen: BundleDigest,
}

/// What canaries showed of a filter that was given another bundle.
enum Shown {
    InForce,
    /// The server has gone on to yet another one, which is followed next.
    Overtaken,
    Late,
}

impl Follower<'_> {
    /// Tells of every change, and of every one that failed. Never returns.
    pub(super) async fn follow(&mut self, notices: &Sender<Notice>) {
        // The start was the first attempt.
        let mut attempts = 1;
        loop {
            let request = Request::get("localhost", &format!("/bundle?after={attempts}"));
            let told = http::exchange_json(self.addresses.admin, &request, NEWS).await.ok();
            match told.and_then(|told| serde_json::from_value::<Told>(told).ok()) {
                Some(told) if told.attempts > attempts => {
                    attempts = told.attempts;
                    for notice in self.heed(&told).await {
                        // Whoever would read it is gone only at the end.
                        let _told = notices.send(notice).await;
                    }
                }
                Some(_) => {}
                None => sleep(AGAIN).await,
            }
        }
    }

    async fn heed(&mut self, told: &Told) -> Vec<Notice> {
        let mut notices = Vec::new();
        if !told.last_attempt.problems.is_empty() {
            notices.push(refused(told));
        }
        // Something may be wrong with the keys, and the bundle be a new one all the same.
        match BundleDigest::parse(&told.digest) {
            Some(digest) if digest != self.given => {
                let changed = self.change_to(digest, &told.last_attempt).await;
                notices.extend(changed.unwrap_or_else(|error| Some(self.filter_stays(digest, &error))));
            }
            Some(_) if told.last_attempt.result == "unchanged" => notices.push(back(told)),
            Some(_) | None => {}
        }
        notices
    }

    async fn change_to(
        &mut self,
        digest: BundleDigest,
        attempt: &LastAttempt,
    ) -> Result<Option<Notice>, DevError> {
        let bundles = Bundles::of(self.home.root());
        let old = bundles.find(self.seen).ok();
        let kept = bundles.find(digest).map_err(DevError::Kept)?;
        let outline = Outline::read(&kept)?;
        let started = self.start_services(&outline).await?;
        let issued = self
            .credentials
            .issue(self.home, &outline.clients)
            .map_err(DevError::io("the run's credentials cannot be written"))?;
        let without_keys = self.issuers.follow(self.home, &outline)?;
        self.build(&kept).await?;
        let generated = self.generator.read()?;
        let version = digest.to_string();
        let written = generated.write_changes(&self.generated, &self.home.watched(), &version)?;
        (self.generated, self.given) = (generated, digest);
        match self.prove(&version).await? {
            Shown::InForce => {}
            Shown::Overtaken => return Ok(None),
            Shown::Late => return Err(DevError::FilterStays { tail: tail_of(&self.home.log("envoy")) }),
        }
        self.seen = digest;
        // Only now does no route lead there any more.
        self.services.retain(|name, _| outline.services.contains(name));

        let changes = old.map(|old| Changes::between(&old, &kept)).unwrap_or_default();
        let (server_ms, took_ms) = (
            attempt.at_ms.saturating_sub(attempt.noticed_at_ms),
            now_ms().saturating_sub(attempt.noticed_at_ms),
        );
        let mut text = format!(
            "✓ reloaded in {took_ms} ms (server {server_ms} ms): {changes}; server and filter work with {}\n",
            short(&version)
        );
        for (name, address) in &started {
            text.push_str(&format!("    a stand-in answers for `{name}` on {address}\n"));
        }
        for (client, key) in &issued {
            text.push_str(&format!("    a key for `{client}`: {key}\n"));
        }
        for issuer in &without_keys {
            text.push_str(&format!(
                "    issuer `{issuer}` is new: the server takes its keys from where the bundle says; start `palisade dev` \
                 again to make tokens of it\n"
            ));
        }
        let object = json!({
            "event": "reload", "result": "in_force", "digest": version, "took_ms": took_ms, "server_ms": server_ms,
            "changes": changes.object(), "given_to_envoy": written, "services_started": started,
            "credentials": issued, "issuers_without_keys_of_ours": without_keys,
        });
        Ok(Some(Notice { text, object }))
    }

    /// Starts what the bundle has and nobody runs, and settles what Envoy is told of all services.
    async fn start_services(&mut self, outline: &Outline) -> Result<BTreeMap<String, String>, DevError> {
        let mut addresses = BTreeMap::new();
        let mut started = BTreeMap::new();
        for name in &outline.services {
            if let Some(address) = self.generator.options.upstreams.get(name) {
                addresses.insert(name.clone(), address.clone());
                continue;
            }
            if !self.services.contains_key(name) {
                let service = start_service(name, outline).await?;
                started.insert(name.clone(), service.address.to_string());
                self.services.insert(name.clone(), service);
            }
            if let Some(service) = self.services.get(name) {
                addresses.insert(name.clone(), outline.upstream(name, service.address));
            }
        }
        self.addresses.services = addresses;
        Ok(started)
    }

    async fn build(&self, kept: &Path) -> Result<(), DevError> {
        let mut command = tokio::process::Command::from(self.generator.command(kept, &self.addresses));
        // Ctrl-C in a terminal is for us, and we decide what ends.
        command.process_group(0).kill_on_drop(true).stdin(Stdio::null());
        let output = command.output().await.map_err(DevError::io("`palisade build` could not be started"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(DevError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Waits until the filter works with this bundle, which the server must have taken before.
    async fn prove(&self, digest: &str) -> Result<Shown, DevError> {
        let mut ledger = Follow::from_end(&self.home.ledger()).map_err(DevError::Ledger)?;
        let mut request = Request::get(HOST, PATH);
        request.headers.push(("x-request-id".to_owned(), self.home.probe_id().to_owned()));
        let mut shown = Shown::Late;
        let is_over = async || {
            for _ in 0..IN_A_ROW {
                let reply = http::exchange(self.addresses.listen, &request, EXCHANGE).await;
                let id = match reply {
                    Ok(reply) if reply.reason.as_deref() == Some(Reason::Canary.code()) => reply.decision_id,
                    Ok(_) | Err(_) => None,
                };
                let Some(decision) = id.and_then(|id| decision(&mut ledger, &id)) else { return false };
                if decision.bundle_digest != digest {
                    shown = Shown::Overtaken;
                    return true;
                }
                // A handoff of another bundle says so; whichever secret it has, this one is of the server's own.
                if !["current", "previous_secret"].contains(&decision.handoff.as_str()) {
                    return false;
                }
            }
            shown = Shown::InForce;
            true
        };
        until(FILTER_CHANGED, is_over).await;
        Ok(shown)
    }

    fn filter_stays(&self, digest: BundleDigest, error: &DevError) -> Notice {
        let (server, filter) = (digest.to_string(), self.seen.to_string());
        let text = format!(
            "✗ the server works with {}, the filter stays with {}: {error}\n",
            short(&server),
            short(&filter)
        );
        let object = json!({"event": "reload", "result": "filter_stays", "digest": server,
            "filter": filter, "message": error.to_string()});
        Notice { text, object }
    }
}

/// The decision of that id, which was recorded before it was answered.
fn decision(ledger: &mut Follow, id: &str) -> Option<Decision> {
    loop {
        let entries = ledger.poll().ok().filter(|entries| !entries.is_empty())?;
        let found = entries.into_iter().find_map(|recorded| match recorded.entry {
            Entry::Decision(decision) if decision.decision_id == id => Some(decision),
            Entry::Decision(_)
            | Entry::Outcome(_)
            | Entry::Refusal(_)
            | Entry::Admin(_)
            | Entry::Drift(_)
            | Entry::Judged(_)
            | Entry::Shed(_)
            | Entry::Load(_) => None,
        });
        if found.is_some() {
            return found;
        }
    }
}

fn refused(told: &Told) -> Notice {
    let LastAttempt { result, problems, .. } = &told.last_attempt;
    let mut text = format!("✗ not reloaded ({result}); {} stays in force:\n", short(&told.digest));
    for problem in problems {
        let part = |name: &str| problem.get(name).and_then(Value::as_str);
        let place = part("place").map(|place| format!("{place}: ")).unwrap_or_default();
        text.push_str(&format!("    {place}{}\n", part("message").unwrap_or_default()));
        if let Some(help) = part("help") {
            text.push_str(&format!("        help: {help}\n"));
        }
    }
    let object = json!({"event": "reload", "result": result, "digest": told.digest, "problems": problems});
    Notice { text, object }
}

fn back(told: &Told) -> Notice {
    let text = format!("✓ the files are again what is in force: {}\n", short(&told.digest));
    Notice { text, object: json!({"event": "reload", "result": "unchanged", "digest": told.digest}) }
}

/// As much of a digest as a person compares.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(problems: Value) -> Told {
        let digest = "ab".repeat(32);
        let attempt = json!({"result": "refused", "noticed_at_ms": 1, "at_ms": 2, "problems": problems});
        serde_json::from_value(json!({"attempts": 2, "digest": digest, "last_attempt": attempt})).unwrap()
    }

    #[test]
    fn a_refusal_is_told_with_its_place_and_what_helps() {
        let notice = refused(&told(json!([
            {"source": "bundle", "place": "a.yaml:2:1", "message": "unknown key", "help": "remove it"},
            {"source": "api_keys", "place": null, "message": "no keys", "help": null},
        ])));
        assert_eq!(
            notice.text,
            "✗ not reloaded (refused); abababababab stays in force:\n    a.yaml:2:1: unknown key\n        \
             help: remove it\n    no keys\n"
        );
        assert_eq!(notice.object["problems"].as_array().unwrap().len(), 2);
    }
}
