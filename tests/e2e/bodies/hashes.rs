//! Random bodies in random pieces, with another body filter behind ours: what arrives has the hash of what was sent.
//!
//! The seed is printed, and repeats a run. INVARIANT: the other filter says how much of each body it has read, and that is
//! compared too, so that a run without it fails.

use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use tests::dice::Dice;
use tests::rig::{Options, Target};

use super::message::{Framing, Message, digest};
use super::yard::{DEPOT, STORE, WRITER, Yard, assert_same, let_trailers_in, put_before_router};

/// Bodies of both targets together; `PALISADE_BODIES` makes it more.
const BODIES: usize = 300;

/// So many go together, and then the spies are emptied.
const BATCH: usize = 20;

/// Callers at the same time: they share the workers' memory.
const CALLERS: usize = 4;

const SEED: u64 = 5;

/// What `sendCrate` accepts.
const BYTES_MAX: usize = 1_047_552;

/// Where frames, windows and buffers end.
const EDGES: [usize; 9] = [0, 1_024, 16_384, 32_768, 65_535, 65_536, 262_144, 524_288, BYTES_MAX];

/// The smallest body that fits its schema.
const BYTES_MIN: usize = 40;

/// Reads a whole body, and says in a header how long it was.
const READS_BODY: &str = "function envoy_on_request(request)
  local body = request:body(true)
  request:headers():add('x-second-read', body and body:length() or 0)
end";

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: expected a number, got `{text}`")),
        Err(_) => default,
    }
}

fn lua() -> Value {
    json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": { "inline_string": READS_BODY },
        },
    })
}

fn buffer() -> Value {
    json!({
        "name": "envoy.filters.http.buffer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
            "max_request_bytes": 2 * BYTES_MAX,
        },
    })
}

/// Mostly near an edge, on either side of it.
fn size(dice: &mut Dice) -> usize {
    let bytes = match dice.below(4) {
        0 => dice.below(BYTES_MAX + 1),
        1 => dice.below(4_096),
        _ => (dice.one_of(&EDGES) + dice.below(64)).saturating_sub(32),
    };
    bytes.clamp(BYTES_MIN, BYTES_MAX)
}

/// A document of its schema, so many bytes long.
fn document(dice: &mut Dice, bytes: usize) -> Vec<u8> {
    let parts = dice.mostly_below(4, 200);
    let mut text = String::from(r#"{"parts":["#);
    for index in 0..parts {
        let comma = if index == 0 { "" } else { "," };
        let part = format!(r#"{comma}{{"name":"n{}","count":{}}}"#, dice.any(), dice.below(1_000_000));
        // The rest is for what follows.
        if text.len() + part.len() + BYTES_MIN > bytes {
            break;
        }
        text.push_str(&part);
    }
    text.push_str(r#"],"label":""#);
    let fill = bytes - text.len() - 2;
    let letter = |byte: u8| char::from(b'a' + byte % 26);
    text.extend(dice.bytes(fill).into_iter().map(letter));
    text.push_str("\"}");
    text.into_bytes()
}

fn message(dice: &mut Dice, tag: usize) -> Message {
    let framing = dice.one_of(&Framing::ALL);
    let host = if framing.has_trailers() || dice.once_in(2) { STORE } else { DEPOT };
    let bytes = size(dice);
    let body = document(dice, bytes);
    // Tiny pieces of a large body would be a test of patience.
    let smallest = if body.len() > 65_536 { 512 } else { 1 };
    let piece = |dice: &mut Dice| {
        let most = dice.one_of(&[16, 1_024, 16_383, 16_384, 40_000, 300_000]);
        smallest.max(1 + dice.below(most))
    };
    let pieces: Vec<usize> = (0..=dice.below(6)).map(|_| piece(dice)).collect();
    let padding = if dice.once_in(2) { Vec::new() } else { dice.bytes(5) };
    let mut message = Message::post(host, "/crates", framing, body).in_pieces(&pieces);
    message.padding = padding;
    message.header("x-tag", &tag.to_string())
}

/// Sends a batch, several at a time, and compares all that has arrived with all that was sent.
fn run_batch(yard: &Yard, batch: &[Message]) {
    yard.rig.reset_spies();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || {
                for message in batch.iter().skip(caller).step_by(CALLERS) {
                    let reply = yard.send(WRITER, message).expect_reply();
                    assert_eq!((reply.status, reply.reason()), (200, None), "{}", describe(message));
                }
            });
        }
    });
    let mut seen = yard.rig.requests_seen();
    assert_eq!(seen.len(), batch.len(), "each one arrives once");
    for message in batch {
        let what = describe(message);
        let tag = message.headers.iter().find(|(name, _)| name == b"x-tag").map(|(_, tag)| tag.as_slice());
        let at = seen.iter().position(|(_, request)| request.header("x-tag") == tag);
        let (service, mut request) = seen.swap_remove(at.unwrap_or_else(|| panic!("{what}: lost")));
        assert_eq!(service, message.host, "{what}");
        assert_eq!(digest(&request.body), message.digest(), "{what}");
        let read = request.header("x-second-read").map(<[u8]>::to_vec);
        assert_eq!(
            read,
            Some(message.body.len().to_string().into_bytes()),
            "{what}: what the other filter read"
        );
        request.headers.retain(|(name, _)| name != b"x-second-read");
        assert_same(&request, message, &what);
    }
}

fn describe(message: &Message) -> String {
    format!(
        "{:?} to {}, {} bytes in pieces of {:?}, padding {:?}",
        message.framing,
        message.host,
        message.body.len(),
        message.pieces,
        message.padding
    )
}

/// `buffers_first`: another filter holds what ours has released, before the Check.
fn bodies_arrive(target: Target, buffers_first: bool) {
    let bodies = usize::try_from(setting("PALISADE_BODIES", BODIES as u64)).expect("a count").div_ceil(2);
    let seed = setting("PALISADE_BODIES_SEED", SEED) + u64::from(buffers_first);
    let yard = Yard::start_with(
        target,
        Options::default().edit(move |config| {
            let_trailers_in(config);
            put_before_router(config, 0, lua());
            if buffers_first {
                // Directly before ext_authz.
                put_before_router(config, 2, buffer());
            }
        }),
    );
    let began = Instant::now();
    let mut dice = Dice::new(seed);
    let (mut sent, mut bytes) = (0, 0);
    while sent < bodies {
        let count = BATCH.min(bodies - sent);
        let batch: Vec<Message> = (sent..sent + count).map(|tag| message(&mut dice, tag)).collect();
        run_batch(&yard, &batch);
        sent += count;
        bytes += batch.iter().map(|message| message.body.len()).sum::<usize>();
    }
    let passed = began.elapsed();
    println!(
        "{}: {sent} bodies of {} kB in all arrived with equal hashes in {passed:.1?}, seed {seed}",
        target.name(),
        bytes / 1000
    );
}

#[test]
fn random_bodies_arrive_with_equal_hashes_on_envoy() {
    bodies_arrive(Target::Envoy, true);
}

#[test]
fn random_bodies_arrive_with_equal_hashes_on_istio() {
    bodies_arrive(Target::Istio, false);
}
