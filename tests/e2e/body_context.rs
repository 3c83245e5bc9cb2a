//! A decision on a field of the body: made on the whole body or not at all, on every way a body can come.

use serde_json::Value;
use tests::raw_client::{self, Outcome, Piece, Then};
use tests::rig::{BundleUnderTest, Options, Rig, Target};

/// What the demo lets this client refund, and one more.
const ALLOWED: &str = r#"{"amount_cents":10000}"#;
const TOO_MUCH: &str = r#"{"amount_cents":10001}"#;

struct Refunds {
    rig: Rig,
}

impl Refunds {
    fn start(target: Target, options: Options) -> Refunds {
        Refunds { rig: Rig::start_with(target, BundleUnderTest::Demo, options) }
    }

    fn head(&self, framing: &str) -> String {
        format!(
            "POST /payments/p-1/refund HTTP/1.1\r\nhost: payments\r\nx-api-key: {}\r\ncontent-type: application/json\r\n{framing}\r\n\r\n",
            self.rig.api_key("support-tool")
        )
    }

    fn whole(&self, body: &str) -> Outcome {
        self.rig.reset_spies();
        raw_client::send(self.rig.addr(), self.head(&format!("content-length: {}", body.len())) + body)
    }

    /// The head alone, then the body byte by byte in chunks, then perhaps trailers.
    fn in_chunks(&self, body: &str, trailers: &str) -> Outcome {
        self.rig.reset_spies();
        let piece = |bytes: String, then| Piece { bytes: bytes.into_bytes(), then };
        let mut pieces = vec![piece(self.head("transfer-encoding: chunked"), Then::AwaitReaction)];
        pieces.extend(body.chars().map(|letter| piece(format!("1\r\n{letter}\r\n"), Then::Continue)));
        pieces.push(piece(format!("0\r\n{trailers}\r\n"), Then::Continue));
        raw_client::send_pieces(self.rig.addr(), &pieces)
    }

    #[track_caller]
    fn passes(&self, outcome: Outcome) {
        let reply = outcome.expect_reply();
        assert_eq!((reply.status, reply.reason()), (200, None));
        assert!(self.rig.bytes_seen() > 0, "the service was reached");
    }

    /// The service sees nothing of what is refused, not even its head.
    #[track_caller]
    fn refused(&self, outcome: Outcome, status: u16, reason: &str) {
        let reply = outcome.expect_reply();
        assert_eq!((reply.status, reply.reason().as_deref()), (status, Some(reason)));
        assert_eq!(self.rig.bytes_seen(), 0, "nothing of it reaches the service");
    }
}

/// Changes every `with_request_body`: the one of a route says how much goes, the one of the filter how.
fn edit_bodies(value: &mut Value, change: fn(&mut Value)) -> usize {
    match value {
        Value::Object(fields) => {
            let mut changed = 0;
            for (name, field) in fields {
                if name == "with_request_body" {
                    change(field);
                    changed += 1;
                } else {
                    changed += edit_bodies(field, change);
                }
            }
            changed
        }
        Value::Array(items) => items.iter_mut().map(|item| edit_bodies(item, change)).sum(),
        _ => 0,
    }
}

