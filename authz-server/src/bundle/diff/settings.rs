//! Changes of `palisade.yaml`, and of what extends the schema.

use super::{Area, Found, Kind};
use crate::bundle::Bundle;
use crate::bundle::format::Palisade;
use crate::bundle::statement::words;
use std::collections::BTreeSet;

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
    let header = |palisade: &Palisade| {
        let keys = palisade.identity.api_keys.as_ref();
        keys.map_or_else(|| "no API keys".to_owned(), |keys| keys.header.value.clone())
    };
    found.part(Area::Settings, "identity", "header of API keys", header(before), header(after));
    let accepted = |palisade: &Palisade| format!("{} s", palisade.handoff.previous_bundle_accepted_s.value);
    found.part(
        Area::Settings,
        "handoff",
        "the bundle before is accepted for",
        accepted(before),
        accepted(after),
    );
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
