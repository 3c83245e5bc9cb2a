//! Global limits: the filters that ask a limiter, and what each virtual host has them ask by.
//!
//! Their place is behind ext_authz, before the router. A call that is refused takes nothing of anybody's allowance; who
//! calls is whom the server established, by certificate, key or token, and never what a request says of itself; and the
//! server tells which limits count the operation (see `serve::counted`). What protects the server from too much are the
//! filter's own limits and its shedding, which come before it.
//! INVARIANT: a descriptor is whole or there is none: a key that is missing in a request has a value of its own, so that
//! nobody leaves a limit by leaving out a header. A call that passes undecided, because its class is open and the server
//! away, is asked for by each limit of all operations, with `-` for what only the server could tell.

use super::error::WiringProblem;
use super::filters::{EXT_AUTHZ_FILTER, millis, rpc_cluster};
use super::typed;
use super::wiring::{Address, Target};
use crate::bundle::shedding::limiter::{LimiterFail, RateLimitService};
use crate::bundle::shedding::{GlobalLimit, LimitMode};
use crate::bundle::{Bundle, ServiceSettings};
use crate::serve::counted;
use palisade_core::contract::RateKey;
use serde_json::{Value, json};

/// Cluster of the limiter, where no mesh has one.
pub(super) const LIMITER_CLUSTER: &str = "palisade-limiter";

/// The filter whose answers count, and the one whose answers are only counted.
pub(super) const FILTER: &str = "envoy.filters.http.ratelimit";
const SHADOW_FILTER: &str = "palisade-limits-in-shadow";

/// What stands for a value that a request does not have, and for a limit that does not count it.
pub(super) const ABSENT: &str = "-";

/// The key of a limit's name in its descriptors.
pub(super) const LIMIT: &str = "limit";

pub(super) const MODES: [LimitMode; 2] = [LimitMode::Enforce, LimitMode::Shadow];

const fn stage(mode: LimitMode) -> u32 {
    match mode {
        LimitMode::Enforce => 0,
        LimitMode::Shadow => 1,
    }
}

/// A service's limits of one mode, in their order, in which Envoy asks for them.
pub(super) fn of_mode(service: &ServiceSettings, mode: LimitMode) -> Vec<&GlobalLimit> {
    service.global_limits.iter().filter(|limit| limit.mode == mode).collect()
}

pub(super) fn is_asked(bundle: &Bundle) -> bool {
    bundle.services.iter().any(|service| !service.global_limits.is_empty())
}

/// The filters, none where no service among these has a global limit.
pub(super) fn filters<'s>(
    limiter: Option<&RateLimitService>,
    services: impl Iterator<Item = &'s ServiceSettings> + Clone,
    cluster: &str,
) -> Vec<Value> {
    let Some(limiter) = limiter else { return Vec::new() };
    let is_used = |mode: &LimitMode| services.clone().any(|service| !of_mode(service, *mode).is_empty());
    MODES.into_iter().filter(is_used).map(|mode| filter(limiter, mode, cluster)).collect()
}

fn filter(limiter: &RateLimitService, mode: LimitMode, cluster: &str) -> Value {
    let timeout = millis(limiter.timeout_ms());
    let mut config = json!({
        "domain": limiter.domain(),
        "stage": stage(mode),
        "timeout": timeout,
        "failure_mode_deny": mode == LimitMode::Enforce && limiter.fail() == LimiterFail::Closed,
        // What callers' proxies do not try again: a limiter that is away is no reason for a storm.
        "status_on_error": { "code": "InternalServerError" },
        // Status 8 and not 14, which callers try again.
        "rate_limited_as_resource_exhausted": true,
        "rate_limit_service": { "transport_api_version": "V3", "grpc_service": rpc_cluster(cluster, &timeout) },
    });
    let name = match mode {
        LimitMode::Enforce => FILTER,
        LimitMode::Shadow => {
            if let Some(config) = config.as_object_mut() {
                let never = json!({ "default_value": { "numerator": 0, "denominator": "HUNDRED" } });
                config.insert("filter_enforced".to_owned(), never);
                config.insert("stat_prefix".to_owned(), "shadow".into());
            }
            SHADOW_FILTER
        }
    };
    json!({ "name": name, "typed_config": typed("envoy.extensions.filters.http.ratelimit.v3.RateLimit", config) })
}

