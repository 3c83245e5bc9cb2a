//! Who calls, looked up: a client or workload that the bundle has, or a stranger whom it must not have.

use super::checked::Checking;
use super::format::{CallerRules, ProvenCaller};
use super::{Caller, CaseUser};
use crate::bundle::callers::Claims;
use crate::bundle::problem::Problem;
use crate::bundle::record::Placed;
use crate::bundle::yaml::{Node, Value};
use crate::identity::{ClaimValue, SpiffeError, SpiffeId, User};
use std::collections::BTreeMap;

impl Checking<'_, '_> {
    pub(super) fn caller(&mut self, case: &Placed<String>, rules: &CallerRules) -> Option<Caller> {
        let Placed { value: proven, at } = match rules {
            CallerRules::Anonymous => return Some(Caller::Anonymous),
            CallerRules::Proven(proven) => proven.as_ref(),
        };
        let ProvenCaller { client, workload, stranger, user, groups, roles, attributes, scopes, through } =
            proven;
        if client.is_none() && user.is_none() {
            let of_both =
                [("through", through.as_ref().map(|at| at.at)), ("scopes", scopes.as_ref().map(|at| at.at))];
            for (what, at) in of_both {
                let Some(at) = at else { continue };
                let help = "only a client's API key and a user's token travel over somebody else's connection, and say what they are good for";
                self.reader.wrong(at, format!("`{what}` without `client` or `user`"), help);
                return None;
            }
        }
        if user.is_none() {
            let of_users = [
                ("groups", groups.as_ref().map(|at| at.at)),
                ("roles", roles.as_ref().map(|at| at.at)),
                ("attributes", attributes.as_ref().map(|at| at.at)),
            ];
            for (what, at) in of_users {
                let Some(at) = at else { continue };
                self.reader.wrong(at, format!("`{what}` without `user`"), "only a token says such things");
                return None;
            }
        }
        let through = match through {
            Some(workload) => Some(self.spiffe_id(workload)?),
            None => None,
        };
        let scopes = scopes.as_ref().map(|scopes| scopes.value.iter().cloned().collect());
        match (client, workload, user, stranger) {
            (Some(client), None, None, None) => {
                self.client(client).map(|name| Caller::Client { name, scopes, through })
            }
            (None, Some(workload), None, None) => self.workload(workload),
            (None, None, Some(user), None) => {
                let user = self.user(user, proven)?;
                Some(Caller::User(Box::new(CaseUser { user, scopes, through })))
            }
            (None, None, None, Some(stranger)) => self.stranger(stranger),
            _ => {
                let message = format!("a caller of case `{}` is not one caller", case.value);
                let help =
                    "name exactly one of `client`, `workload`, `user` and `stranger`, or write `anonymous`";
                self.reader.wrong(*at, message, help);
                None
            }
        }
    }

    fn client(&mut self, client: &Placed<String>) -> Option<String> {
        if self.known.palisade.identity.api_keys.is_none() {
            let help = "configure `identity.api_keys` in `palisade.yaml`";
            self.reader.wrong(client.at, "no client can prove itself: the bundle reads no API keys", help);
            return None;
        }
        let clients = &self.known.entities.clients;
        self.declared(client, clients.contains_key(&client.value), "client", clients.keys())
    }

    fn user(&mut self, user: &Placed<String>, proven: &ProvenCaller) -> Option<User> {
        let identity = &self.known.palisade.identity;
        if let Some(wrong) = identity.no_user(&user.value) {
            let problem =
                Problem::new(self.reader.place(user.at), format!("user `{}`: {}", user.value, wrong.why));
            self.reader.push(problem.suggest(wrong.found, identity.issuers()).help(wrong.help));
            return None;
        }
        let (issuer, subject) = user.value.split_once('/')?;
        let Some(claims) = identity.claims_of(issuer) else {
            let message =
                format!("the tokens of `{issuer}` are opaque: only its own server could vouch for them");
            self.reader.wrong(user.at, message, "try a user of an issuer under `identity.jwt`");
            return None;
        };
        let told = [
            (&proven.groups, claims.groups.is_some(), "groups"),
            (&proven.roles, claims.roles.is_some(), "roles"),
        ];
        for (said, is_told, what) in told {
            if let (Some(said), false) = (said, is_told) {
                let message = format!("nothing of a token of `{issuer}` is read as {what}");
                let help = format!("name the claim in `identity.jwt.{issuer}.claims.{what}`");
                self.reader.wrong(said.at, message, help);
                return None;
            }
        }
        let names = |said: &Option<Placed<Vec<String>>>| {
            said.iter().flat_map(|said| said.value.iter().cloned()).collect()
        };
        Some(User {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            groups: names(&proven.groups),
            roles: names(&proven.roles),
            attributes: self.attributes(issuer, claims, proven)?,
        })
    }

