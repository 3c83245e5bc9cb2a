//! The shape that istiod gives to a sidecar's inbound listener, as files, so that it can be proven without a cluster.
//!
//! What istiod decides is as it decides it: normalised paths (its default), websocket upgrades open on every route,
//! forwarded certificates, no timeouts, a retry of requests that were never sent, the filter by extension discovery,
//! CUSTOM authorization as a shadow rule and an ext_authz that its verdict switches on.
//! What differs: one listener fronts all services here, where each has a sidecar of its own; and istiod puts CUSTOM
//! authorization before every phase that a WasmPlugin can name, so that the filter's place before it, which the gate
//! needs, must come from an EnvoyFilter that inserts first. This file renders that outcome.

use super::bodies;
use super::error::{BuildError, WiringProblem};
use super::fails_open;
use super::filters::{
    EXT_AUTHZ_FILTER, PALISADE_FILTER, RBAC_TYPE, Responses, WASM_TYPE, ext_authz, limits, router, ungated,
    vm, wasm,
};
use super::listener::{MANAGER_TYPE, access_log};
use super::routes::{canary_route, is_canary, limit, nobody, table, virtual_host};
use super::typed;
use super::wiring::Wiring;
use super::{EXTENSION_FILE, clusters::cluster_name};
use crate::bundle::Bundle;
use palisade_core::contract::{Contract, Enforcement, Service};
use serde_json::{Value, json};

const RBAC_FILTER: &str = "envoy.filters.http.rbac";

/// What istiod puts before the names of CUSTOM policies of our provider.
const POLICY_PREFIX: &str = "istio-ext-authz-palisade";

/// Services that cannot be served in Istio: its ext_authz buffers for all operations of a workload or for none, and an
/// operation that streams needs the one as much as body rules need the other.
pub(super) fn stream_problems(contract: &Contract) -> Vec<WiringProblem> {
    let mut problems = Vec::new();
    for service in contract.services() {
        let Some(body) = service.operations.iter().find(|operation| operation.has_body_rules()) else {
            continue;
        };
        problems.extend(service.operations.iter().filter(|operation| operation.is_stream()).map(|stream| {
            WiringProblem::StreamBesideBody {
                service: service.name.to_string(),
                stream: stream.name.to_string(),
                body: body.name.to_string(),
            }
        }));
    }
    problems
}

/// Operations whose bodies of responses cannot be enforced in Istio: what the proxy needs to hold a response until its
/// body was judged has no place in a WasmPlugin.
pub(super) fn response_problems(service: &Service) -> impl Iterator<Item = WiringProblem> {
    let enforced =
        service.operations.iter().filter(|operation| operation.responses.body == Enforcement::Enforce);
    enforced.map(|operation| WiringProblem::ResponseBodyEnforced {
        service: service.name.to_string(),
        operation: operation.name.to_string(),
    })
}

/// A service of which something fails open. For Istio, failing open is a matter of a provider, and a provider decides for
/// all operations of a workload; what its proxies do with several is behind a flag.
pub(super) fn fail_mode_problem(service: &Service) -> Option<WiringProblem> {
    let operation = fails_open::first_of(service)?;
    Some(WiringProblem::FailsOpen {
        class: operation.class.as_str(),
        service: service.name.to_string(),
        operation: operation.name.to_string(),
    })
}

/// The discovery response that brings the filter. Its configuration can only be JSON, as for a WasmPlugin.
pub(super) fn extension(bundle: &Bundle, wiring: &Wiring) -> Result<Value, BuildError> {
    let carrier = bundle.contract.encode_carrier()?;
    let configuration = typed("google.protobuf.StringValue", json!({ "value": carrier }));
    let extension = typed(
        "envoy.config.core.v3.TypedExtensionConfig",
        json!({ "name": PALISADE_FILTER, "typed_config": wasm(vm(wiring), configuration, Responses::GoOn) }),
    );
    Ok(json!({ "version_info": bundle.digest.to_string(), "resources": [extension] }))
}

