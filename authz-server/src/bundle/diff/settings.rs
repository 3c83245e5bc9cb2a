//! Changes of `palisade.yaml`, and of what extends the schema.

use super::{Area, Found, Kind};
use crate::bundle::Bundle;
use crate::bundle::format::Palisade;
use crate::bundle::format::{Durability, FailMode, Mask};
use crate::bundle::record::Named;
use crate::bundle::shedding::limiter::{LimiterFail, RateLimitService};
use crate::bundle::statement::words;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn compare(before: &Bundle, after: &Bundle, found: &mut Found) {
    let nothing = |_: &String| String::new();
    found.named(Area::Schema, &before.fragments, &after.fragments, nothing, |found, path, old, new| {
        if words(old) != words(new) {
            found.change(Area::Schema, Kind::Changed, path);
        }
    });
    let (before, after) = (&before.palisade, &after.palisade);
    let domains = |palisade: &Palisade| -> BTreeSet<String> {
        palisade.trust_domains.iter().map(|domain| domain.value.clone()).collect()
    };
    let (old, new) = (domains(before), domains(after));
    for domain in old.difference(&new) {
        found.change(Area::Settings, Kind::Removed, format!("trust domain {domain}"));
    }
    for domain in new.difference(&old) {
        let danger = "workloads of this domain can prove who they are from now on";
        found.change(Area::Settings, Kind::Added, format!("trust domain {domain}")).danger(Some(danger));
    }
    let accepted = |palisade: &Palisade| format!("{} s", palisade.handoff.previous_bundle_accepted_s.value);
    found.part(
        Area::Settings,
        "handoff",
        "the bundle before is accepted for",
        accepted(before),
        accepted(after),
    );
    ledger(before, after, found);
    limiter(before.rate_limit_service.as_ref(), after.rate_limit_service.as_ref(), found);
    let allowed = |palisade: &Palisade| -> BTreeSet<String> {
        let entries = palisade.lints.allow.iter();
        entries
            .flat_map(|entry| {
                let lint = entry.lint.value.word();
                let names = entry.of.iter().map(move |name| format!("{lint} of {}", name.value));
                names.chain(entry.of.is_empty().then(|| lint.to_owned()))
            })
            .collect()
    };
    let (old, new) = (allowed(before), allowed(after));
    for lint in old.difference(&new) {
        found.change(Area::Settings, Kind::Removed, format!("allowed lint {lint}"));
    }
    for lint in new.difference(&old) {
        found.change(Area::Settings, Kind::Added, format!("allowed lint {lint}"));
    }
}

fn ledger(before: &Palisade, after: &Palisade, found: &mut Found) {
    let (old, new) = (&before.ledger, &after.ledger);
    for (class, old, new) in [
        ("read", &old.durability.read, &new.durability.read),
        ("write", &old.durability.write, &new.durability.write),
        ("delete", &old.durability.delete, &new.durability.delete),
    ] {
        let what = format!("durability of {class}");
        let said = found.part(Area::Settings, "ledger", &what, old.value.word(), new.value.word());
        if let Some(said) = said
            && new.value == Durability::Buffered
        {
            said.danger(Some("what was allowed in the last tenth of a second can be lost with the machine"));
        }
    }
    for (class, old, new) in [
        ("read", &before.failure.read, &after.failure.read),
        ("write", &before.failure.write, &after.failure.write),
        ("delete", &before.failure.delete, &after.failure.delete),
    ] {
        let what = format!("fail mode of {class}");
        let said = found.part(Area::Settings, "failure", &what, old.value.word(), new.value.word());
        if let Some(said) = said
            && new.value == FailMode::Open
        {
            said.danger(Some(
                "calls pass undecided where the server cannot decide in time, and by anybody where it cannot be reached",
            ));
        }
    }
    let masks = |named: &Named<Mask>, what: &str| -> BTreeMap<String, Mask> {
        named.0.iter().map(|(key, mask)| (format!("mask of {what} {}", key.text), *mask)).collect()
    };
    let all = |palisade: &Palisade| {
        let mask = &palisade.ledger.mask;
        let mut all = masks(&mask.headers, "header");
        all.extend(masks(&mask.query, "query parameter"));
        all.extend(masks(&mask.claims, "claim"));
        all
    };
    let (old, new) = (all(before), all(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        masked(found, (Area::Settings, "ledger"), name, old.get(name).copied(), new.get(name).copied());
    }
}

fn limiter(before: Option<&RateLimitService>, after: Option<&RateLimitService>, found: &mut Found) {
    const SUBJECT: &str = "rate_limit_service";
    let fail = |limiter: &RateLimitService| (limiter.fail(), limiter.plaintext);
    let (old, new) = match (before, after) {
        (None, None) => return,
        (Some(gone), None) => {
            found.change(Area::Settings, Kind::Removed, SUBJECT).before(gone.address.value.clone());
            failing(found, SUBJECT, fail(gone), (LimiterFail::Closed, false));
            return;
        }
        (None, Some(new)) => {
            found.change(Area::Settings, Kind::Added, SUBJECT).after(new.address.value.clone());
            // Against what would hold if nothing were said.
            failing(found, SUBJECT, (LimiterFail::Closed, false), fail(new));
            return;
        }
        (Some(old), Some(new)) => (old, new),
    };
    found.part(Area::Settings, SUBJECT, "address", &old.address.value, &new.address.value);
    found.part(Area::Settings, SUBJECT, "domain", old.domain(), new.domain());
    let timeout = |limiter: &RateLimitService| limiter.timeout_ms().to_string();
    found.part(Area::Settings, SUBJECT, "timeout_ms", timeout(old), timeout(new));
    failing(found, SUBJECT, fail(old), fail(new));
}

/// Where a limiter does not hold callers to their limits.
fn failing(found: &mut Found, subject: &str, old: (LimiterFail, bool), new: (LimiterFail, bool)) {
    if let Some(said) = found.part(Area::Settings, subject, "fail", old.0.word(), new.0.word()) {
        let opened = new.0 == LimiterFail::Open;
        said.danger(opened.then_some("requests pass uncounted where the limiter does not answer"));
    }
    let plaintext = |is_plaintext: bool| is_plaintext.to_string();
    if let Some(said) = found.part(Area::Settings, subject, "plaintext", plaintext(old.1), plaintext(new.1)) {
        said.danger(new.1.then_some("whoever is on the way to the limiter can let requests pass"));
    }
}

/// Tells of a mask that is not what it was. To record more than before is worth a second look.
pub(super) fn masked(
    found: &mut Found,
    (area, subject): (Area, &str),
    what: &str,
    old: Option<Mask>,
    new: Option<Mask>,
) {
    let word = |mask: Option<Mask>| mask.map_or("none", Mask::word);
    if let Some(said) = found.part(area, subject, what, word(old), word(new)) {
        said.danger((new < old).then_some("the ledger tells more of these values from now on"));
    }
}
