//! Requests that are no head with a plain body behind it: what no gate may be surprised by.
//!
//! INVARIANT: each refused one has an accepted twin that differs in nothing else.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use tests::deadline::eventually;
use tests::raw_client::{self, Outcome, Piece, Then};
use tests::raw_h2;
use tests::rig::{Options, Target};

use super::full::{bytes_read, stat_of, wait_until_read};
use super::message::{Framing, Message, parcel};
use super::yard::{DEPOT, STORE, WRITER, Yard, assert_same, let_trailers_in, remove_gate};

const SOON: Duration = Duration::from_secs(20);

/// What comes of a request: nothing, or a refusal with this status and reason.
type Refusal = Option<(u16, &'static str)>;

const NOT_DECLARED: Refusal = Some((400, "body_not_declared"));
const MISSING: Refusal = Some((400, "body_missing"));
const SYNTAX: Refusal = Some((400, "json_syntax"));
const TOO_LARGE: Refusal = Some((413, "body_too_large"));
const TRAILER: Refusal = Some((400, "trailer_not_allowed"));

/// One check for all: sent in whatever way, it is refused and unseen, or it arrives as it was sent.
#[track_caller]
fn check(yard: &Yard, message: &Message, expected: Refusal, what: &str, send: impl FnOnce() -> Outcome) {
    yard.rig.reset_spies();
    let outcome = send();
    match expected {
        Some((status, reason)) => yard.assert_refused(outcome, status, reason, what),
        None => yard.assert_accepted(outcome, message, what),
    }
}

/// The same, sent in the ordinary way.
#[track_caller]
fn check_plain(yard: &Yard, message: &Message, expected: Refusal, what: &str) {
    check(yard, message, expected, what, || yard.send(WRITER, message));
}

/// Behind HTTP/1.1 trailers would get lost.
const fn host_of(framing: Framing) -> &'static str {
    if framing.has_trailers() { STORE } else { DEPOT }
}

fn broken(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.pop();
    body.push(b']');
    body
}

fn bodies_where_none_belongs(yard: &Yard) {
    for method in ["GET", "DELETE"] {
        for framing in Framing::ALL {
            let what = format!("{method} {framing:?}");
            let bare = Message::bare(method, DEPOT, "/parcels/1", framing);
            check_plain(yard, &bare, None, &what);
            for body in [parcel(50), parcel(100_000), b"x".to_vec()] {
                check_plain(yard, &Message { body, ..bare.clone() }, NOT_DECLARED, &what);
            }
        }
        // A frame without a byte is no body.
        let bare = Message::bare(method, DEPOT, "/parcels/1", Framing::Http2);
        let empty = |frames| raw_h2::H2Request {
            data: vec![Vec::new(); frames],
            ..bare.on_http2(yard.rig.api_key(WRITER))
        };
        let what = format!("{method} with an empty frame");
        check(yard, &bare, None, &what, || raw_h2::send(yard.rig.addr(), &empty(1)));
        // Several in a row are a flood to Envoy.
        yard.rig.reset_spies();
        assert_eq!(raw_h2::send(yard.rig.addr(), &empty(3)), Outcome::Closed);
        yard.assert_unseen("a flood of empty frames");
    }
}

fn bodies_that_are_missing(yard: &Yard) {
    for framing in Framing::ALL {
        let what = format!("nothing, {framing:?}");
        check_plain(yard, &Message::post(host_of(framing), "/parcels", framing, ""), MISSING, &what);
        check_plain(yard, &Message::post(host_of(framing), "/notes", framing, ""), None, &what);
    }
    for (path, expected) in [("/parcels", MISSING), ("/notes", None)] {
        let message = Message::post(DEPOT, path, Framing::Http2, "");
        let key = yard.rig.api_key(WRITER);
        let empty = raw_h2::H2Request { data: vec![Vec::new()], ..message.on_http2(key) };
        check(yard, &message, expected, "an empty frame", || raw_h2::send(yard.rig.addr(), &empty));
        // Neither a length nor chunks: there is no body.
        let message = Message::post(DEPOT, path, Framing::Length, "");
        let head = String::from_utf8_lossy(&message.head(key)).replace("content-length: 0\r\n", "");
        check(yard, &message, expected, "a head alone", || raw_client::send(yard.rig.addr(), &head));
    }
}

fn empty_frames_between(yard: &Yard) {
    for trailers in [Framing::Http2, Framing::Http2Trailers] {
        let good = Message::post(host_of(trailers), "/parcels", trailers, parcel(600));
        for (body, expected) in [(good.body.clone(), None), (broken(&good.body), SYNTAX)] {
            let (first, second) = body.split_at(200);
            let data = [b"", first, b"", second, b""].map(<[u8]>::to_vec).into();
            let request = raw_h2::H2Request { data, ..good.on_http2(yard.rig.api_key(WRITER)) };
            let what = format!("empty frames before, in and behind it, {trailers:?}");
            check(yard, &good, expected, &what, || raw_h2::send(yard.rig.addr(), &request));
        }
    }
}

