//! The handoff's proof, time and version.

use super::{Binding, Flags, Handoff, HandoffError, Secret, SecretSlot};
use crate::call_id::CallIdMint;
use crate::contract::BundleDigest;
use crate::routes::OperationIndex;
use crate::testing::universal_test;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const NOW_MS: u64 = 1_763_700_000_000;
const BINDING: Binding<'static> = Binding { method: "POST", authority: "orders", target: "/orders?x=1" };

fn handoff() -> Handoff {
    Handoff {
        bundle: BundleDigest([9; 32]),
        operation: OperationIndex(7),
        flags: Flags::BODY_JUDGED.with(Flags::GRPC),
        call_id: CallIdMint::new([4; 16]).mint(NOW_MS),
    }
}

fn verify(text: &str, secret: &Secret, binding: Binding<'_>, now_ms: u64) -> Result<Handoff, HandoffError> {
    Handoff::verify(text.as_bytes(), [(SecretSlot::Current, secret)], binding, now_ms)
        .map(|(handoff, _)| handoff)
}

universal_test! {
    fn is_believed_with_either_secret_and_says_which() {
        let (old, new) = (Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32]));
        let secrets = [(SecretSlot::Current, &new), (SecretSlot::Previous, &old)];
        for (secret, slot) in [(&new, SecretSlot::Current), (&old, SecretSlot::Previous)] {
            let text = handoff().encode(secret, BINDING);
            assert_eq!(Handoff::verify(text.as_bytes(), secrets, BINDING, NOW_MS), Ok((handoff(), slot)));
        }
    }
}

universal_test! {
    fn every_changed_bit_is_a_forgery_or_unreadable() {
        let secret = Secret::from_bytes([1; 32]);
        let bytes = URL_SAFE_NO_PAD.decode(handoff().encode(&secret, BINDING)).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let found = verify(&URL_SAFE_NO_PAD.encode(&changed), &secret, BINDING, NOW_MS);
                let expected = if at == 0 { HandoffError::UnknownVersion { found: changed[0] } } else { HandoffError::Forged };
                assert_eq!(found, Err(expected), "byte {at}, bit {bit}");
            }
        }
    }
}

universal_test! {
    fn is_of_no_use_for_another_request_secret_or_time() {
        let secret = Secret::from_bytes([1; 32]);
        let text = handoff().encode(&secret, BINDING);
        for binding in [
            Binding { method: "GET", ..BINDING },
            Binding { authority: "payments", ..BINDING },
            Binding { target: "/orders", ..BINDING },
            Binding { method: "POSTo", authority: "rders", ..BINDING },
        ] {
            assert_eq!(verify(&text, &secret, binding, NOW_MS), Err(HandoffError::Forged));
        }
        assert_eq!(verify(&text, &Secret::from_bytes([3; 32]), BINDING, NOW_MS), Err(HandoffError::Forged));
        let stale = Err(HandoffError::Stale { minted_at_ms: NOW_MS });
        let allowance = crate::limits::HANDOFF_AGE_MS_MAX;
        assert!(verify(&text, &secret, BINDING, NOW_MS + allowance).is_ok());
        assert_eq!(verify(&text, &secret, BINDING, NOW_MS + allowance + 1), stale);
        assert_eq!(verify(&text, &secret, BINDING, NOW_MS - allowance - 1), stale);
    }
}

universal_test! {
    fn an_unknown_version_is_named_and_says_what_to_do() {
        let secret = Secret::from_bytes([1; 32]);
        let mut bytes = URL_SAFE_NO_PAD.decode(handoff().encode(&secret, BINDING)).unwrap();
        bytes[0] = 2;
        let error = verify(&URL_SAFE_NO_PAD.encode(bytes), &secret, BINDING, NOW_MS).unwrap_err();
        assert_eq!(error.to_string(), "unknown handoff version `2`: this server reads version 1; roll out the server before the filter");
    }
}

universal_test! {
    fn rubbish_is_malformed() {
        let secret = Secret::from_bytes([1; 32]);
        let good = handoff().encode(&secret, BINDING);
        for text in ["", "A", "=", "AQ==", "AQ", good.split_at(111).0, &format!("{good}AA"), &"A".repeat(300)] {
            assert!(matches!(verify(text, &secret, BINDING, NOW_MS), Err(HandoffError::Malformed | HandoffError::UnknownVersion { .. })), "{text}");
        }
    }
}

universal_test! {
    fn the_text_of_version_1_is_fixed() {
        let text = handoff().encode(&Secret::from_bytes([1; 32]), BINDING);
        assert_eq!(text.len(), 115);
        assert_eq!(text, include_str!("fixture-v1.txt").trim_end());
    }
}

universal_test! {
    fn secrets_have_64_digits_and_do_not_print() {
        assert_eq!(Secret::parse(&"0a".repeat(32)), Some(Secret::from_bytes([10; 32])));
        let refused = [String::new(), "0a".repeat(31), "0a".repeat(33), "zz".repeat(32), "+a".repeat(32), "00".repeat(32), format!("{}\n", "0a".repeat(32))];
        for text in refused {
            assert_eq!(Secret::parse(&text), None, "{text}");
        }
        assert_eq!(format!("{:?}", Secret::from_bytes([10; 32])), "Secret(…)");
    }
}
