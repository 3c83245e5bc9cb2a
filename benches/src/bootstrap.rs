//! The configuration of each arm: what `palisade build` generates, with parts taken out or exchanged.
//!
//! INVARIANT: every arm keeps the generated listener, limits and routes; it differs in filters and in having an access log
//! or none. Routes answer by themselves in all arms, so that no service's work is measured.

use crate::arms::{Arm, First, Route};
use crate::failure::Failure;
use crate::requests::ANSWER;
use crate::setup::Setup;
use palisade::build::{
    self, Address, EXT_AUTHZ_FILTER, PALISADE_FILTER, Rendered, Server, ServerLink, Target, Upstream,
    UpstreamProtocol, Wiring,
};
use palisade_core::canary;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;

/// Where the parts of one arm listen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) listen: SocketAddr,
    pub(crate) envoy_admin: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// Renders and edits the configuration, and writes it into a directory of the arm's own.
pub(crate) fn write(arm: &Arm, setup: &Setup, addresses: Addresses, out: &Path) -> Result<(), Failure> {
    let failed = || Failure::because(format!("the configuration of `{}` cannot be made", arm.name));
    let wiring = wiring(arm, setup, addresses, out);
    let mut rendered = build::render(setup.bundle(arm.contract), &wiring).map_err(failed())?;
    edit(arm, &mut rendered).map_err(failed())?;
    rendered.write(out).map(drop).map_err(failed())
}

fn wiring(arm: &Arm, setup: &Setup, addresses: Addresses, out: &Path) -> Wiring {
    let services = setup
        .bundle(arm.contract)
        .contract
        .services()
        .iter()
        .filter(|service| &*service.name != canary::SERVICE);
    // Where routes answer by themselves none leads there any more; the renderer wants to know it all the same.
    let service = Address::Socket(setup.service);
    let module = match arm.chain.first {
        First::FloorFilter | First::FloorTwice | First::FloorHolds => &setup.floor,
        First::Baseline => setup.baseline.as_ref().unwrap_or(&setup.filter),
        First::Nothing | First::NativeRbac | First::OurFilter => &setup.filter,
    };
    let upstream = Upstream { address: service, protocol: UpstreamProtocol::ByContract };
    Wiring {
        target: Target::Envoy,
        listen: addresses.listen,
        listener_tls: None,
        envoy_admin: addresses.envoy_admin,
        node_id: "bench".to_owned(),
        server: Server { address: Address::Socket(addresses.server), link: ServerLink::Local },
        filter: module.clone(),
        upstreams: services.map(|service| (service.name.to_string(), upstream.clone())).collect(),
        out: out.to_path_buf(),
    }
}

fn edit(arm: &Arm, rendered: &mut Rendered) -> Result<(), build::BuildError> {
    let filters = rendered.http_filters_mut()?;
    let wanted = |filter: &Value| match filter.get("name").and_then(Value::as_str) {
        Some(PALISADE_FILTER) => !matches!(arm.chain.first, First::Nothing | First::NativeRbac),
        Some(EXT_AUTHZ_FILTER) => arm.chain.ext_authz,
        Some(_) | None => true,
    };
    filters.retain(wanted);
    if arm.chain.first == First::NativeRbac {
        filters.insert(0, native_rbac());
    }
    let variable = match arm.chain.first {
        First::FloorTwice => Some("FLOOR_READS_TWICE"),
        First::FloorHolds => Some("FLOOR_HOLDS_BODY"),
        First::Nothing | First::NativeRbac | First::FloorFilter | First::OurFilter | First::Baseline => None,
    };
    if let Some(variable) = variable {
        let environment = filters.iter_mut().find_map(|filter| {
            filter.pointer_mut("/typed_config/config/vm_config/environment_variables")?.as_object_mut()
        });
        let environment = environment.ok_or(build::BuildError::PartMissing { part: "VM's environment" })?;
        environment.insert("key_values".to_owned(), json!({ variable: "yes" }));
    }
    if arm.chain.route == Route::AnswersWhole {
        // In front of the router, which is the last one.
        filters.insert(filters.len().saturating_sub(1), native_buffer());
    }
    let manager = rendered.manager_mut()?;
    if let (Some(manager), false) = (manager.as_object_mut(), arm.chain.access_log) {
        manager.remove("access_log");
    }
    if arm.chain.route != Route::Service {
        answer_directly(manager);
    }
    Ok(())
}

/// Every route that led to a service answers by itself.
fn answer_directly(manager: &mut Value) {
    let hosts = manager.pointer_mut("/route_config/virtual_hosts").and_then(Value::as_array_mut);
    let routes =
        hosts.into_iter().flatten().filter_map(|host| host.get_mut("routes")?.as_array_mut()).flatten();
    for route in routes.filter_map(Value::as_object_mut) {
        if route.remove("route").is_some() {
            let answer = json!({ "status": 200, "body": { "inline_string": ANSWER } });
            route.insert("direct_response".to_owned(), answer);
        }
    }
}

/// Waits for the end of a body, without a look at it.
fn native_buffer() -> Value {
    json!({
        "name": "envoy.filters.http.buffer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
            "max_request_bytes": 1 << 20,
        },
    })
}

/// What a mesh would write for the same read by the same caller: method, path and a header's presence.
fn native_rbac() -> Value {
    let policy = json!({
        "permissions": [{ "and_rules": { "rules": [
            { "header": { "name": ":method", "string_match": { "exact": "GET" } } },
            { "url_path": { "path": { "exact": "/orders" } } },
        ] } }],
        "principals": [{ "header": { "name": "x-api-key", "present_match": true } }],
    });
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": { "action": "ALLOW", "policies": { "read-orders": policy } },
        },
    })
}
