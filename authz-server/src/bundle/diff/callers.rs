//! Changes of how callers prove who they are: issuers, proxies that are believed, what each service accepts.

use super::{Area, Found, Kind};
use crate::bundle::callers::{Claims, Identity, Introspection, Issuer};
use crate::bundle::format::HandoffMode;
use crate::bundle::{Bundle, Placed};
use crate::identity::{Accepted, AcceptedTokens};
use std::collections::{BTreeMap, BTreeSet};

const AREA: Area = Area::Settings;

/// Issuers by name, each with what is said of it, and whether a change of that decides who is believed.
type Issuers = BTreeMap<String, BTreeMap<&'static str, (String, bool)>>;

pub(super) fn compare(before: &Bundle, after: &Bundle, found: &mut Found) {
    let (old, new) = (&before.palisade, &after.palisade);
    let keys = |identity: &Identity| match &identity.api_keys {
        Some(keys) => keys.header.value.clone(),
        None => "no API keys".to_owned(),
    };
    found.part(AREA, "identity", "header of API keys", keys(&old.identity), keys(&new.identity));
    let tokens = |identity: &Identity| identity.token_header().unwrap_or("no tokens").to_owned();
    found.part(AREA, "identity", "header of tokens", tokens(&old.identity), tokens(&new.identity));
    issuers(before, after, found);
    let proxies = |identity: &Identity| -> BTreeSet<String> {
        let from = identity.forwarded_client_cert.iter().flat_map(|forwarded| &forwarded.from.value);
        from.map(|proxy| proxy.value.clone()).collect()
    };
    let (was, is) = (proxies(&old.identity), proxies(&new.identity));
    for proxy in was.difference(&is) {
        found.change(AREA, Kind::Removed, format!("proxy {proxy}"));
    }
    for proxy in is.difference(&was) {
        let danger = "this proxy is believed when it says who its caller is";
        found.change(AREA, Kind::Added, format!("proxy {proxy}")).danger(Some(danger));
    }
    let (was, is) = (old.handoff.mode.value, new.handoff.mode.value);
    let said = found.part(AREA, "handoff", "mode", was.word(), is.word());
    if let (Some(said), HandoffMode::Optional) = (said, is) {
        said.danger(Some("calls that did not come through the filter are judged, and not refused"));
    }
    accepted(before, after, found);
}

fn issuers(before: &Bundle, after: &Bundle, found: &mut Found) {
    let (old, new) = (issuers_of(before), issuers_of(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let subject = format!("issuer {name}");
        match (old.get(name), new.get(name)) {
            (Some(_), None) => drop(found.change(AREA, Kind::Removed, subject)),
            (None, Some(_)) => {
                let danger = "its users can prove who they are from now on";
                found.change(AREA, Kind::Added, subject).danger(Some(danger));
            }
            (Some(old), Some(new)) => {
                for (what, (was, _)) in old {
                    let Some((is, decides)) = new.get(what) else { continue };
                    if let (Some(said), true) = (found.part(AREA, &subject, what, was, is), *decides) {
                        said.danger(Some("this decides whose tokens are believed, and of whom they tell"));
                    }
                }
            }
            (None, None) => {}
        }
    }
}

fn issuers_of(bundle: &Bundle) -> Issuers {
    let identity = &bundle.palisade.identity;
    let signed =
        identity.jwt.0.iter().map(|(name, issuer)| (name.text.clone(), signed(bundle, &name.text, issuer)));
    let asked = identity.introspection.0.iter().map(|(name, issuer)| (name.text.clone(), asked(issuer)));
    signed.chain(asked).collect()
}

fn signed(bundle: &Bundle, name: &str, issuer: &Issuer) -> BTreeMap<&'static str, (String, bool)> {
    let keys = &issuer.keys.value;
    let algorithms: Vec<_> = issuer.algorithms.value.iter().map(|algorithm| algorithm.value.word()).collect();
    let from = match (&keys.url, &keys.file) {
        (Some(url), _) => url.value.clone(),
        (None, Some(file)) => file.value.clone(),
        (None, None) => String::new(),
    };
    let mut said = claims(&issuer.claims);
    said.extend([
        ("iss", (issuer.issuer.value.clone(), true)),
        ("audiences", (words(&issuer.audiences.value), true)),
        ("algorithms", (algorithms.join(", "), true)),
        ("keys", (from, true)),
        ("content of its keys", (content(bundle.issuer_keys.get(name)), true)),
        ("keys are fetched each", (seconds(keys.refresh_s.as_ref()), false)),
        ("keys are used for", (seconds(keys.max_age_s.as_ref()), false)),
        ("clocks may differ by", (seconds(issuer.skew_s.as_ref()), false)),
    ]);
    said
}

