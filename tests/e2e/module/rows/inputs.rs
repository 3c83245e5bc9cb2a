//! What a row gives to the filter: environments, configurations, heads, bodies, answers, and how a host lies.

use std::cell::Cell;
use std::rc::Rc;

use palisade_core::contract::Contract;
use palisade_core::report::ServerId;
use palisade_core::report::write_reply;
use tests::dice::Dice;
use tests::module::{Answer, Faults, Pairs};

use super::super::scene::{self, ORDER, SECRET_VARIABLE, contract, head};

pub(super) fn environment(dice: &mut Dice) -> Vec<(String, Vec<u8>)> {
    let mut variables = scene::environment();
    match dice.below(40) {
        0 => variables.clear(),
        1 => variables[0].1 = dice.bytes(40).into_iter().filter(|byte| *byte != 0).collect(),
        2 => drop(variables.pop()),
        3 => variables.insert(0, (SECRET_VARIABLE.to_owned(), b"00".repeat(32))),
        _ => {}
    }
    variables
}

/// Good, nearly good, and bad; whether it is the good one.
pub(super) fn configuration(dice: &mut Dice) -> (Vec<u8>, bool) {
    let good = contract();
    match dice.below(16) {
        0..11 => (good.to_vec(), true),
        11 => (Contract::decode(good).unwrap().encode_carrier().unwrap().into_bytes(), true),
        12 => {
            let length = dice.below(300);
            (dice.bytes(length), false)
        }
        13 => {
            let carrier = Contract::decode(good).unwrap().encode_carrier().unwrap();
            (dice.damaged(carrier.as_bytes()), false)
        }
        14 => (good[..dice.below(good.len())].to_vec(), false),
        _ => (dice.damaged(good), false),
    }
}

/// One that the demo accepts.
pub(super) fn good_head(dice: &mut Dice) -> (Pairs, bool) {
    if dice.once_in(4) {
        (head("GET", "/orders?limit=5", &[]), true)
    } else {
        (head("POST", "/orders", &[]), false)
    }
}

/// The next piece of a body that the demo accepts, and whether it is the last.
pub(super) fn good_piece(dice: &mut Dice, held: usize) -> (Vec<u8>, bool) {
    let rest = ORDER.as_bytes().get(held..).unwrap_or_default();
    let count = if dice.once_in(2) { rest.len() } else { dice.below(rest.len() + 1) };
    (rest[..count].to_vec(), count == rest.len())
}

pub(super) fn request_head(dice: &mut Dice) -> Pairs {
    let target = dice.one_of(&[
        ("GET", "/orders"),
        ("GET", "/orders?limit=5"),
        ("GET", "/orders/o-1"),
        ("DELETE", "/orders/o-7"),
        ("POST", "/orders"),
        ("POST", "/orders"),
        ("POST", "/payments"),
        ("POST", "/payments/p-1/refund"),
        ("GET", "/nowhere"),
        ("PUT", "/orders"),
        ("GET", "/orders/../x"),
        ("GET", "/orders?limit=%zz&limit=1&a=b;c=d"),
    ]);
    let mut more = Vec::new();
    for extra in [
        ("x-palisade-handoff", "AAAA"),
        ("x-palisade-x", ""),
        ("content-length", "27"),
        ("content-encoding", "gzip"),
        ("upgrade", "websocket"),
        ("x-request-id", "abc"),
        ("cookie", "a=b; a=c"),
        ("x-envoy-attempt-count", "2"),
        ("content-type", "application/grpc"),
    ] {
        if dice.once_in(10) {
            more.push(extra);
        }
    }
    let mut pairs = head(target.0, target.1, &more);
    for _ in 0..dice.below(3) {
        if dice.once_in(3) {
            let (at, value) = (dice.below(pairs.len()), dice.once_in(2));
            let (name, text) = &mut pairs[at];
            let place = if value { text } else { name };
            *place = dice.damaged(place);
        }
    }
    if dice.once_in(60) {
        pairs.extend((0..dice.below(300)).map(|at| (format!("x-{at}").into_bytes(), b"y".to_vec())));
    }
    pairs
}

pub(super) fn body(dice: &mut Dice) -> Vec<u8> {
    let whole = match dice.below(10) {
        0..4 => ORDER.as_bytes().to_vec(),
        4 => format!("{}1{}", "[".repeat(dice.below(80)), "]".repeat(dice.below(80))).into_bytes(),
        5 => {
            let length = dice.below(64);
            dice.bytes(length)
        }
        6 => vec![b' '; dice.below(80_000)],
        7 => Vec::new(),
        _ => dice.damaged(ORDER.as_bytes()),
    };
    if dice.once_in(6) { dice.damaged(&whole) } else { whole }
}

pub(super) fn response_head(dice: &mut Dice) -> Pairs {
    let status = dice.one_of(&["200", "201", "404", "500", "99", "abc", ""]);
    let kind = dice.one_of(&["application/json", "text/html", "application/json; charset=x", ""]);
    let mut pairs = scene::pairs(&[(":status", status), ("content-type", kind), ("set-cookie", "a=b")]);
    pairs.truncate(dice.below(4));
    if dice.once_in(4) && !pairs.is_empty() {
        let at = dice.below(pairs.len());
        pairs[at].1 = dice.damaged(&pairs[at].1);
    }
    pairs
}

pub(super) fn grpc_answer(dice: &mut Dice) -> Vec<u8> {
    let good = write_reply(ServerId([7; 16]));
    match dice.below(4) {
        0 | 1 => good,
        2 => dice.damaged(&good),
        _ => Vec::new(),
    }
}

/// Statuses that the ABI knows.
const STATUSES: [u32; 8] = [1, 2, 3, 4, 7, 8, 10, 12];

/// A host that does otherwise than it should once in so many calls; `lied` says so.
pub(super) fn faults(mut dice: Dice, once_in: usize, lied: Rc<Cell<bool>>) -> Faults {
    Box::new(move |call, answer| {
        if once_in == 0 || !dice.once_in(once_in) {
            return answer;
        }
        lied.set(true);
        if call == "proxy_grpc_call" {
            return Answer::Failed(dice.one_of(&[4, 10]));
        }
        match (dice.below(6), answer) {
            (0 | 1, _) | (_, Answer::Done | Answer::Failed(_)) => Answer::Failed(dice.one_of(&STATUSES)),
            (_, Answer::Number(_)) => Answer::Number(dice.one_of(&[0, 1, u64::MAX, i64::MAX as u64])),
            // Randomness has the length that was asked for; its worth is nobody's to judge.
            (_, Answer::Bytes(bytes)) if call == "random_get" => Answer::Bytes(vec![0; bytes.len()]),
            (2, Answer::Bytes(_)) => Answer::Done,
            (3, Answer::Bytes(bytes)) => Answer::Bytes(false_lengths(&mut dice, bytes)),
            (4, Answer::Bytes(_)) if dice.once_in(20) => Answer::Bytes(vec![0xff; 400_000]),
            (_, Answer::Bytes(bytes)) => Answer::Bytes(dice.damaged(&bytes)),
        }
    })
}

/// A map whose count, or one of whose lengths, is another.
fn false_lengths(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<u8> {
    let words = (bytes.len() / 4).min(12);
    if words == 0 {
        return vec![0];
    }
    let at = dice.below(words) * 4;
    let lie = dice.one_of(&[0, 1, 2, 127, 128, 129, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
    bytes[at..at + 4].copy_from_slice(&lie.to_le_bytes());
    bytes
}