/// Whose requests a virtual host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requests {
    /// Those of one service alone; some may pass undecided where a class is open.
    OfService,
    /// Those of whatever stands behind a port, all of them decided: what the server does not tell, no limit counts.
    OfPort,
}

/// What is asked of the limiter for requests of a service, for its virtual host.
pub(super) fn rate_limits(service: &ServiceSettings, requests: Requests) -> Vec<Value> {
    let mut asked = Vec::new();
    for mode in MODES {
        let limits = of_mode(service, mode);
        // Limitador finds descriptors by their places: where several limits are asked for, each keeps its own.
        let is_padded = limits.len() > 1;
        for limit in limits {
            let name = limit.full_name(&service.name);
            // Of a call that was decided the server tells that a limit of all operations counts it.
            let counts_any = limit.operations.is_empty() && requests == Requests::OfService;
            let untold = if counts_any { Some(name.as_str()) } else { is_padded.then_some(ABSENT) };
            for actions in actions(limit, &name, untold) {
                asked.push(json!({ "stage": stage(mode), "actions": actions }));
            }
        }
    }
    asked
}

/// One list of actions for each combination of headers that are there and that are not; one of them is whole for any request.
fn actions(limit: &GlobalLimit, name: &str, untold: Option<&str>) -> Vec<Vec<Value>> {
    let named = told(LIMIT, &[counted::LIMITS, name], untold);
    let mut all = vec![vec![named]];
    for key in &limit.by {
        let ways = match key {
            RateKey::Caller => vec![told(counted::CALLER, &[counted::CALLER], Some(ABSENT))],
            RateKey::Operation => vec![told(counted::OPERATION, &[counted::OPERATION], Some(ABSENT))],
            RateKey::Header(name) => header(name),
        };
        all = all
            .into_iter()
            .flat_map(|before| {
                ways.iter().map(move |way| before.iter().cloned().chain([way.clone()]).collect())
            })
            .collect();
    }
    all
}

/// What the server told with its decision.
fn told(key: &str, path: &[&str], absent: Option<&str>) -> Value {
    let path: Vec<_> = path.iter().map(|key| json!({ "key": key })).collect();
    let mut metadata = json!({
        "descriptor_key": key,
        "metadata_key": { "key": EXT_AUTHZ_FILTER, "path": path },
        "source": "DYNAMIC",
    });
    if let (Some(absent), Some(metadata)) = (absent, metadata.as_object_mut()) {
        metadata.insert("default_value".to_owned(), absent.into());
    }
    json!({ "metadata": metadata })
}

/// The header's value, and what stands for a header that is not there.
fn header(name: &str) -> Vec<Value> {
    let key = header_key(name);
    vec![
        json!({ "request_headers": { "header_name": name, "descriptor_key": key } }),
        json!({
            "header_value_match": {
                "descriptor_key": key,
                "descriptor_value": ABSENT,
                "expect_match": false,
                "headers": [{ "name": name, "present_match": true }],
            },
        }),
    ]
}

/// No key of ours has a dot.
pub(super) fn header_key(name: &str) -> String {
    format!("header.{name}")
}

/// What a descriptor of a limit holds after its name.
pub(super) fn keys(limit: &GlobalLimit) -> impl Iterator<Item = String> {
    limit.by.iter().map(|key| match key {
        RateKey::Caller => counted::CALLER.to_owned(),
        RateKey::Operation => counted::OPERATION.to_owned(),
        RateKey::Header(name) => header_key(name),
    })
}

pub(super) fn address(limiter: &RateLimitService) -> Option<Address> {
    limiter.address.value.parse().ok()
}

/// The mesh's cluster of a service, by its full name.
pub(super) fn cluster_in_mesh(limiter: &RateLimitService) -> Option<String> {
    match address(limiter)? {
        Address::Name { host, port } if host.contains('.') => Some(format!("outbound|{port}||{host}")),
        Address::Name { .. } | Address::Socket(_) | Address::Unix(_) => None,
    }
}

/// What crosses a network without TLS must be asked for by name.
pub(super) fn problems(bundle: &Bundle, target: Target) -> Option<WiringProblem> {
    let limiter = bundle.palisade.rate_limit_service.as_ref().filter(|_| is_asked(bundle))?;
    let is_protected = limiter.plaintext || address(limiter)?.is_local();
    // In a mesh its sidecars protect the way.
    (target == Target::Envoy && !is_protected).then_some(WiringProblem::LimiterInPlaintext)
}
