//! The reply to a refused request: a reason code and the call id, and nothing else.
//!
//! INVARIANT: no byte of a reply comes from the request, from a policy or from an error text.

use crate::call_id::CallId;
use crate::reason::Reason;

/// The content type of every reply body.
pub const CONTENT_TYPE: &str = "application/json";

/// Fixed JSON, the same from filter and server: `{"reason":"…","decision_id":"…"}`.
pub fn body(reason: Reason, call_id: CallId) -> String {
    let mut buffer = [0; 36];
    let call_id = call_id.encode(&mut buffer);
    ["{\"reason\":\"", reason.code(), "\",\"decision_id\":\"", call_id, "\"}"].concat()
}

#[cfg(test)]
mod tests {
    use super::body;
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
}
