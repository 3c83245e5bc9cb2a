//! What the access log lost is entered into the ledger, once, and nothing that it told of is called lost.

use std::process::Command;
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use palisade::ledger::{AdminEvent, Entry};
use serde_json::{Value, json};
use tests::binaries;
use tests::deadline::{eventually, poll};
use tests::ports::free_addr;
use tests::rig::{BundleUnderTest, LEDGER_TIMEOUT, Options, Rig, Target};

/// Long enough for an access log that works, on a busy machine.
const GRACE_MS: &str = "4000";

/// How long a gap may take to be entered after that.
const ENTERED_WITHIN: Duration = Duration::from_secs(30);

/// A stretch of entries that was entered, and how many calls of it have no outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    from: u64,
    to: u64,
    count: u64,
    detail: String,
}

fn gaps(rig: &Rig) -> Vec<Gap> {
    let gap = |entry| match entry {
        Entry::Admin(admin) => match admin.event {
            AdminEvent::OutcomesMissing { from, to, count } => {
                Some(Gap { from, to, count, detail: admin.detail })
            }
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
    rig.ledger_entries().into_iter().filter_map(gap).collect()
}

/// Waits for a gap that goes over this entry.
fn gaps_over(rig: &Rig, position: u64) -> Vec<Gap> {
    let found = poll(ENTERED_WITHIN, || {
        let gaps = gaps(rig);
        gaps.iter().any(|gap| gap.from <= position && position < gap.to).then_some(gaps)
    });
    found.unwrap_or_else(|| panic!("no gap over entry {position}: {:?}\n{}", gaps(rig), rig.server.log()))
}

/// How many calls were decided on before an entry.
fn decisions_before(rig: &Rig, position: u64) -> usize {
    let entries = rig.ledger_entries();
    let before = entries.iter().take(usize::try_from(position).expect("a position"));
    before.filter(|entry| matches!(entry, Entry::Decision(_))).count()
}

fn position_of_decision(rig: &Rig, id: &str) -> u64 {
    let is_it = |entry: &Entry| matches!(entry, Entry::Decision(decision) if decision.decision_id == id);
    let position = poll(ENTERED_WITHIN, || rig.ledger_entries().iter().position(is_it));
    position.expect("the decision is in the ledger") as u64
}

/// Sends the access log to where nobody listens.
fn lose_access_log(config: &mut Value) {
    let clusters = config["static_resources"]["clusters"].as_array_mut().expect("clusters");
    let address = free_addr();
    let socket = json!({"address": address.ip().to_string(), "port_value": address.port()});
    clusters.push(json!({
        "name": "nowhere",
        "type": "STATIC",
        "connect_timeout": "0.2s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
        "load_assignment": {"cluster_name": "nowhere", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": socket}}},
        ]}]},
    }));
    assert_eq!(redirect(config), 1, "there is one access log");
}

fn redirect(value: &mut Value) -> usize {
    if value.get("log_name").is_some() {
        value["grpc_service"]["envoy_grpc"]["cluster_name"] = "nowhere".into();
        return 1;
    }
    match value {
        Value::Object(fields) => fields.values_mut().map(redirect).sum(),
        Value::Array(items) => items.iter_mut().map(redirect).sum(),
        _ => 0,
    }
}

#[test]
fn calls_whose_end_was_lost_are_entered_once_also_over_restarts() {
    let options = Options::default().edit(lose_access_log).server_args(&["--outcome-grace-ms", GRACE_MS]);
    let mut rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options);
    for _ in 0..5 {
        assert_eq!(rig.send(rig.read_request()).expect_reply().status, 200);
    }
    let last = rig.decisions_when(5)[4].decision_id.clone();
    let entered = gaps_over(&rig, position_of_decision(&rig, &last));
    // The canaries by which the rig was found to be ready are calls like all others.
    let whole = |gaps: &[Gap]| {
        let end = gaps.last().expect("a gap").to;
        assert!(gaps.windows(2).all(|pair| pair[0].to <= pair[1].from), "no entry twice: {gaps:?}");
        assert_eq!(gaps.iter().map(|gap| gap.count).sum::<u64>(), decisions_before(&rig, end) as u64);
    };
    whole(&entered);
    assert!(entered.iter().any(|gap| gap.detail.contains(" no outcome, of those that entries ")));
    // Both follow the entry.
    eventually("the log tells of it", LEDGER_TIMEOUT, || {
        rig.server.log().contains("calls ended without an entry of the access log").then_some(())
    });
    let counted: u64 = entered.iter().map(|gap| gap.count).sum();
    let metric = format!("palisade_outcomes_missing_total {counted}");
    eventually(&format!("`{metric}`"), LEDGER_TIMEOUT, || {
        rig.server_metrics().lines().any(|line| line == metric).then_some(())
    });

    // A server that starts anew, with an index that has to be built anew, goes on where the entries end.
    rig.server.kill();
    std::fs::remove_dir_all(rig.dir().join("state").join("index")).expect("remove the index");
    rig.server.restart();
    rig.wait_until_server_is_ready();
    rig.wait_until_guarded();
    assert_eq!(rig.send(rig.read_request()).expect_reply().status, 200);
    let last = rig.decisions_when(6)[5].decision_id.clone();
    let later = gaps_over(&rig, position_of_decision(&rig, &last));
    assert!(later.len() > entered.len() && later[..entered.len()] == entered[..], "{later:?}");
    let end = later.last().expect("a gap").to;
    assert!(later.windows(2).all(|pair| pair[0].to <= pair[1].from), "no entry twice: {later:?}");
    assert_eq!(later.iter().map(|gap| gap.count).sum::<u64>(), decisions_before(&rig, end) as u64);

    let mut command = Command::new(binaries::palisade());
    command.args(["audit", "--events=outcomes_missing", "--json", "--limit", "all", "--state"]);
    let output = command.arg(rig.dir().join("state")).output().expect("run palisade audit");
    let listed = String::from_utf8(output.stdout).expect("text");
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(listed.len(), gaps(&rig).len(), "{listed:?}");
    assert_eq!(listed[0]["outcomes_missing"]["count"], entered[0].count);
}

#[test]
fn of_calls_whose_end_was_told_nothing_is_missing() {
    let options = Options::default().server_args(&["--outcome-grace-ms", GRACE_MS]);
    let rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options);
    for _ in 0..5 {
        assert_eq!(rig.send(rig.read_request()).expect_reply().status, 200);
    }
    // Asked beside the proxy, so that nobody will ever tell how it ended: by this gap we know that the others were
    // looked at and are none.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = format!("http://{}", rig.server_addr());
    runtime.block_on(async {
        let mut client = AuthorizationClient::connect(address).await.expect("reach the server");
        client.check(CheckRequest::default()).await.expect("an answer");
    });
    let lonely = poll(ENTERED_WITHIN, || {
        rig.decisions().into_iter().find(|decision| decision.operation.is_empty() && decision.host.is_empty())
    });
    let lonely = lonely.expect("the decision is in the ledger").decision_id;
    let entered = gaps_over(&rig, position_of_decision(&rig, &lonely));
    assert_eq!(entered.iter().map(|gap| gap.count).collect::<Vec<_>>(), [1], "{entered:?}");
    assert!(entered[0].detail.ends_with(&lonely), "{entered:?}");
}
