//! Who calls, looked up: a client or workload that the bundle has, or a stranger whom it must not have.

use super::Caller;
use super::checked::Checking;
use super::format::{CallerRules, ProvenCaller};
use crate::bundle::problem::Problem;
use crate::bundle::record::Placed;
use crate::identity::{SpiffeError, SpiffeId};

impl Checking<'_, '_> {
    pub(super) fn caller(&mut self, case: &Placed<String>, rules: &CallerRules) -> Option<Caller> {
        let Placed { value: proven, at } = match rules {
            CallerRules::Anonymous => return Some(Caller::Anonymous),
            CallerRules::Proven(proven) => proven,
        };
        let ProvenCaller { client, workload, stranger, through } = proven;
        if let (Some(through), None) = (through, client) {
            let help = "only a client's API key travels over somebody else's connection";
            self.reader.wrong(through.at, "`through` without `client`", help);
            return None;
        }
        match (client, workload, stranger) {
            (Some(client), None, None) => {
                let through = match through {
                    Some(workload) => Some(self.spiffe_id(workload)?),
                    None => None,
                };
                self.client(client).map(|name| Caller::Client { name, through })
            }
            (None, Some(workload), None) => self.workload(workload),
            (None, None, Some(stranger)) => self.stranger(stranger),
            _ => {
                let message = format!("a caller of case `{}` is not one caller", case.value);
                let help = "name exactly one of `client`, `workload` and `stranger`, or write `anonymous`";
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
