//! Whole requests against a contract that has every way to write a parameter and a form (`bundle/`).

use std::sync::OnceLock;

use palisade_core::contract::Contract;
use palisade_core::exchange::{find_operation, judge_whole};
use palisade_core::head::RequestHead;

use super::NOW_MS;

fn contract() -> &'static Contract {
    static CONTRACT: OnceLock<Contract> = OnceLock::new();
    CONTRACT.get_or_init(|| {
        let bytes = include_bytes!("../corpus/contract/things");
        Contract::decode(bytes).expect("the seed is of today's format: bless it anew where it is not")
    })
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// Whether a request is accepted, with no rule in shadow.
fn accepts(pairs: &[Pair<'_>], body: Option<&[u8]>) -> bool {
    let contract = contract();
    let Ok(head) = RequestHead::parse(pairs.iter().copied(), contract.identity_headers()) else {
        return false;
    };
    let Ok(matched) = find_operation(contract, &head) else { return false };
    judge_whole(contract, matched, &head, pairs.iter().copied(), body, NOW_MS)
        .is_ok_and(|watched| watched.is_empty())
}

/// Whether a query, with a cookie behind a line's end, is accepted with more behind it.
pub fn accepts_query(bytes: &[u8], more: &[u8]) -> bool {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let path = [b"/things/1?", lines.next().unwrap_or_default(), more].concat();
    let mut pairs: Vec<Pair<'_>> =
        vec![(b":method", b"GET"), (b":path", &path), (b":authority", b"things"), (b":scheme", b"http")];
    pairs.extend(lines.next().map(|cookie| (&b"cookie"[..], cookie)));
    accepts(&pairs, None)
}

/// Whether a form is accepted with more behind it.
pub fn accepts_form(bytes: &[u8], more: &[u8]) -> bool {
    let body = [bytes, more].concat();
    let pairs: [Pair<'_>; 5] = [
        (b":method", b"POST"),
        (b":path", b"/things"),
        (b":authority", b"things"),
        (b":scheme", b"http"),
        (b"content-type", b"application/x-www-form-urlencoded"),
    ];
    accepts(&pairs, Some(&body))
}

/// What is accepted is not with an unknown parameter, with a scalar twice, or with a name that some reader takes for
/// another.
pub(super) fn parameters(bytes: &[u8]) {
    if accepts_query(bytes, b"") {
        for more in [&b"&unknown=1"[..], b"&limit=1&limit=2", b"&LIMIT=1"] {
            assert!(!accepts_query(bytes, more), "`{}` is let through", more.escape_ascii());
        }
    }
}

/// A form: the same of its fields.
pub fn forms(bytes: &[u8]) {
    if accepts_form(bytes, b"") {
        for more in [&b"&unknown=1"[..], b"&name=x", b"&Name=x"] {
            assert!(!accepts_form(bytes, more), "`{}` is let through", more.escape_ascii());
        }
    }
}
