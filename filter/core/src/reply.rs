//! The reply to a refused request: a reason code and the call id, and beside them only what a policy says may be told.
//!
//! INVARIANT: no byte of a reply comes from the request or from an error text; of a policy only its `@advice`, which is
//! fixed text.

use crate::call_id::CallId;
use crate::reason::Reason;

/// The content type of every reply body.
pub const CONTENT_TYPE: &str = "application/json";

/// Says to a proxy that the request was one too many: it does not retry by itself then.
pub const RATE_LIMITED: &str = "x-envoy-ratelimited";

/// Says to a gRPC client when to retry, in milliseconds; a negative number is never.
pub const GRPC_PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Fixed JSON, the same from filter and server: `{"reason":"…","decision_id":"…"}`.
pub fn body(reason: Reason, call_id: CallId) -> String {
    let mut buffer = [0; 36];
    let call_id = call_id.encode(&mut buffer);
    ["{\"reason\":\"", reason.code(), "\",\"decision_id\":\"", call_id, "\"}"].concat()
}

/// The same with the advice of the policy that forbade the request.
pub fn body_with_advice(reason: Reason, call_id: CallId, advice: &str) -> String {
    let mut body = body(reason, call_id);
    body.pop();
    body.push_str(",\"advice\":\"");
    for letter in advice.chars() {
        match letter {
            '"' | '\\' => body.extend(['\\', letter]),
            // None is in an advice that was checked.
            letter if letter.is_control() => body.push(' '),
            letter => body.push(letter),
        }
    }
    body.push_str("\"}");
    body
}

#[cfg(test)]
mod tests {
    use super::{body, body_with_advice};
    use crate::call_id::CallIdMint;
    use crate::reason::Reason;
    use crate::testing::universal_test;

    universal_test! {
        fn is_json_with_two_fields() {
            let id = CallIdMint::new([1; 16]).mint(1);
            for reason in Reason::ALL {
                let value: serde_json::Value = serde_json::from_str(&body(*reason, id)).unwrap();
                assert_eq!(value, serde_json::json!({"reason": reason.code(), "decision_id": id.to_string()}));
            }
        }
    }

    universal_test! {
        fn advice_is_a_third_field_whatever_it_says() {
            let id = CallIdMint::new([1; 16]).mint(1);
            for advice in ["ask for less", "say \"please\" \\ thank you", "größer: ≤ 100", "a\u{1b}b"] {
                let told = body_with_advice(Reason::PolicyDenied, id, advice);
                let value: serde_json::Value = serde_json::from_str(&told).unwrap();
                let shown = advice.replace(char::is_control, " ");
                let expected = serde_json::json!({
                    "reason": "policy_denied", "decision_id": id.to_string(), "advice": shown,
                });
                assert_eq!(value, expected);
            }
        }
    }
}