fn bodies_that_wait_to_be_wanted(yard: &Yard) {
    for framing in [Framing::Length, Framing::Chunked] {
        for (body, expected) in
            [(parcel(300), None), (broken(&parcel(300)), SYNTAX), (parcel(20_001), TOO_LARGE)]
        {
            let message = Message::post(DEPOT, "/parcels", framing, body).header("expect", "100-continue");
            let pieces = [
                Piece { bytes: message.head(yard.rig.api_key(WRITER)), then: Then::AwaitReaction },
                Piece { bytes: message.framed_body(), then: Then::Continue },
            ];
            let what = format!("awaited, {framing:?}");
            check(yard, &message, expected, &what, || raw_client::send_pieces(yard.rig.addr(), &pieces));
        }
    }
}

/// Each byte of it is a packet, a chunk or a frame of its own.
fn single_bytes(yard: &Yard) {
    for framing in Framing::ALL {
        for (body, expected) in [(parcel(120), None), (broken(&parcel(120)), SYNTAX)] {
            let message = Message::post(host_of(framing), "/parcels", framing, body).in_pieces(&[1]);
            let what = format!("byte by byte, {framing:?}");
            check(yard, &message, expected, &what, || {
                if framing.is_http2() {
                    return yard.send(WRITER, &message);
                }
                let bytes = [message.head(yard.rig.api_key(WRITER)), message.framed_body()].concat();
                let piece = |byte| Piece { bytes: vec![byte], then: Then::Continue };
                let pieces: Vec<Piece> = bytes.into_iter().map(piece).collect();
                raw_client::send_pieces(yard.rig.addr(), &pieces)
            });
        }
    }
}

/// The operations of one service have limits of their own.
fn limits_of_operations(yard: &Yard) {
    for (method, path, limit) in [
        ("POST", "/parcels", 20_000),
        ("PUT", "/parcels/1", 1_024),
        ("POST", "/notes", 4_096),
        ("POST", "/crates", 1_047_552),
    ] {
        for framing in [Framing::Length, Framing::Chunked, Framing::Http2Length, Framing::Http2] {
            for (bytes, expected) in [(limit, None), (limit + 1, TOO_LARGE)] {
                let message = Message::post(DEPOT, path, framing, parcel(bytes));
                let what = format!("{bytes} bytes to {method} {path}, {framing:?}");
                check_plain(yard, &Message { method, ..message }, expected, &what);
            }
        }
    }
}

/// Names that say something by which a request is framed, judged or routed.
const DECISIVE: [&str; 12] = [
    "authorization",
    "content-encoding",
    "content-type",
    "cookie",
    "forwarded",
    "idempotency-key",
    "x-api-key",
    "x-envoy-retry-on",
    "x-forwarded-client-cert",
    "x-http-method-override",
    "x-original-url",
    "x-palisade-handoff",
];

fn trailers_that_decide(yard: &Yard) {
    for framing in [Framing::ChunkedTrailers, Framing::Http2Trailers] {
        for (path, body) in [("/parcels", parcel(100)), ("/notes", parcel(100)), ("/notes", Vec::new())] {
            let good = Message::post(STORE, path, framing, body);
            check_plain(yard, &good, None, &format!("{framing:?} to {path}"));
            for name in DECISIVE {
                let what = format!("trailer {name} to {path}, {framing:?}");
                check_plain(yard, &good.clone().trailer(name, "1"), TRAILER, &what);
            }
        }
    }
    // The end of a stream: also where the head let the request go on without a body.
    for name in DECISIVE {
        let read = Message::bare("GET", DEPOT, "/parcels/1", Framing::Http2Trailers).trailer(name, "1");
        check_plain(yard, &read, TRAILER, &format!("trailer {name} of a read"));
    }
}

/// Callers that go, or say nothing more, in the middle of a body that was good so far.
fn callers_that_go(yard: &Yard) {
    let envoy = yard.rig.envoy_admin();
    for framing in Framing::ALL {
        for half_closes in [false, true] {
            let what = format!("gone, {framing:?}, half closed: {half_closes}");
            yard.rig.reset_spies();
            let message =
                Message::post(host_of(framing), "/parcels", framing, parcel(10_000)).in_pieces(&[900]);
            let stream = begin(yard, &message);
            yard.assert_unseen(&what);
            if half_closes {
                let _ = stream.shutdown(Shutdown::Write);
                eventually("Envoy has ended what can have no end", SOON, || {
                    (stat_of(envoy, ".downstream_rq_active") == 0).then_some(())
                });
            }
            drop(stream);
            eventually("Envoy has no request left", SOON, || {
                (stat_of(envoy, ".downstream_rq_active") == 0).then_some(())
            });
            yard.assert_unseen(&what);
            // Nothing of it stands before the next one.
            check_plain(yard, &message, None, &what);
        }
    }
}

