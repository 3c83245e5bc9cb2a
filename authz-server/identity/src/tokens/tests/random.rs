//! Random edits of tokens: none is let in, and none breaks anything.

use super::{CORP, Draft, NOW_MS, SOLO, WORLD, verify};
use crate::settings::Algorithm;
use crate::tokens::keys::KeySet;
use proptest::prelude::*;
use std::sync::LazyLock;

static GOOD: LazyLock<Vec<String>> = LazyLock::new(|| {
    let solo = Draft::of(SOLO, &WORLD.solo).without_header("kid");
    let of = |by| Draft::of(CORP, by).signed();
    vec![of(&WORLD.rsa), of(&WORLD.es256), of(&WORLD.ed), solo.signed()]
});

#[derive(Debug, Clone)]
enum Edit {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
    /// One part is taken from another token.
    Part(prop::sample::Index, prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let letter = prop::sample::select(b"ABCZabcz019-_.=+/ %\0\"{".to_vec());
    prop_oneof![
        (any::<prop::sample::Index>(), letter.clone()).prop_map(|(at, to)| Edit::Replace(at, to)),
        (any::<prop::sample::Index>(), letter).prop_map(|(at, to)| Edit::Insert(at, to)),
        any::<prop::sample::Index>().prop_map(Edit::Remove),
        any::<prop::sample::Index>().prop_map(Edit::Cut),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>())
            .prop_map(|(part, of)| Edit::Part(part, of)),
    ]
}

fn edited(token: &str, edits: &[Edit]) -> String {
    let mut bytes = token.as_bytes().to_vec();
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        match edit {
            Edit::Replace(at, to) => {
                let at = at.index(bytes.len());
                bytes[at] = *to;
            }
            Edit::Insert(at, to) => bytes.insert(at.index(bytes.len()), *to),
            Edit::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
            Edit::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Edit::Part(part, of) => {
                let text = String::from_utf8(bytes.clone()).unwrap();
                let mut parts: Vec<&str> = text.split('.').collect();
                let other: Vec<&str> = GOOD[of.index(GOOD.len())].split('.').collect();
                let part = part.index(3);
                if let Some(place) = parts.get_mut(part) {
                    *place = other[part];
                }
                bytes = parts.join(".").into_bytes();
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Any time, or one of the minutes at which something changes.
fn near_now() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), NOW_MS - 100_000..NOW_MS + 700_000]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn an_edited_token_is_another_token(
        of in any::<prop::sample::Index>(), edits in prop::collection::vec(edit(), 1..4),
    ) {
        let token = edited(&GOOD[of.index(GOOD.len())], &edits);
        prop_assert_eq!(verify(&token).is_ok(), GOOD.contains(&token), "{}", token);
    }

    #[test]
    fn any_text_is_refused(text in ".{0,200}") {
        prop_assert!(verify(&text).is_err());
    }

    #[test]
    fn any_header_and_claims_are_read_or_refused(header in any::<Vec<u8>>(), claims in any::<Vec<u8>>()) {
        let draft = Draft::of(CORP, &WORLD.ed).header_text(header).claims_text(claims);
        prop_assert!(verify(&draft.signed()).is_err());
    }

    #[test]
    fn at_any_time_it_holds_or_has_a_reason(now_ms in near_now()) {
        let held = WORLD.tokens.verify(&GOOD[1], now_ms).is_ok();
        prop_assert_eq!(held, (NOW_MS - 90_000..NOW_MS + 630_000).contains(&now_ms));
    }

    #[test]
    fn any_set_of_keys_is_read_or_refused(text in any::<Vec<u8>>(), place in any::<prop::sample::Index>()) {
        drop(KeySet::read(&text, &Algorithm::ALL));
        let mut set = super::set_of([WORLD.rsa.jwk(), WORLD.es256.jwk()]).to_string().into_bytes();
        let at = place.index(set.len());
        set.splice(at..at, text);
        drop(KeySet::read(&set, &Algorithm::ALL));
    }
}