/// What stands in a file, as far as two of them are told apart.
fn content(keys: Option<&String>) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = keys.map(|keys| hex::encode(Sha256::digest(keys.as_bytes())));
    digest.map(|digest| digest.chars().take(12).collect()).unwrap_or_default()
}

fn asked(issuer: &Introspection) -> BTreeMap<&'static str, (String, bool)> {
    let mut said = claims(&issuer.claims);
    said.extend([
        ("asked at", (issuer.url.value.clone(), true)),
        ("audiences", (words(&issuer.audiences.value), true)),
        ("answers count for", (seconds(issuer.cache_s.as_ref()), false)),
    ]);
    said
}

fn claims(claims: &Claims) -> BTreeMap<&'static str, (String, bool)> {
    let Claims { user, groups, roles, scopes, attributes } = claims;
    let one = |claim: &Option<Placed<String>>| {
        (claim.as_ref().map_or("", |claim| claim.value.as_str()).to_owned(), true)
    };
    let attributes: Vec<_> =
        attributes.0.iter().map(|(name, claim)| format!("{} from {}", name.text, claim.value)).collect();
    BTreeMap::from([
        ("claim of the user", one(user)),
        ("claim of groups", one(groups)),
        ("claim of roles", one(roles)),
        ("claim of scopes", one(scopes)),
        ("attributes", (attributes.join(", "), true)),
    ])
}

fn words(names: &[Placed<String>]) -> String {
    names.iter().map(|name| name.value.as_str()).collect::<Vec<_>>().join(", ")
}

fn seconds(written: Option<&Placed<u64>>) -> String {
    written.map(|written| format!("{} s", written.value)).unwrap_or_default()
}

/// By which ways each service that was there before lets its callers in.
fn accepted(before: &Bundle, after: &Bundle, found: &mut Found) {
    for service in &after.services {
        let Some(old) = before.settings(&service.name) else { continue };
        let (was, is) = (ways(&old.accepted), ways(&service.accepted));
        let more = is.iter().any(|way| !was.contains(way)) && !was.contains("all");
        let text = |ways: BTreeSet<String>| ways.into_iter().collect::<Vec<_>>().join(", ");
        let subject = format!("service {}", service.name);
        if let Some(said) = found.part(AREA, &subject, "accepts", text(was), text(is)) {
            said.danger(more.then_some("callers who could not prove themselves to it now can"));
        }
    }
}

fn ways(accepted: &Accepted) -> BTreeSet<String> {
    if *accepted == Accepted::ALL {
        return BTreeSet::from(["all".to_owned()]);
    }
    let mut ways = BTreeSet::new();
    for (is, way) in [(accepted.mtls, "mtls"), (accepted.api_keys, "api_key")] {
        ways.extend(is.then(|| way.to_owned()));
    }
    match &accepted.tokens {
        AcceptedTokens::All => drop(ways.insert("tokens".to_owned())),
        AcceptedTokens::Of(issuers) => {
            ways.extend(issuers.iter().map(|issuer| format!("tokens of {issuer}")))
        }
    }
    ways
}
