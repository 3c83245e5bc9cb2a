//! The values that policies were asked, as they stand in an entry.
//!
//! INVARIANT: a masked value becomes a keyed digest or nothing, and what is stored of one call is bounded, however large
//! its values are: an entry that were too large to be stored would be a decision that nobody could make.

use crate::bundle::format::Mask;
use crate::bundle::{RecordedField, Recording, Slot};
use crate::digests::Digests;
use crate::ledger::{self, ENTRY_BYTES_MAX};
use crate::value::Value;

/// How much JSON all values of one call may become. Of what is beyond, the digest is stored.
const VALUES_BYTES_MAX: usize = 64 * 1024;

/// How much JSON one value may become: more than anything that a policy compares with.
const VALUE_BYTES_MAX: usize = 4 * 1024;

const _: () = assert!(VALUES_BYTES_MAX * 4 <= ENTRY_BYTES_MAX, "the rest of an entry needs room");

/// The values of an operation's context, in its order.
pub(super) fn record(values: Vec<Option<Value>>, recording: &Recording, digests: &Digests) -> ledger::Asked {
    let mut asked = ledger::Asked::default();
    let mut room = VALUES_BYTES_MAX;
    for (field, value) in recording.fields.iter().zip(values) {
        let Some(value) = value else { continue };
        let RecordedField { slot, label, mask, is_read } = field;
        let bytes = json_bytes(&value);
        let mask = match mask {
            None if bytes <= room.min(VALUE_BYTES_MAX) => {
                room -= bytes;
                store(&mut asked, slot, json(value));
                continue;
            }
            None => None,
            Some(mask) => Some(*mask),
        };
        let digest = match mask {
            Some(Mask::Drop) => None,
            Some(Mask::Digest) | None => Some(digests.value(&json(value))),
        };
        asked.masked.insert(label.clone(), digest);
        // Whether anybody asks for it was worked out only for what is masked.
        if *is_read || mask.is_none() {
            asked.not_replayable.push(label.clone());
        }
    }
    asked
}

fn store(asked: &mut ledger::Asked, slot: &Slot, value: serde_json::Value) {
    match slot {
        Slot::Path(name) => asked.path.insert(name.clone(), value),
        Slot::Query(name) => asked.query.insert(name.clone(), value),
        Slot::Header(name) => asked.header.insert(name.clone(), value),
        Slot::Body(name) => asked.body.insert(name.clone(), value),
    };
}

/// As it stands in an entry. A text is moved, not copied.
fn json(value: Value) -> serde_json::Value {
    match value {
        Value::String(text) | Value::Decimal(text) | Value::Ip(text) => serde_json::Value::String(text),
        Value::Long(number) => number.into(),
        Value::Bool(value) => value.into(),
        Value::Set(items) => items.into_iter().map(json).collect(),
    }
}

/// How many bytes its JSON has, or a few more.
fn json_bytes(value: &Value) -> usize {
    const NUMBER: usize = 20;
    match value {
        Value::String(text) | Value::Decimal(text) | Value::Ip(text) => {
            text.bytes().map(escaped_bytes).fold(2, usize::saturating_add)
        }
        Value::Long(_) | Value::Bool(_) => NUMBER,
        Value::Set(items) => {
            items.iter().map(|item| json_bytes(item).saturating_add(1)).fold(2, usize::saturating_add)
        }
    }
}

const fn escaped_bytes(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{json, json_bytes};
    use crate::value::Value;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Value::String),
            prop::collection::vec(0_u8..0x30, 0..9)
                .prop_map(|bytes| Value::String(bytes.into_iter().map(char::from).collect())),
            any::<i64>().prop_map(Value::Long),
            any::<bool>().prop_map(Value::Bool),
        ];
        leaf.prop_recursive(2, 12, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::Set))
    }

    proptest! {
        #[test]
        fn json_is_never_larger_than_it_was_counted(value in value()) {
            let bytes = json_bytes(&value);
            prop_assert!(json(value).to_string().len() <= bytes);
        }
    }
}
