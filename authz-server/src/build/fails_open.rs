//! Operations that fail open: a second ext_authz beside the closed one, for calls that the filter marks.
//!
//! ext_authz has one fail mode for all that it decides on. So there are two that differ in nothing else, with one name:
//! settings of routes and metadata of decisions are the same for both. The mark is filter state, which the filter sets by
//! the contract, which no caller can set and no service sees; a call without it meets the closed one.
//! INVARIANT: each call meets exactly one of the two.

use super::filters::EXT_AUTHZ_FILTER;
use super::typed;
use palisade_core::contract::{Contract, Operation, Service};
use palisade_core::exchange::{FAILS_OPEN, FAILS_OPEN_STATE};
use serde_json::{Value, json};

/// Says of a filter for which requests it is not there.
const MATCHED_TYPE: &str = "envoy.extensions.common.matching.v3.ExtensionWithMatcher";

/// Where the settings of a filter are that has a matcher around it.
const INNER: &str = "/extension_config/typed_config";

pub(super) fn some_fail_open(contract: &Contract) -> bool {
    contract.services().iter().any(|service| first_of(service).is_some())
}

/// The first operation of a service that fails open.
pub(super) fn first_of(service: &Service) -> Option<&Operation> {
    service.operations.iter().find(|operation| operation.fails_open)
}

/// What stands in the chain for decisions: the one ext_authz, or where something fails open, the two.
pub(super) fn filters(contract: &Contract, ext_authz: Value) -> Vec<Value> {
    if !some_fail_open(contract) {
        return vec![named(ext_authz)];
    }
    pair(ext_authz).into()
}

/// The closed one and the open one, from what both have in common.
pub fn pair(ext_authz: Value) -> [Value; 2] {
    let mut open = ext_authz.clone();
    if let Some(open) = open.as_object_mut() {
        open.insert("failure_mode_allow".to_owned(), true.into());
        // The filter lets an answer out undecided only where this is on the call: a decision was asked for.
        open.insert("emit_filter_state_stats".to_owned(), true.into());
    }
    let unmarked = json!({ "not_matcher": marked() });
    [named(absent_for(marked(), ext_authz)), named(absent_for(unmarked, open))]
}

/// The settings of a filter, within its matcher if it has one.
pub(crate) fn settings_mut(filter: &mut Value) -> Option<&mut Value> {
    let settings = filter.get_mut("typed_config")?;
    match settings.pointer(INNER) {
        Some(_) => settings.pointer_mut(INNER),
        None => Some(settings),
    }
}

fn named(settings: Value) -> Value {
    json!({ "name": EXT_AUTHZ_FILTER, "typed_config": settings })
}

fn absent_for(predicate: Value, settings: Value) -> Value {
    let skip = typed("envoy.extensions.filters.common.matcher.action.v3.SkipFilter", json!({}));
    let matcher = json!({
        "predicate": predicate,
        "on_match": { "action": { "name": "skip", "typed_config": skip } },
    });
    typed(
        MATCHED_TYPE,
        json!({
            "xds_matcher": { "matcher_list": { "matchers": [matcher] } },
            "extension_config": { "name": EXT_AUTHZ_FILTER, "typed_config": settings },
        }),
    )
}

fn marked() -> Value {
    let input = typed(
        "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
        json!({ "key": format!("wasm.{FAILS_OPEN_STATE}") }),
    );
    json!({
        "single_predicate": {
            "input": { "name": "fails-open", "typed_config": input },
            "value_match": { "exact": FAILS_OPEN },
        },
    })
}
