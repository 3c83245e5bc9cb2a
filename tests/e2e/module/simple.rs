//! A good request goes through the module with its handoff, a bad one gets its reason, and so does one whose host fails.

use palisade_core::handoff::{self, Binding, Handoff, Secret, SecretSlot};
use palisade_core::reason::Reason;
use tests::module::{Action, Answer, Vm};

use super::scene::{ORDER, ROOT, SECRET, configured, head};

const STREAM: u32 = 2;

fn reasons(vm: &mut Vm) -> Vec<String> {
    let reason = |body: &str| -> String {
        let reply: serde_json::Value = serde_json::from_str(body).unwrap();
        reply["reason"].as_str().unwrap().to_owned()
    };
    vm.stream(STREAM).replies.iter().map(|reply| reason(&reply.body)).collect()
}

fn begin(vm: &mut Vm, method: &str, path: &str, more: &[(&str, &str)], ends: bool) -> Action {
    vm.create(STREAM, ROOT).unwrap();
    vm.stream(STREAM).request_headers = head(method, path, more);
    let count = vm.stream(STREAM).request_headers.len() as u32;
    vm.step(STREAM, "proxy_on_request_headers", &[count, ends.into()]).unwrap()
}

fn body(vm: &mut Vm, body: &str) -> Action {
    vm.stream(STREAM).request_body = body.into();
    vm.step(STREAM, "proxy_on_request_body", &[body.len() as u32, 1]).unwrap()
}

#[test]
fn a_good_request_goes_on_with_a_handoff_that_holds() {
    let mut vm = configured();
    let copies = [("x-palisade-handoff", "mine"), ("x-palisade-other", "mine")];
    assert_eq!(begin(&mut vm, "POST", "/orders", &copies, false), Action::Continue);
    let stream = vm.stream(STREAM).clone();
    let [(name, value)] = &stream.headers_set[..] else { panic!("{:?}", stream.headers_set) };
    assert_eq!(name, handoff::HEADER);
    assert_eq!(stream.headers_removed, ["x-palisade-other"]);
    let secret = Secret::parse(SECRET).unwrap();
    let binding = Binding { method: "POST", authority: "orders", target: "/orders" };
    let now_ms = vm.host().time_ns / 1_000_000;
    let verified =
        Handoff::verify(value.as_bytes(), [(SecretSlot::Current, &secret)], binding, now_ms).unwrap();

    assert_eq!(body(&mut vm, ORDER), Action::Continue);
    let decision = b"metadata\0filter_metadata\0envoy.filters.http.ext_authz\0decision_id".to_vec();
    vm.stream(STREAM).properties.insert(decision, verified.0.call_id.to_string().into_bytes());
    let response = vm.step(STREAM, "proxy_on_response_headers", &[1, 1]).unwrap();
    assert_eq!((response, reasons(&mut vm)), (Action::Continue, vec![]));
}

#[test]
fn a_bad_request_gets_its_reason() {
    let mut vm = configured();
    assert_eq!(begin(&mut vm, "GET", "/nowhere", &[], true), Action::Pause);
    assert_eq!(reasons(&mut vm), [Reason::OperationUnknown.code()]);

    let mut vm = configured();
    assert_eq!(begin(&mut vm, "POST", "/orders", &[], false), Action::Continue);
    assert_eq!(body(&mut vm, r#"{"item":"tea","quantity":2"#), Action::Pause);
    assert_eq!(reasons(&mut vm), [Reason::JsonSyntax.code()]);

    let mut vm = configured();
    assert_eq!(begin(&mut vm, "GET", "/orders", &[], true), Action::Continue);
    vm.stream(STREAM).properties.insert(b"response\0code_details".to_vec(), b"via_upstream".to_vec());
    assert_eq!(vm.step(STREAM, "proxy_on_response_headers", &[1, 1]).unwrap(), Action::Pause);
    assert_eq!(reasons(&mut vm), [Reason::DecisionMissing.code()]);
}

/// Each call of the way of a good request fails once: the request is refused, or the call changes nothing.
#[test]
fn a_call_that_fails_is_a_refusal() {
    let cases = [
        ("proxy_get_header_map_pairs", Some(Reason::HeaderMapInvalid)),
        ("proxy_replace_header_map_value", Some(Reason::Internal)),
        ("proxy_remove_header_map_value", Some(Reason::Internal)),
        ("proxy_get_buffer_bytes", Some(Reason::BodyIncomplete)),
        ("proxy_get_current_time_nanoseconds", None),
    ];
    for (failing, expected) in cases {
        for status in [1, 2, 3, 4, 7, 8, 10, 12] {
            let mut vm = configured();
            vm.host_mut().faults =
                Box::new(move |call, answer| if call == failing { Answer::Failed(status) } else { answer });
            let mut last = begin(&mut vm, "POST", "/orders", &[("x-palisade-other", "mine")], false);
            if last == Action::Continue {
                last = body(&mut vm, ORDER);
            }
            let told = reasons(&mut vm);
            match expected {
                None => assert_eq!((last, told), (Action::Continue, vec![]), "{failing} {status}"),
                // Where a map is not found there is none, which says no method.
                Some(_) if failing == "proxy_get_header_map_pairs" && status == 1 => {
                    assert_eq!((last, told), (Action::Pause, vec![Reason::MethodUnknown.code().to_owned()]));
                }
                Some(reason) => {
                    assert_eq!(
                        (last, told),
                        (Action::Pause, vec![reason.code().to_owned()]),
                        "{failing} {status}"
                    );
                }
            }
        }
    }
}