    fn attributes(
        &mut self,
        issuer: &str,
        claims: &Claims,
        proven: &ProvenCaller,
    ) -> Option<BTreeMap<String, ClaimValue>> {
        let written = proven.attributes.as_ref().and_then(|said| said.value.0.as_ref());
        let mut read = BTreeMap::new();
        for (key, node) in written.and_then(Node::as_map).unwrap_or_default() {
            let known = claims.attributes.0.iter().map(|(name, _)| name.text.as_str());
            if !known.clone().any(|name| name == key.text) {
                let message = format!("nothing of a token of `{issuer}` is read as `{}`", key.text);
                let problem = Problem::new(self.reader.place(key.at), message).suggest(&key.text, known);
                let help = format!("name the claim in `identity.jwt.{issuer}.claims.attributes`");
                self.reader.push(problem.help(help));
                return None;
            }
            let value = match &node.value {
                Value::Text(text) => Some(ClaimValue::Text(text.clone())),
                Value::Bool(value) => Some(ClaimValue::Bool(*value)),
                Value::Number(written) => written.parse().ok().map(ClaimValue::Long),
                Value::List(items) => {
                    let items = items.iter().map(|item| item.as_text().map(ToOwned::to_owned));
                    items.collect::<Option<_>>().map(ClaimValue::Texts)
                }
                Value::Null | Value::Map(_) => None,
            };
            let Some(value) = value else {
                let help = "expected a text, a whole number, `true`, `false` or a list of texts";
                self.reader.wrong(node.at, format!("no token says this of `{}`", key.text), help);
                return None;
            };
            read.insert(key.text.clone(), value);
        }
        Some(read)
    }

    fn workload(&mut self, workload: &Placed<String>) -> Option<Caller> {
        let workloads = &self.known.entities.workloads;
        let known = workloads.contains_key(&workload.value);
        self.declared(workload, known, "workload", workloads.keys()).map(Caller::Workload)
    }

    fn declared<'n>(
        &mut self,
        name: &Placed<String>,
        known: bool,
        what: &str,
        all: impl Iterator<Item = &'n String>,
    ) -> Option<String> {
        if !known {
            let problem = Problem::new(
                self.reader.place(name.at),
                format!("{what} `{}` is declared nowhere", name.value),
            );
            let problem = problem.suggest(&name.value, all.map(String::as_str));
            let help = if what == "workload" {
                "declare it in `entities/*.yaml`, or write `stranger` for one that is meant to be unknown"
            } else {
                "declare it in `entities/*.yaml`"
            };
            self.reader.push(problem.help(help));
        }
        known.then(|| name.value.clone())
    }

    fn stranger(&mut self, stranger: &Placed<String>) -> Option<Caller> {
        if self.known.entities.workloads.contains_key(&stranger.value) {
            let message = format!("workload `{}` is declared, so it is no stranger", stranger.value);
            self.reader.wrong(stranger.at, message, "write `workload`");
            return None;
        }
        // One of another trust domain is worth a test too: its certificate may be genuine all the same.
        match SpiffeId::parse(&stranger.value, &self.known.palisade.trust_domains) {
            Ok(_) | Err(SpiffeError::TrustDomainUnknown { .. }) => {
                Some(Caller::Workload(stranger.value.clone()))
            }
            Err(error @ SpiffeError::Malformed) => {
                self.reader.wrong(
                    stranger.at,
                    format!("`{}` is {error}", stranger.value),
                    "without one no certificate names it",
                );
                None
            }
        }
    }

    fn spiffe_id(&mut self, workload: &Placed<String>) -> Option<String> {
        match SpiffeId::parse(&workload.value, &self.known.palisade.trust_domains) {
            Ok(_) => Some(workload.value.clone()),
            Err(error) => {
                let message = format!("workload `{}`: {error}", workload.value);
                self.reader.wrong(workload.at, message, "its certificate would not be believed");
                None
            }
        }
    }
}
