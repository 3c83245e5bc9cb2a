//! A caller that floods is named, once, wherever somebody may look; the caller beside it is not.

use palisade::ledger::{AdminEvent, Entry, Spike};
use tests::deadline::eventually;
use tests::rig::{BundleUnderTest, LEDGER_TIMEOUT, Rig, Target};

/// More than ten windows of twenty, so that a slow machine floods as well.
const FLOOD_MAX: usize = 400;

fn spikes(rig: &Rig) -> Vec<(Spike, String)> {
    let spike = |entry| match entry {
        Entry::Admin(admin) => match admin.event {
            AdminEvent::Spike(spike) => Some((spike, admin.detail)),
            _ => None,
        },
        Entry::Decision(_)
        | Entry::Refusal(_)
        | Entry::Outcome(_)
        | Entry::Drift(_)
        | Entry::Judged(_)
        | Entry::Shed(_)
        | Entry::Load(_) => None,
    };
    rig.ledger_entries().into_iter().filter_map(spike).collect()
}

#[test]
fn a_flood_of_denied_writes_is_told_once_with_its_caller() {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let (flooder, usual) = (rig.profile.value("client"), rig.profile.value("reader"));
    assert_ne!(flooder, usual);
    let denied = |client: &str| {
        let (host, path) = (rig.profile.value("host"), rig.profile.value("delete_path"));
        let key = rig.api_key(client);
        let reply = rig.send(format!("DELETE {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\n\r\n"));
        assert_eq!(reply.expect_reply().reason().as_deref(), Some("policy_denied"));
    };
    let mut sent = 0;
    while sent < FLOOD_MAX && (sent < 100 || sent % 50 != 0 || spikes(&rig).is_empty()) {
        denied(flooder);
        sent += 1;
        if sent % 40 == 0 {
            denied(usual);
        }
    }
    let told = eventually("the spike is in the ledger", LEDGER_TIMEOUT, || {
        let told = spikes(&rig);
        (!told.is_empty()).then_some(told)
    });
    // A hundred more change nothing.
    for _ in 0..100 {
        denied(flooder);
    }
    let decisions = rig.decisions_when(sent + 100);
    assert!(decisions.iter().any(|decision| decision.principal == usual), "the other one called, too");
    assert_eq!(spikes(&rig), told);
    let [(spike, detail)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((spike.kind.as_str(), spike.caller.as_str()), ("unauthorised_write", flooder));
    let denial = decisions.iter().find(|decision| decision.principal == flooder).expect("a denial");
    assert_eq!((&spike.service, &spike.operation), (&denial.service, &denial.operation));
    assert!(spike.count >= 20 && spike.window_s == 10, "{spike:?}");
    assert!(detail.starts_with(&format!("`{flooder}`: 20 denied writes within 10 s")), "{detail}");

    let metrics = rig.server_metrics();
    for line in [
        "palisade_spikes_total{kind=\"unauthorised_write\"} 1",
        "palisade_spikes_total{kind=\"denial\"} 0",
        "palisade_spikes_total{kind=\"bad_request\"} 0",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} in {metrics}");
    }
    let log = rig.server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("far more than usual")).collect();
    assert!(lines.len() == 1 && lines[0].contains(flooder) && !lines[0].contains(usual), "{lines:?}");
}
