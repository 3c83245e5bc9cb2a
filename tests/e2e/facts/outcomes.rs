//! What the access log service brings: metadata, filter state and details. And that it loses without a word.

use std::sync::LazyLock;
use std::time::Duration;

use envoy_types::pb::envoy::data::accesslog::v3::HttpAccessLogEntry;
use envoy_types::pb::google::protobuf::value::Kind;
use tests::deadline::{eventually, poll};
use tests::rig::Target;

use super::ask::Ask;
use super::stage::{HANG, SOON, Stage};

static ENVOY: LazyLock<Stage> = LazyLock::new(|| Stage::start("outcomes", Target::Envoy, |_| {}));
static ISTIO: LazyLock<Stage> = LazyLock::new(|| Stage::start("outcomes", Target::Istio, |_| {}));

fn stages() -> [&'static Stage; 2] {
    [&ENVOY, &ISTIO]
}

const STATE: &str = "wasm.palisade_call_id";

fn decision(entry: &HttpAccessLogEntry) -> Option<String> {
    let metadata = entry.common_properties.as_ref()?.metadata.as_ref()?;
    match metadata
        .filter_metadata
        .get("envoy.filters.http.ext_authz")?
        .fields
        .get("decision")?
        .kind
        .as_ref()?
    {
        Kind::StringValue(decision) => Some(decision.clone()),
        _ => None,
    }
}

fn details(entry: &HttpAccessLogEntry) -> String {
    entry.response.as_ref().map(|response| response.response_code_details.clone()).unwrap_or_default()
}

#[test]
fn an_access_log_entry_carries_the_metadata_of_the_decision_also_of_a_denial() {
    for stage in stages() {
        for (answer, word, why) in [("allow", "allow", "via_upstream"), ("deny", "deny", "ext_authz_denied")]
        {
            let ask = Ask::get().answer(answer);
            stage.ask("main", &ask);
            let entry = stage.authz.entry(&ask.path);
            assert_eq!((decision(&entry).as_deref(), details(&entry).as_str()), (Some(word), why));
        }
        let error = Ask::get().answer("error");
        stage.ask("main", &error);
        let entry = stage.authz.entry(&error.path);
        assert_eq!((decision(&entry), details(&entry).as_str()), (None, "ext_authz_error"));
    }
}

#[test]
fn an_access_log_entry_carries_the_filter_state_that_the_filter_set() {
    for stage in stages() {
        let ask = Ask::get().script("head state palisade_call_id remembered");
        stage.ask("main", &ask);
        let entry = stage.authz.entry(&ask.path);
        let states = entry.common_properties.map(|common| common.filter_state_objects).unwrap_or_default();
        let state = states.get(STATE).expect("the state is there");
        assert!(tests::http1::find(&state.value, b"remembered").is_some(), "{state:?}");
        assert_eq!(state.type_url, "type.googleapis.com/google.protobuf.BytesValue");
    }
}

#[test]
fn the_details_of_a_local_reply_become_the_response_code_details() {
    for stage in stages() {
        let ask = Ask::get().script("head reply 422 -1 no");
        stage.ask("main", &ask);
        assert_eq!(details(&stage.authz.entry(&ask.path)), "probe_details");
    }
}

#[test]
fn access_log_entries_are_lost_without_a_word_while_the_server_is_down() {
    for target in Target::ALL {
        let mut stage = Stage::start("lost-outcomes", target, |_| {});
        let ask = Ask::get();
        stage.ask("main", &ask);
        stage.authz.entry(&ask.path);
        stage.authz.stop();
        // For longer than an entry waits for others, which is a second by default.
        let mut sent = 0;
        let refused = poll(2 * HANG, || {
            sent += 1;
            let status = stage.ask("main", &Ask::get().path(&format!("/lost/{sent}"))).status;
            (status != 403).then_some(status)
        });
        assert_eq!(refused, None, "without the server everything is refused");
        stage.authz.restart();
        eventually("the log arrives again", SOON, || {
            let ask = Ask::get();
            stage.ask("main", &ask);
            stage.authz.entry_within(&ask.path, Duration::from_millis(300))
        });
        let arrived = stage.authz.entries_below("/lost/") as u64;
        assert!(arrived < sent, "all {arrived} arrived");
        assert_eq!(
            stage.stat("access_logs.grpc_access_log.logs_dropped"),
            0,
            "Envoy counts none of them as lost"
        );
        assert!(stage.stat("access_logs.grpc_access_log.logs_written") >= sent);
    }
}