/// Sends the head and some of the body, and waits until Envoy has read it.
fn begin(yard: &Yard, message: &Message) -> TcpStream {
    let (envoy, key) = (yard.rig.envoy_admin(), yard.rig.api_key(WRITER));
    let before = bytes_read(envoy);
    let stream = if message.framing.is_http2() {
        let mut request = message.on_http2(key);
        request.data.truncate(5);
        request.trailers.clear();
        raw_h2::open(yard.rig.addr(), &raw_h2::H2Request { open: true, ..request }).expect("send to Envoy")
    } else {
        let mut stream = TcpStream::connect(yard.rig.addr()).expect("connect to Envoy");
        let body = message.framed_body();
        stream.write_all(&[&message.head(key), &body[..4_500]].concat()).expect("send to Envoy");
        stream
    };
    wait_until_read(yard, before + 4_500);
    stream
}

fn edges(target: Target) {
    let yard = Yard::start_with(target, Options::default().edit(let_trailers_in));
    bodies_where_none_belongs(&yard);
    bodies_that_are_missing(&yard);
    empty_frames_between(&yard);
    bodies_that_wait_to_be_wanted(&yard);
    single_bytes(&yard);
    limits_of_operations(&yard);
    trailers_that_decide(&yard);
    callers_that_go(&yard);
}

#[test]
fn nothing_but_what_was_judged_arrives_on_envoy() {
    edges(Target::Envoy);
}

#[test]
fn nothing_but_what_was_judged_arrives_on_istio() {
    edges(Target::Istio);
}

/// As it is generated, Envoy reads trailers of HTTP/1.1 and forgets them: nobody sees what they say.
#[test]
fn trailers_of_http1_are_dropped_where_nobody_lets_them_in() {
    for target in Target::ALL {
        let yard = Yard::start(target);
        for name in ["x-sum", "x-http-method-override"] {
            let sent = Message::post(STORE, "/parcels", Framing::ChunkedTrailers, parcel(90))
                .trailer(name, "DELETE");
            let arrives = Message { trailers: Vec::new(), ..sent.clone() };
            check(&yard, &arrives, None, name, || yard.send(WRITER, &sent));
            let refused = Message { body: broken(&sent.body), ..sent };
            check(&yard, &refused, SYNTAX, name, || yard.send(WRITER, &refused));
        }
    }
}

/// Where the gate was taken away, what has come of a body goes on before its end. The filter misses it, and the service,
/// which has seen some of it, never gets a whole request.
#[test]
fn a_body_that_was_let_on_in_the_middle_never_becomes_whole() {
    for target in Target::ALL {
        let yard = Yard::start_with(target, Options::default().edit(remove_gate));
        for framing in [Framing::Chunked, Framing::Http2] {
            // The rest is shorter than what came first.
            let mut message = Message::post(DEPOT, "/parcels", framing, parcel(9_000)).in_pieces(&[3_000]);
            message.body.truncate(8_000);
            message.halts = true;
            let outcome = yard.send(WRITER, &message);
            if let Outcome::Reply(reply) = &outcome {
                let refusal = (reply.status, reply.reason());
                assert!(reply.status == 400 && reply.reason().is_some(), "{framing:?}: {refusal:?}");
            }
            eventually("Envoy has no request left", SOON, || {
                (stat_of(yard.rig.envoy_admin(), ".downstream_rq_active") == 0).then_some(())
            });
            assert!(yard.rig.bytes_seen() > 0, "this is a test of what happens without a gate");
            assert!(yard.rig.requests_seen().is_empty(), "{:?}", yard.rig.requests_seen());
        }
    }
}

/// Good and bad bodies at the same time, on all workers: each service sees the good ones and no byte of the others.
#[test]
fn good_bodies_beside_bad_ones_arrive_alone() {
    const CALLERS: usize = 6;
    const EACH: usize = 20;
    for target in Target::ALL {
        let yard = Yard::start(target);
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (yard, framing) = (&yard, Framing::ALL[caller]);
                scope.spawn(move || {
                    for round in 0..EACH {
                        let good = numbered(framing, caller * EACH + round);
                        let bad = Message { body: broken(&good.body), ..good.clone() };
                        assert_eq!(yard.send(WRITER, &bad).expect_reply().status, 400);
                        assert_eq!(yard.send(WRITER, &good).expect_reply().status, 200);
                    }
                });
            }
        });
        let mut seen = yard.rig.requests_seen();
        assert_eq!(seen.len(), CALLERS * EACH);
        for number in 0..seen.len() {
            let sent = numbered(Framing::ALL[number / EACH], number);
            let tag = number.to_string();
            let at = seen.iter().position(|(_, request)| request.header("x-tag") == Some(tag.as_bytes()));
            let (_, request) = seen.swap_remove(at.expect("each good one arrives"));
            assert_same(&request, &sent, &tag);
        }
    }
}

fn numbered(framing: Framing, number: usize) -> Message {
    let mut message = Message::post(STORE, "/parcels", framing, parcel(1_000 + 150 * number));
    message.trailers.retain(|_| framing.is_http2());
    message.header("x-tag", &number.to_string())
}
