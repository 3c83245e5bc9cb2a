//! Properties of everything that reads bytes from outside: no panic, and what is accepted keeps its promises.

use crate::authority::Authority;
use crate::call_id::{CallId, CallIdMint};
use crate::contract::tests::sample;
use crate::contract::{BundleDigest, Contract};
use crate::exchange::{BodyStep, Engine, Exchange, HeadStep};
use crate::handoff::{Binding, Flags, Handoff, Secret, SecretSlot};
use crate::head::RequestHead;
use crate::headers::{HeaderMap, encode};
use crate::limits::PATH_SEGMENTS_MAX;
use crate::media::ContentType;
use crate::path::Target;
use crate::routes::OperationIndex;
use crate::testing::universal_properties;
use proptest::prelude::*;

/// Bytes that often make something like a request target.
fn near_target() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"/ab.%2eEfF5c3B;?=&#\\_-~\0 \xc3".to_vec()), 0..48)
        .prop_map(|tail| [b"/", &tail[..]].concat())
}

fn near_header() -> impl Strategy<Value = (String, String)> {
    let names = [
        "content-type",
        "content-length",
        "upgrade",
        "x-palisade-handoff",
        "authorization",
        "x-a",
        "x_a",
        "host",
        ":path",
    ];
    let values = ["application/json", "application/grpc", "12", "websocket", "x", "", "é"];
    (prop::sample::select(names.to_vec()), prop::sample::select(values.to_vec()))
        .prop_map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// Reads as a service would that decodes and normalises: the way in which ambiguity hurts.
fn normalised(path: &str) -> Vec<String> {
    let decoded = path.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%2F", "/");
    let mut segments: Vec<String> = Vec::new();
    for segment in decoded.replace('\\', "/").split('/').skip(1) {
        let segment = segment.split(';').next().unwrap_or_default();
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other.to_owned()),
        }
    }
    segments
}

universal_properties! {
    fn an_accepted_path_has_one_reading(raw in near_target()) {
        if let Ok(target) = Target::parse(&raw) {
            let path = target.path();
            let segments: Vec<String> = target.segments().map(ToOwned::to_owned).collect();
            prop_assert!(path.is_ascii() && segments.len() <= PATH_SEGMENTS_MAX);
            prop_assert_eq!(&normalised(path), &segments, "{}", path);
            prop_assert_eq!(target.raw().as_bytes(), &raw[..]);
        }
    }

    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Target::parse(&bytes);
        let _ = Authority::parse(&bytes);
        let _ = HeaderMap::parse(&bytes).map(|map| map.iter().count());
        let _ = Contract::decode(&bytes);
        let _ = crate::json::check(&bytes);
        let secret = Secret::from_bytes([1; 32]);
        let binding = Binding { method: "GET", authority: "a", target: "/" };
        prop_assert!(Handoff::verify(&bytes, [(SecretSlot::Current, &secret)], binding, 0).is_err());
        let text = String::from_utf8_lossy(&bytes);
        let _ = ContentType::parse(&text);
        let _ = CallId::parse(&text);
        let _ = Secret::parse(&text);
    }

    fn a_header_map_gives_back_its_pairs(pairs in prop::collection::vec(("[a-z-]{0,9}", ".{0,9}"), 0..20)) {
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let bytes = encode(&pairs);
        let read = HeaderMap::parse(&bytes).unwrap();
        let read: Vec<_> = read.iter().map(|(name, value)| (std::str::from_utf8(name).unwrap(), std::str::from_utf8(value).unwrap())).collect();
        prop_assert_eq!(read, pairs);
    }

    fn damaged_contracts_are_refused_or_sound(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = sample().encode().unwrap();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        if let Ok(contract) = Contract::decode(&bytes) {
            prop_assert_eq!(contract.encode().unwrap(), bytes.clone());
        }
        prop_assert!(Contract::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    fn a_handoff_is_read_back(operation in any::<u32>(), bundle in any::<[u8; 32]>(), secret in any::<[u8; 32]>(), now_ms in 0..1_u64 << 47, target in "/[a-z/]{0,40}") {
        let secret = Secret::from_bytes(secret);
        let binding = Binding { method: "PUT", authority: "svc", target: &target };
        let call_id = CallIdMint::new([9; 16]).mint(now_ms);
        let handoff = Handoff { bundle: BundleDigest(bundle), operation: OperationIndex(operation), flags: Flags::GRPC, call_id };
        let read = Handoff::verify(handoff.encode(&secret, binding).as_bytes(), [(SecretSlot::Previous, &secret)], binding, now_ms);
        prop_assert_eq!(read, Ok((handoff, SecretSlot::Previous)));
        prop_assert_eq!(CallId::parse(&call_id.to_string()), Some(call_id));
        prop_assert_eq!(call_id.minted_at_ms(), now_ms);
    }

    // Whatever the callbacks and their order, nothing is released unless it was judged, and after a refusal never.
    fn no_order_of_callbacks_releases_what_was_not_judged(
        headers in prop::collection::vec(near_header(), 0..4),
        method in prop::sample::select(vec!["GET", "POST", "DELETE"]),
        path in prop::sample::select(vec!["/orders", "/orders/7", "/pkg.Svc/Call", "/watch", "/no"]),
        steps in prop::collection::vec((0..5_u8, 0..200_usize, any::<bool>()), 0..12),
    ) {
        let engine = Engine { contract: sample(), secret: Secret::from_bytes([5; 32]) };
        let mut mint = CallIdMint::new([1; 16]);
        let mut exchange = Exchange::default();
        let mut pairs = vec![(":method", method), (":path", path), (":authority", "orders")];
        pairs.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let bytes = encode(&pairs);
        let (mut passed, mut refused, mut judged_bad) = (false, false, false);
        for (kind, held, ends_here) in steps {
            let step = match kind {
                0 => {
                    let step = exchange.request_head(Some(&engine), &mut mint, 1, Some(&bytes), ends_here);
                    // A second head begins anew, as a stream's first callback would.
                    passed = matches!(step, HeadStep::Pass { .. });
                    refused = !passed;
                    judged_bad = false;
                    continue;
                }
                1 => exchange.request_body(held, usize::MAX, ends_here, &mut mint, 1),
                2 => exchange.request_trailers(Some(&engine), Some(&[]), &mut mint, 1),
                3 => exchange.judge(Some(&engine), Some(b"{\"a\":"), None, &mut mint, 1),
                _ => exchange.judge(Some(&engine), None, Some(held), &mut mint, 1),
            };
            judged_bad |= kind >= 3;
            if step == BodyStep::Pass {
                prop_assert!(passed && !refused && !judged_bad, "kind {kind} released");
            }
            refused |= matches!(step, BodyStep::Refuse(_));
        }
    }

    fn filter_and_server_read_the_same_head(headers in prop::collection::vec(near_header(), 0..6), raw in near_target()) {
        let target = String::from_utf8_lossy(&raw).into_owned();
        let mut pairs = vec![(":method", "POST"), (":path", target.as_str()), (":authority", "orders")];
        pairs.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let bytes = encode(&pairs);
        let by_filter = RequestHead::parse(HeaderMap::parse(&bytes).unwrap().iter(), &[]).map(|head| head.target.raw().to_owned());
        let direct = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let by_server = RequestHead::parse(direct, &[]).map(|head| head.target.raw().to_owned());
        prop_assert_eq!(by_filter, by_server);
    }
}
