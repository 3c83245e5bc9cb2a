//! What is said when everything is at work: for people a page, for programs one object.
//!
//! INVARIANT: the handoff secret is named by its file only; API keys and tokens of a run are shown, because they
//! are for use.

use std::collections::BTreeMap;
use std::process;

use serde_json::{Value, json};

use super::home::{Credentials, Home};
use super::issuers::{Issuers, TOKEN_LIVES_S};
use super::outline::Outline;
use super::stage::Addresses;
use super::tour::{Scene, quoted};
use crate::bundle::callers::{AUTHORIZATION, token_scheme};

#[derive(Debug)]
pub(super) struct Ready<'a> {
    pub(super) home: &'a Home,
    pub(super) addresses: &'a Addresses,
    pub(super) outline: &'a Outline,
    pub(super) credentials: &'a Credentials,
    pub(super) issuers: &'a Issuers,
    pub(super) server_pid: u32,
    pub(super) envoy_pid: u32,
    pub(super) scenes: &'a [Scene],
}

impl Ready<'_> {
    pub(super) fn object(&self) -> Value {
        let Ready { home, addresses, .. } = self;
        let examples: Vec<_> = self.scenes.iter().map(|scene| scene.object(addresses.listen)).collect();
        json!({
            "event": "ready",
            "listen": addresses.listen,
            "admin": addresses.admin,
            "envoy_admin": addresses.envoy_admin,
            "server": addresses.server,
            "services": addresses.services,
            "credentials": self.credentials.keys,
            "api_key_header": self.outline.api_key_header,
            "issuers": self.issuers.names().map(|name| (name, self.token_line(name))).collect::<BTreeMap<_, _>>(),
            "token_header": self.outline.token_header,
            "tokens_live_s": TOKEN_LIVES_S,
            "handoff_secret_file": home.secret_file(),
            "state": home.root(),
            "logs": {"server": home.log("server"), "envoy": home.log("envoy")},
            "pids": {"envoy": self.envoy_pid, "server": self.server_pid, "dev": process::id()},
            "examples": examples,
        })
    }

    /// The page for people; when a tour follows, it shows the requests and the page need not.
    pub(super) fn text(&self, tour_follows: bool) -> String {
        let Ready { home, addresses, .. } = self;
        let fate = if home.is_temporary() { " (removed at the end; `--state DIR` keeps one)" } else { "" };
        let mut rows = vec![
            ("listens on", format!("http://{}", addresses.listen)),
            ("server", format!("http://{}/readyz and /metrics", addresses.admin)),
            ("envoy", format!("http://{}", addresses.envoy_admin)),
        ];
        rows.extend(
            addresses
                .services
                .iter()
                .map(|(name, address)| (name.as_str(), format!("behind it on {address}"))),
        );
        rows.push(("credentials", home.credentials_file().display().to_string()));
        rows.push(("state", format!("{}{fate}", home.root().display())));

        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        let mut text = "ready\n".to_owned();
        for (name, value) in rows {
            text.push_str(&format!("  {name:width$}  {value}\n"));
        }
        if !tour_follows {
            for scene in self.scenes {
                let (expected, curl) = (scene.expected(), scene.curl(addresses.listen));
                text.push_str(&format!("\n# {expected}: {}\n{curl}\n", scene.shows));
            }
            text.push_str(&self.token_lines());
            text.push_str("\nCtrl-C ends all of it. Decisions as they are made:\n\n");
        }
        text
    }

    /// How to call as anybody whom an issuer of the bundle may vouch for.
    fn token_lines(&self) -> String {
        let header = self.outline.token_header.as_deref().unwrap_or(AUTHORIZATION);
        let scheme = token_scheme(header);
        let hours = TOKEN_LIVES_S / 3600;
        let lines = self.issuers.names().map(|issuer| {
            format!(
                "\n# a token of any person of `{issuer}`, to be shown as `{header}: {scheme}TOKEN`; all tokens here are good for \
                 {hours} h, and `--help` tells what else one may say\n{}\n",
                self.token_line(issuer)
            )
        });
        lines.collect()
    }

    /// A line for a shell that makes a token.
    fn token_line(&self, issuer: &str) -> String {
        let state = quoted(&self.home.root().display().to_string());
        format!("palisade dev token --state {state} --issuer {issuer} --subject alice")
    }
}