#[test]
fn a_field_of_the_body_decides_however_the_body_comes() {
    for target in Target::ALL {
        let refunds = Refunds::start(target, Options::default());
        refunds.passes(refunds.whole(ALLOWED));
        refunds.refused(refunds.whole(TOO_MUCH), 403, "policy_denied");
        refunds.passes(refunds.in_chunks(ALLOWED, ""));
        refunds.refused(refunds.in_chunks(TOO_MUCH, ""), 403, "policy_denied");
        refunds.passes(refunds.in_chunks(ALLOWED, "x-after: 1\r\n"));
        refunds.refused(refunds.in_chunks(TOO_MUCH, "x-after: 1\r\n"), 403, "policy_denied");
        // The filter is first, and the server is asked about none of these.
        refunds.refused(refunds.whole(r#"{"amount_cents":1"#), 400, "json_syntax");
        refunds.refused(
            refunds.whole(r#"{"amount_cents":10001,"amount_cents":1}"#),
            400,
            "json_duplicate_key",
        );
        refunds.refused(refunds.in_chunks("", ""), 400, "body_missing");
        // What is not what its contract declares is no amount at all.
        for (body, reason) in [
            (r#"{"amount_cents":"1"}"#, "schema_type"),
            (r#"{"amount_cents":99999999999999999999}"#, "json_number"),
            (r#"{"amount_cents":null}"#, "schema_type"),
            ("{}", "schema_required"),
            ("[1]", "schema_type"),
            // The contract takes it, as JSON Schema says; policies ask for whole numbers as everybody writes them.
            (r#"{"amount_cents":1e0}"#, "parameter_malformed"),
        ] {
            refunds.refused(refunds.whole(body), 400, reason);
        }
    }
}

#[test]
fn a_body_of_the_largest_size_is_still_whole_and_a_larger_one_is_refused() {
    for target in Target::ALL {
        let refunds = Refunds::start(target, Options::default());
        let padded = |bytes: usize, body: &str| body.to_owned() + &" ".repeat(bytes - body.len());
        refunds.passes(refunds.whole(&padded(16_384, ALLOWED)));
        refunds.refused(refunds.whole(&padded(16_384, TOO_MUCH)), 403, "policy_denied");
        refunds.refused(refunds.whole(&padded(16_385, ALLOWED)), 413, "body_too_large");
    }
}

#[test]
fn a_body_that_was_cut_off_or_changed_on_its_way_to_the_server_is_a_denial() {
    for target in Target::ALL {
        let changes: [fn(&mut Value); 3] = [
            |settings| settings["max_request_bytes"] = 8.into(),
            |settings| settings["pack_as_bytes"] = false.into(),
            |settings| {
                *settings = serde_json::json!({ "max_request_bytes": 1, "allow_partial_message": true });
            },
        ];
        for change in changes {
            let options = Options::default().edit(move |envoy| {
                assert!(edit_bodies(envoy, change) > 0, "there is a body that travels");
            });
            let refunds = Refunds::start(target, options);
            refunds.refused(refunds.whole(ALLOWED), 400, "body_incomplete");
            refunds.refused(refunds.in_chunks(ALLOWED, ""), 400, "body_incomplete");
        }
    }
}

/// Only the service whose decisions need bodies sends them.
#[test]
fn other_services_do_not_pay_for_it() {
    let refunds = Refunds::start(Target::Envoy, Options::default());
    let key = refunds.rig.api_key("web");
    let order = r#"{"item":"mug","quantity":1}"#;
    let head = format!(
        "POST /orders HTTP/1.1\r\nhost: orders\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n"
    );
    let outcome = refunds.rig.send(format!("{head}content-length: {}\r\n\r\n{order}", order.len()));
    assert_eq!(outcome.expect_reply().status, 200);
    let config = tests::rig::admin(refunds.rig.envoy_admin(), "/config_dump")
        .expect("ask Envoy for its configuration");
    let config: Value = serde_json::from_slice(&config.body).expect("read Envoy's configuration");
    let mut hosts = Vec::new();
    virtual_hosts(&config, &mut hosts);
    assert!(
        hosts.contains(&("payments".to_owned(), true)) && hosts.contains(&("orders".to_owned(), false)),
        "{hosts:?}"
    );
}

/// Each virtual host, and whether it sends bodies.
fn virtual_hosts(value: &Value, found: &mut Vec<(String, bool)>) {
    match value {
        Value::Object(fields) => {
            for host in fields.get("virtual_hosts").and_then(Value::as_array).into_iter().flatten() {
                let sends = host.to_string().contains("max_request_bytes");
                found.push((host["name"].as_str().unwrap_or_default().to_owned(), sends));
            }
            fields.values().for_each(|field| virtual_hosts(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| virtual_hosts(item, found)),
        _ => {}
    }
}
