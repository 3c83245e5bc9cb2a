//! What a document means, as our reader's events tell it, in the canonical form that all sides hash.

use palisade_core::json::{Event, Events, Fault, Numbers, Text};
use sha2::{Digest, Sha256};

pub(super) type Hash = [u8; 16];

enum Open {
    Array(Vec<u8>),
    Object { members: Vec<(String, Vec<u8>)>, key: String },
}

/// The hash of a document's value; a fault where it is refused.
pub(super) fn of(document: &[u8], numbers: Numbers) -> Result<Hash, Fault> {
    let mut events = Events::new(document, numbers)?;
    let mut open: Vec<Open> = Vec::new();
    let mut whole = None;
    while let Some(event) = events.next()? {
        let value = match event {
            Event::ArrayStart => {
                open.push(Open::Array(Vec::new()));
                continue;
            }
            Event::ObjectStart => {
                open.push(Open::Object { members: Vec::new(), key: String::new() });
                continue;
            }
            Event::Key(text, _) => {
                let Some(Open::Object { key, .. }) = open.last_mut() else {
                    panic!("a key outside of an object")
                };
                *key = meaning(text);
                continue;
            }
            Event::ArrayEnd | Event::ObjectEnd => closed(open.pop().expect("what ends was begun")),
            Event::Text(text) => string(&meaning(text)),
            Event::Number(text) => {
                let double: f64 = text.parse().expect("a number is one for Rust, too");
                [b"n", &double.to_be_bytes()[..]].concat()
            }
            Event::Bool(value) => vec![if value { b't' } else { b'f' }],
            Event::Null => vec![b'z'],
        };
        match open.last_mut() {
            Some(Open::Array(items)) => items.extend(value),
            Some(Open::Object { members, key }) => members.push((std::mem::take(key), value)),
            None => assert!(whole.replace(value).is_none(), "two values in one document"),
        }
    }
    let digest = Sha256::digest(whole.expect("a document has a value"));
    Ok(digest[..16].try_into().expect("sixteen bytes"))
}

fn meaning(text: Text<'_>) -> String {
    text.decode(&mut String::new()).to_owned()
}

fn string(text: &str) -> Vec<u8> {
    [b"s", &(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

fn closed(open: Open) -> Vec<u8> {
    match open {
        Open::Array(items) => [b"[", &items[..], b"]"].concat(),
        Open::Object { mut members, .. } => {
            members.sort();
            let members: Vec<u8> =
                members.iter().flat_map(|(key, value)| [string(key), value.clone()].concat()).collect();
            [b"{", &members[..], b"}"].concat()
        }
    }
}
