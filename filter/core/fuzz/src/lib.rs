//! What must hold of the core's readers for any bytes whatsoever: one function a target.
//!
//! libFuzzer calls them with what it finds; the ordinary tests call them with the checked-in corpora, and with those
//! damaged at random. INVARIANT: each only calls what is public, takes any bytes, and panics where the claim fails.

mod documents;
mod requests;

pub use documents::{json, schemas};
pub use requests::{accepts_form, accepts_query, forms};

use palisade_core::call_id::CallIdMint;
use palisade_core::contract::{BundleDigest, Contract};
use palisade_core::handoff::{Binding, Flags, Handoff, Secret, SecretSlot};
use palisade_core::head::RequestHead;
use palisade_core::headers::{self, HeaderMap};
use palisade_core::path::{Target, decoded};
use palisade_core::report::{Batch, read_message, read_reply, write_message};
use palisade_core::routes::OperationIndex;

/// What a target is called, and what it does with bytes.
pub type Claim = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Claim] = &[
    ("head", head),
    ("query", query),
    ("forms", forms),
    ("json", json),
    ("contract", contract),
    ("schemas", schemas),
    ("handoff", handoff),
    ("report", report),
];

/// The time at which proofs are looked at.
pub const NOW_MS: u64 = 1_790_000_000_000;

/// The secret of the seeds.
pub fn secret() -> Secret {
    Secret::from_bytes([0x5a; 32])
}

pub fn binding() -> Binding<'static> {
    Binding { method: "POST", authority: "orders", target: "/orders?limit=5" }
}

/// A header map in the host's layout, or lines `name: value`: what is read as a head is read as the same head when it is
/// written again.
pub fn head(bytes: &[u8]) {
    if let Ok(map) = HeaderMap::parse(bytes) {
        read_head(map.iter().collect());
    }
    let lines = bytes.split(|byte| *byte == b'\n');
    let pairs = lines.filter_map(|line| {
        let at = line.windows(2).position(|two| two == b": ")?;
        Some((line.get(..at)?, line.get(at.checked_add(2)?..)?))
    });
    read_head(pairs.collect());
}

fn read_head(pairs: Vec<(&[u8], &[u8])>) {
    let identity = [Box::from("x-api-key")];
    let Ok(head) = RequestHead::parse(pairs.iter().copied(), &identity) else { return };
    assert!(head.target.raw().starts_with('/') && head.target.raw().is_ascii());
    assert!(!head.authority.host().is_empty() && !head.authority.host().contains(['/', '@', ' ']));
    let texts: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(name, value)| {
            let text = |bytes| std::str::from_utf8(bytes).expect("an accepted head is text");
            (text(name), text(value))
        })
        .collect();
    let written = headers::encode(&texts);
    let map = HeaderMap::parse(&written).expect("what was accepted can be written");
    let again = RequestHead::parse(map.iter(), &identity).expect("what was accepted is accepted again");
    assert_eq!(format!("{head:?}"), format!("{again:?}"));
}

/// A target: what is accepted is its path and its query again, and each escape of it can be decoded. The same bytes as the
/// query of an operation with every kind of parameter.
pub fn query(bytes: &[u8]) {
    requests::parameters(bytes);
    let Ok(target) = Target::parse(bytes) else { return };
    assert_eq!(target.raw().as_bytes(), bytes);
    let joined = match target.query() {
        Some(query) => format!("{}?{query}", target.path()),
        None => target.path().to_owned(),
    };
    assert_eq!(joined, target.raw());
    for segment in target.segments() {
        let read = decoded(segment).expect("an accepted path is UTF-8 once decoded");
        assert!(read != "." && read != ".." && !read.contains(['/', '\\', '\0']), "{segment}");
    }
    let mut rest = target.query().unwrap_or_default();
    for (name, value) in target.query_pairs() {
        // The pairs stand in the query in their order, and nothing but separators stands between them.
        rest = rest.trim_start_matches('&').strip_prefix(name).expect("a name stands where it was read");
        if let Some(value) = value {
            rest = rest
                .strip_prefix('=')
                .and_then(|rest| rest.strip_prefix(value))
                .expect("and so does its value");
        }
    }
    assert!(rest.bytes().all(|byte| byte == b'&'), "nothing of a query is left out: {rest}");
}

