//! The demo's persons: two of the shop's support desk, with tokens as its login would give them.
//!
//! INVARIANT: what is said of them is what their tokens say; what they may do, only the bundle's policies say.

use palisade_core::reason::Reason;

use super::http::Request;
use super::issuers::{Issuers, IssuersError, TOKEN_LIVES_S};
use super::tour::{Scene, passed, refused};
use crate::bundle::callers::token_scheme;
use crate::mint::Said;

/// What the demo bundle calls its login.
const ISSUER: &str = "staff";

/// More than the support desk's tool may refund by itself.
const REFUND: &str = r#"{"amount_cents":10001}"#;

/// What persons may do and what not. None where the bundle has no such issuer.
pub(super) fn scenes(header: &str, issuers: &Issuers, now_s: u64) -> Result<Vec<Scene>, IssuersError> {
    if issuers.names().all(|name| name != ISSUER) {
        return Ok(Vec::new());
    }
    let today = (now_s, now_s.saturating_add(TOKEN_LIVES_S));
    let yesterday = (now_s.saturating_sub(86_400 + TOKEN_LIVES_S), now_s.saturating_sub(86_400));
    let tom = Said { subject: "tom".to_owned(), groups: vec!["support".to_owned()], ..Said::default() };
    let groups = ["support", "support-leads"].map(ToOwned::to_owned).to_vec();
    let lena = Said { subject: "lena".to_owned(), groups, ..Said::default() };
    let sign = |said: &Said, times_s| issuers.token(Some(ISSUER), said, times_s, &[]);

    let scheme = token_scheme(header);
    let with = |token: String, request: Request| Request {
        headers: vec![(header.to_owned(), format!("{scheme}{token}"))],
        ..request
    };
    let refund = || Request::post_json("payments", "/payments/p-1/refund", REFUND);
    let read = || Request::get("payments", "/payments/p-1");
    Ok(vec![
        passed("person", 200, "payments", "a person of the support desk, proven by a token", {
            with(sign(&tom, today)?, read())
        }),
        passed("person-refund", 200, "payments", "a lead of the desk refunds what its tool may not", {
            with(sign(&lena, today)?, refund())
        }),
        refused(("person-denial", Reason::PolicyDenied, "the same by somebody who leads nobody", {
            with(sign(&tom, today)?, refund())
        })),
        refused((
            "forged-token",
            Reason::IdentityInvalid,
            "the lead's token, by a key that is not the login's",
            { with(issuers.forged(ISSUER, &lena, today)?, refund()) },
        )),
        refused(("expired-token", Reason::IdentityInvalid, "the lead's token of yesterday", {
            with(sign(&lena, yesterday)?, refund())
        })),
    ])
}
