//! Decisions on described requests: what the filter would refuse, what the server would, and what the shadows would.

use super::{Asked, Judge};
use crate::bundle::Bundle;
use crate::check::Decision;
use crate::identity::Established;
use palisade_core::reason::Reason;
use std::path::Path;

fn client(name: &str) -> Established {
    Established::client(name)
}

#[test]
fn a_described_request_is_decided_as_filter_and_server_would() {
    let demo = Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")).unwrap();
    let json: &[(&str, &str)] = &[("content-type", "application/json")];
    let check = |method, target, headers, body, client_name, by, expected| {
        let caller = client(client_name);
        let asked = Asked { method, host: "orders:8080", target, headers, body, caller: &caller };
        let judgement = demo.decide(&asked);
        assert_eq!((judgement.by, judgement.decision), (by, expected), "{method} {target}");
        judgement
    };
    let deny = |reason| Decision::Deny { reason };
    let allowed = check("GET", "/orders?limit=1", &[], None, "web", Judge::Server, Decision::Allow);
    let operation = demo.contract.operation(allowed.operation.unwrap()).unwrap();
    assert_eq!(operation.operation.name.as_ref(), "listOrders");
    assert!(!allowed.policies.is_empty() && allowed.errors.is_empty());
    let body: Option<&[u8]> = Some(br#"{"item":"mug","quantity":1}"#);
    check("POST", "/orders", json, body, "web", Judge::Server, Decision::Allow);
    check("POST", "/orders", json, Some(b"{"), "web", Judge::Filter, deny(Reason::JsonSyntax));
    check("POST", "/orders", &[], body, "web", Judge::Filter, deny(Reason::ContentTypeMissing));
    check("GET", "/nothing", &[], None, "web", Judge::Filter, deny(Reason::OperationUnknown));
    check("GET", "/orders", &[], Some(b"x"), "web", Judge::Filter, deny(Reason::BodyNotDeclared));
    check("FETCH", "/orders", &[], None, "web", Judge::Filter, deny(Reason::MethodUnknown));
    let denied = check("DELETE", "/orders/o-1", &[], None, "web", Judge::Server, deny(Reason::PolicyDenied));
    assert_eq!(denied.policies, ["orders-are-kept"]);
    check("GET", "/orders", &[], None, "nobody", Judge::Server, deny(Reason::PolicyDenied));
}
