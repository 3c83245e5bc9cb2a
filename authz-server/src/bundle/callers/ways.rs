//! By which ways the callers of a service may prove who they are: `identity` in `service.yaml`.

use super::Identity;
use crate::bundle::problem::Problem;
use crate::bundle::record::{Placed, Reader};
use crate::identity::{Accepted, AcceptedTokens};

const MTLS: &str = "mtls";
const API_KEY: &str = "api_key";
const JWT: &str = "jwt";
const INTROSPECTION: &str = "introspection";

/// What a list of ways means. `None`, all that the bundle has, also where nothing is written.
pub(in crate::bundle) fn accepted(
    written: Option<&[Placed<String>]>,
    identity: &Identity,
    reader: &mut Reader<'_>,
) -> Accepted {
    let Some(written) = written else { return Accepted::ALL };
    let mut tokens: Vec<String> = Vec::new();
    let mut accepted = Accepted { mtls: false, api_keys: false, tokens: AcceptedTokens::All };
    for way in written {
        let (kind, name) = match way.value.split_once('.') {
            Some((kind, name)) => (kind, Some(name)),
            None => (way.value.as_str(), None),
        };
        let issuers: Vec<&str> = match kind {
            JWT => identity.jwt.0.iter().map(|(name, _)| name.text.as_str()).collect(),
            INTROSPECTION => identity.introspection.0.iter().map(|(name, _)| name.text.as_str()).collect(),
            _ => Vec::new(),
        };
        match (kind, name) {
            (MTLS, None) => accepted.mtls = true,
            (API_KEY, None) if identity.api_keys.is_none() => {
                let help = "configure `identity.api_keys` in `palisade.yaml`, or remove it here";
                reader.wrong(way.at, "the bundle reads no API keys", help);
            }
            (API_KEY, None) => accepted.api_keys = true,
            (JWT | INTROSPECTION, None) if issuers.is_empty() => {
                let message = format!("the bundle has no issuer under `identity.{kind}`");
                reader.wrong(way.at, message, "add one in `palisade.yaml`, or remove it here");
            }
            (JWT | INTROSPECTION, None) => tokens.extend(issuers.iter().map(|name| (*name).to_owned())),
            (JWT | INTROSPECTION, Some(name)) if issuers.contains(&name) => tokens.push(name.to_owned()),
            _ => {
                let ways = [MTLS, API_KEY, JWT, INTROSPECTION].map(ToOwned::to_owned);
                let signed = identity.jwt.0.iter().map(|(name, _)| format!("{JWT}.{}", name.text));
                let asked =
                    identity.introspection.0.iter().map(|(name, _)| format!("{INTROSPECTION}.{}", name.text));
                let known: Vec<String> = ways.into_iter().chain(signed).chain(asked).collect();
                let shown: Vec<String> = known.iter().map(|way| format!("`{way}`")).collect();
                let message = format!("`{}` is no way to prove who calls", way.value);
                let problem = Problem::new(reader.place(way.at), message);
                let problem = problem.suggest(&way.value, known.iter().map(String::as_str));
                reader.push(problem.help(format!("there are {}", shown.join(", "))));
            }
        }
    }
    accepted.tokens = AcceptedTokens::Of(tokens);
    accepted
}