pub(super) fn manager(bundle: &Bundle, wiring: &Wiring) -> Value {
    typed(
        MANAGER_TYPE,
        json!({
            "stat_prefix": "inbound_0.0.0.0",
            "codec_type": "AUTO",
            "server_name": "istio-envoy",
            "use_remote_address": false,
            "normalize_path": true,
            "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
            "forward_client_cert_details": "APPEND_FORWARD",
            "set_current_client_cert_details": { "subject": true, "dns": true, "uri": true },
            "stream_idle_timeout": "0s",
            "upgrade_configs": [{ "upgrade_type": "websocket" }],
            "access_log": [access_log(false)],
            "route_config": routes(bundle),
            "http_filters": chain(bundle, wiring),
        }),
    )
}

/// In a cluster an EnvoyFilter puts those that ask a limiter before the router.
fn chain(bundle: &Bundle, wiring: &Wiring) -> Vec<Value> {
    let mut chain = vec![discovered(wiring), shadow_rule(), conditional_ext_authz(bundle)];
    chain.extend(limits(bundle));
    chain.push(router());
    chain
}

/// No configuration by default. A configuration that the filter refuses leaves the listener up, and every request with
/// Envoy's own 500: closed, but readiness proves nothing here, the canary does.
fn discovered(wiring: &Wiring) -> Value {
    json!({
        "name": PALISADE_FILTER,
        "config_discovery": {
            "config_source": {
                "path_config_source": { "path": wiring.out.join(EXTENSION_FILE).display().to_string() },
                "initial_fetch_timeout": "0s",
                "resource_api_version": "V3",
            },
            // istiod names both: it answers with an RBAC that denies all where a module cannot be had.
            "type_urls": [
                format!("type.googleapis.com/{WASM_TYPE}"),
                format!("type.googleapis.com/{RBAC_TYPE}"),
            ],
        },
    })
}

/// The CUSTOM policy with one rule that matches everything. A shadow rule denies nothing; it only leaves its name.
fn shadow_rule() -> Value {
    let policy = format!("{POLICY_PREFIX}-ns[shop]-policy[palisade]-rule[0]");
    let everything = json!({
        "permissions": [{ "and_rules": { "rules": [{ "any": true }] } }],
        "principals": [{ "and_ids": { "ids": [{ "any": true }] } }],
    });
    let rbac = typed(
        RBAC_TYPE,
        json!({
            "shadow_rules": { "action": "DENY", "policies": { policy: everything } },
            "shadow_rules_stat_prefix": "istio_ext_authz_",
        }),
    );
    json!({ "name": RBAC_FILTER, "typed_config": rbac })
}

/// Only what the mesh configuration's provider has fields for.
fn conditional_ext_authz(bundle: &Bundle) -> Value {
    // A provider says it for all that it decides for.
    let mut ext_authz = ext_authz(&bodies::with_request_body(bodies::of_all(bundle)));
    if let Some(settings) = ext_authz.as_object_mut() {
        let condition = json!({
            "filter": RBAC_FILTER,
            "path": [{ "key": "istio_ext_authz_shadow_effective_policy_id" }],
            "value": { "string_match": { "prefix": POLICY_PREFIX } },
        });
        settings.insert("filter_enabled_metadata".to_owned(), condition);
    }
    json!({ "name": EXT_AUTHZ_FILTER, "typed_config": ext_authz })
}

fn routes(bundle: &Bundle) -> Value {
    let hosts = bundle.contract.services().iter().map(|service| {
        let route = if is_canary(service) { canary_route() } else { route(service) };
        let mut host = virtual_host(service, vec![route]);
        if let (Some(host), true) = (host.as_object_mut(), service.is_ungated()) {
            // The filter asks the same question, and lets no head pass that a gate would have to hold. Its own sidecar
            // would have a provider that does not buffer; in the one listener that all share here, its virtual host
            // stands for that sidecar.
            host.insert("typed_per_filter_config".to_owned(), ungated());
        }
        if let Some(host) = host.as_object_mut() {
            limit(bundle, service, host);
        }
        host
    });
    table(hosts.chain([nobody()]).collect())
}

fn route(service: &Service) -> Value {
    json!({
        "name": "default",
        "match": { "prefix": "/" },
        "route": {
            "cluster": cluster_name(service),
            "timeout": "0s",
            "max_stream_duration": { "max_stream_duration": "0s", "grpc_timeout_header_max": "0s" },
            "retry_policy": { "retry_on": "reset-before-request", "num_retries": 2 },
        },
    })
}