/// A compiled contract, in either form: what is read is written as what is read as the same.
pub fn contract(bytes: &[u8]) {
    let Ok(contract) = Contract::decode(bytes) else { return };
    let written = contract.encode().expect("a contract that was read can be written");
    let again = Contract::decode(&written).expect("what was written can be read");
    assert_eq!(again.encode().as_ref(), Ok(&written));
    assert_eq!(format!("{contract:?}"), format!("{again:?}"));
    let carried = contract.encode_carrier().expect("it can be carried, too");
    let opened = Contract::decode(carried.as_bytes()).expect("and opened");
    assert_eq!(opened.encode(), Ok(written));
    for service in contract.services() {
        for host in &service.hosts {
            let found = contract.find(host, palisade_core::method::Method::Get, ["orders", "1"].into_iter());
            assert!(found.is_err() || found.is_ok_and(|matched| contract.operation(matched.index).is_some()));
        }
    }
}

/// A handoff as anybody could send it: nobody has its proof but who has the secret.
pub fn handoff(bytes: &[u8]) {
    let secret = secret();
    let verify = |text: &[u8]| Handoff::verify(text, [(SecretSlot::Current, &secret)], binding(), NOW_MS);
    let genuine = genuine_handoff();
    if bytes != genuine.as_bytes() {
        assert!(verify(bytes).is_err(), "it was believed without its proof");
    }
    assert!(verify(genuine.as_bytes()).is_ok());
    // The genuine one with other bytes in it: where, and which, the bytes say.
    if let [at, edit @ ..] = bytes {
        let mut edited = genuine.clone().into_bytes();
        for (byte, place) in edit.iter().zip(edited.iter_mut().skip(usize::from(*at))) {
            *place ^= byte;
        }
        assert!(edited == genuine.as_bytes() || verify(&edited).is_err(), "{}", edited.escape_ascii());
    }
}

/// What a filter writes with the secret of the seeds.
pub fn genuine_handoff() -> String {
    let handoff = Handoff {
        bundle: BundleDigest([7; 32]),
        operation: OperationIndex(3),
        flags: Flags::BODY_JUDGED,
        call_id: CallIdMint::new([9; 16]).mint(NOW_MS),
    };
    handoff.encode(&secret(), binding())
}

/// A message with a batch: forged it is not believed; what was proven is read, and written as it was.
pub fn report(bytes: &[u8]) {
    let _ = read_reply(bytes);
    if let Some(batch) = read_message(bytes) {
        // One spelling of a length is ours, but longer ones are read, too.
        assert_eq!(read_message(&write_message(batch)), Some(batch));
    }
    let secret = secret();
    let verify = |batch: &[u8]| Batch::verify(batch, [(SecretSlot::Current, &secret)], NOW_MS);
    if let Ok((batch, _)) = verify(bytes) {
        let written = batch.encode(&secret).expect("a batch that was read can be written");
        // Versions before are read, and only the newest is written.
        assert!(written == bytes || written.first() != bytes.first());
        assert!(batch.end() >= batch.first);
    }
    // Nobody forges a proof, so that what stands behind it is reached only with one.
    if let Some(batch) = proven(bytes) {
        let written = batch.encode(&secret).expect("a batch that was read can be written");
        assert!(verify(&written).is_ok());
    }
}

/// A batch whose fields are taken from the bytes, with its proof, as the server reads it.
fn proven(bytes: &[u8]) -> Option<Batch> {
    use palisade_core::call_id::CallIdMint;
    use palisade_core::report::{Item, Load, LoadCount, ServerId, Sheds, VmId};
    let (vm, rest) = bytes.split_first_chunk::<16>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let code: String = rest.iter().take(70).map(|byte| char::from(b'_'.max(*byte & 0x7f))).collect();
    let code: std::borrow::Cow<'static, str> = code.into();
    let number = u64::from_be_bytes(*first) >> 2 | 1;
    let peer = palisade_core::report::shown(rest, 512);
    let sheds = Sheds {
        operation: None,
        reason: code.clone(),
        retry: number & 2 != 0,
        shadow: number & 4 != 0,
        limit: peer.clone(),
        peer,
        count: number,
        first_at_ms: NOW_MS,
        last_at_ms: number,
        call_id: CallIdMint::new(*vm).mint(NOW_MS),
    };
    let count = LoadCount { operation: None, admitted: number, retries: number / 2, failed: number };
    let load = Load { at_ms: NOW_MS, counts: vec![count], levels: Vec::new() };
    let items = vec![Item::Lost(vec![(code, number)]), Item::Shed(sheds), Item::Load(load)];
    let batch = Batch {
        vm: VmId(*vm),
        bundle: BundleDigest([1; 32]),
        acknowledged_by: ServerId(*vm),
        sent_at_ms: NOW_MS,
        first: number,
        items,
    };
    let secret = secret();
    let written = batch.encode(&secret).ok()?;
    let (read, _) = Batch::verify(&written, [(SecretSlot::Current, &secret)], NOW_MS).ok()?;
    assert_eq!(read, batch);
    Some(read)
}
