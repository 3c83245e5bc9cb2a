//! The proxy in front of the service: what `palisade build` generates, with the arm's guard in it.
//!
//! INVARIANT: every arm has the same listener, certificate, limits and routes; only HTTP filters and the access log differ.

use crate::failure::Failure;
use crate::identities::Identities;
use crate::plan::{Arm, Guard, RATE, Scenario};
use crate::update;
use palisade::build::{
    self, Address, BuildError, EXT_AUTHZ_FILTER, PALISADE_FILTER, Rendered, Server, ServerLink, Target,
    Upstream, UpstreamProtocol, Wiring,
};
use palisade::bundle::Bundle;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The service's name in the laboratory's bundle.
const SERVICE: &str = "pool";

/// Where the parts listen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) backend: SocketAddr,
}

/// Renders the configuration and writes it into a directory of the arm's own.
pub(crate) fn write(
    arm: &Arm,
    scenario: Scenario,
    places: Places,
    bundle: &Bundle,
    identities: &Identities,
    filter: &Path,
    out: &Path,
) -> Result<(), Failure> {
    let failed = || Failure::because(format!("the configuration of `{}` cannot be made", arm.name));
    let upstream = Upstream { address: Address::Socket(places.backend), protocol: UpstreamProtocol::Http2 };
    let wiring = Wiring {
        target: Target::Envoy,
        listen: places.listen,
        listener_tls: Some(identities.service.clone()),
        envoy_admin: places.admin,
        node_id: "storm".to_owned(),
        server: Server { address: Address::Socket(places.server), link: ServerLink::Local },
        filter: PathBuf::from(filter),
        upstreams: BTreeMap::from([(SERVICE.to_owned(), upstream)]),
        out: out.to_path_buf(),
    };
    let mut rendered = build::render(bundle, &wiring).map_err(failed())?;
    guard(arm, &mut rendered).map_err(failed())?;
    same_for_all(scenario, &mut rendered);
    if scenario == Scenario::Update && matches!(arm.guard, Guard::Palisade { .. }) {
        update::discover_filter(&mut rendered, out)?;
    }
    rendered.write(out).map(drop).map_err(failed())
}

fn guard(arm: &Arm, rendered: &mut Rendered) -> Result<(), BuildError> {
    let native = match arm.guard {
        Guard::Palisade { .. } => return Ok(()),
        Guard::Nothing => None,
        Guard::Adaptive { status } => Some(adaptive(status)),
        Guard::Admission => Some(admission()),
        Guard::RateLimit => Some(rate_limit()),
    };
    let filters = rendered.http_filters_mut()?;
    let ours = |filter: &Value| {
        let name = filter.get("name").and_then(Value::as_str);
        name == Some(PALISADE_FILTER) || name == Some(EXT_AUTHZ_FILTER)
    };
    filters.retain(|filter| !ours(filter));
    if let Some(native) = native {
        filters.insert(0, native);
    }
    if let Some(manager) = rendered.manager_mut()?.as_object_mut() {
        manager.remove("access_log");
    }
    Ok(())
}

/// What the laboratory needs of every proxy, whatever guards it.
fn same_for_all(scenario: Scenario, rendered: &mut Rendered) {
    if let Some(bootstrap) = rendered.bootstrap.as_object_mut() {
        // Envoy ends a connection of which half of the streams were given up within a second. Callers that give up after
        // half a second are what a storm is made of; which connections end should not decide between arms.
        let patience = json!({ "overload.premature_reset_total_stream_count": 1_000_000_000 });
        let layers = json!({ "layers": [{ "name": "storm", "static_layer": patience }] });
        bootstrap.insert("layered_runtime".to_owned(), layers);
    }
    let listener =
        rendered.bootstrap.pointer_mut("/static_resources/listeners/0").and_then(Value::as_object_mut);
    if let (Scenario::Skew, Some(listener)) = (scenario, listener) {
        // In turn to one worker and the other, so that callers can be chosen by their worker.
        listener.insert("connection_balance_config".to_owned(), json!({ "exact_balance": {} }));
    }
}

/// As an operator would set it who knows the service: its ideal latency is measured with as many requests as it has
/// workers, so that measuring refuses next to nothing, and the limit may go below that.
fn adaptive(status: u16) -> Value {
    json!({
        "name": "envoy.filters.http.adaptive_concurrency",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
            "gradient_controller_config": {
                "sample_aggregate_percentile": { "value": 50 },
                "concurrency_limit_params": {
                    "max_concurrency_limit": 1000,
                    "min_concurrency_limit": 4,
                    "concurrency_update_interval": "0.1s",
                },
                "min_rtt_calc_params": {
                    "interval": "60s",
                    "request_count": 50,
                    "min_concurrency": crate::plan::WORKERS,
                    "jitter": { "value": 10 },
                    "buffer": { "value": 25 },
                },
            },
            "concurrency_limit_exceeded_status": { "code": status },
        },
    })
}

/// Envoy's defaults, with a window that is short enough for triggers of seconds.
fn admission() -> Value {
    json!({
        "name": "envoy.filters.http.admission_control",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.admission_control.v3.AdmissionControl",
            "enabled": { "default_value": true, "runtime_key": "storm.admission" },
            "success_criteria": { "http_criteria": {
                "http_success_status": [{ "start": 100, "end": 500 }],
            } },
            "sampling_window": "10s",
            "sr_threshold": { "default_value": { "value": 95 }, "runtime_key": "storm.threshold" },
            "aggression": { "default_value": 1, "runtime_key": "storm.aggression" },
        },
    })
}

/// What the service can do, in buckets of a tenth of a second.
fn rate_limit() -> Value {
    let tokens = (RATE / 0.75 / 10.0) as u32;
    let always = |key: &str| json!({ "default_value": { "numerator": 100 }, "runtime_key": key });
    json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "storm",
            "token_bucket": { "max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": "0.1s" },
            "filter_enabled": always("storm.limit"),
            "filter_enforced": always("storm.enforced"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{adaptive, admission, rate_limit};

    #[test]
    fn a_guard_has_a_name_and_a_type() {
        for guard in [adaptive(503), admission(), rate_limit()] {
            assert!(guard["name"].as_str().unwrap().starts_with("envoy.filters.http."), "{guard}");
            assert!(guard["typed_config"]["@type"].is_string(), "{guard}");
        }
        assert_eq!(rate_limit()["typed_config"]["token_bucket"]["max_tokens"], 40);
    }
}
