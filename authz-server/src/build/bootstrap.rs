//! The bootstrap: one listener, its peers, the admin interface and the limit of connections.

use super::clusters::{clusters, socket_address};
use super::listener;
use super::settings::CONNECTIONS_MAX;
use super::typed;
use super::wiring::{Target, Wiring};
use crate::bundle::Bundle;
use serde_json::{Value, json};

pub(super) fn bootstrap(bundle: &Bundle, wiring: &Wiring, contract: &[u8]) -> Value {
    let mut bootstrap = json!({
        "node": { "id": wiring.node_id, "cluster": "palisade" },
        // The admin interface answers also when the limit of connections is reached: that is when it is needed.
        "admin": { "address": socket_address(wiring.envoy_admin), "ignore_global_conn_limit": true },
        "static_resources": {
            "listeners": [listener::listener(bundle, wiring, contract)],
            "clusters": clusters(bundle, wiring),
        },
    });
    if let (Target::Envoy, Some(bootstrap)) = (wiring.target, bootstrap.as_object_mut()) {
        bootstrap.insert("overload_manager".to_owned(), overload_manager());
    }
    bootstrap
}

fn overload_manager() -> Value {
    let limit = typed(
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        json!({ "max_active_downstream_connections": CONNECTIONS_MAX }),
    );
    json!({
        "resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": limit,
        }],
    })
}
