//! What one VM holds of bodies is bounded for all its streams together, and comes back when they end, however they end.
//!
//! INVARIANT: Envoy has one worker here, so that all streams share one VM. That nothing leaks is shown to the byte: after
//! each round exactly as much fits as before the first.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use palisade_core::limits::{BODY_BYTES_MAX, VM_HELD_BYTES_MAX};
use tests::deadline::eventually;
use tests::raw_client::{Outcome, RawConnection};
use tests::rig::{Options, Target, admin};

use super::message::{Framing, Message, parcel};
use super::yard::{DEPOT, WRITER, Yard};

/// What each of the crowd sends: the largest body, of which one byte is missing.
const HELD_EACH: usize = BODY_BYTES_MAX as usize - 1;

/// So many of them fit.
const CROWD: usize = VM_HELD_BYTES_MAX / HELD_EACH;

/// What still fits beside them.
const ROOM: usize = VM_HELD_BYTES_MAX - CROWD * HELD_EACH;

/// How much more memory Envoy may take than before: each byte once in its buffers, which are cut into slices, and a body or
/// two in the VM.
const MEMORY_BYTES_MAX: usize = 2 * VM_HELD_BYTES_MAX;

const SOON: Duration = Duration::from_secs(20);

/// How a crowd ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its bodies become whole, and good.
    Accepted,
    /// They become whole, and are no JSON.
    Refused,
    /// The callers go.
    Gone,
}

struct Crowd {
    members: Vec<RawConnection>,
    message: Message,
}

impl Crowd {
    /// Sends all but the last byte of each body, and waits until Envoy has read it.
    fn gather(yard: &Yard) -> Crowd {
        let message = Message::post(DEPOT, "/crates", Framing::Length, parcel(HELD_EACH + 1));
        let before = bytes_read(yard.rig.envoy_admin());
        let mut members = Vec::new();
        let mut sent = 0;
        for _ in 0..CROWD {
            let mut member = RawConnection::open(yard.rig.addr()).expect("connect to Envoy");
            let mut bytes = message.head(yard.rig.api_key(WRITER));
            bytes.extend(&message.body[..HELD_EACH]);
            member.write(&bytes).expect("send to Envoy");
            sent += bytes.len();
            members.push(member);
        }
        wait_until_read(yard, before + sent);
        Crowd { members, message }
    }

    fn end(mut self, yard: &Yard, end: End) {
        yard.rig.reset_spies();
        for member in &mut self.members {
            match end {
                End::Accepted => {
                    let reply = member.exchange(b"}").expect_reply();
                    assert_eq!((reply.status, reply.reason()), (200, None));
                }
                End::Refused => {
                    let outcome = member.exchange(b"]");
                    yard.assert_refused(outcome, 400, "json_syntax", "one of the crowd");
                }
                End::Gone => {}
            }
        }
        drop(self.members);
        if end == End::Accepted {
            let requests = yard.rig.requests_seen();
            assert_eq!(requests.len(), CROWD);
            assert!(
                requests.iter().all(|(_, request)| request.body == self.message.body),
                "bodies of another"
            );
        } else {
            yard.assert_unseen("after the crowd");
        }
        eventually("Envoy has no request left", SOON, || {
            let active = stat_of(yard.rig.envoy_admin(), ".downstream_rq_active");
            (active == 0).then_some(())
        });
    }
}

/// One number of Envoy's statistics, over all listeners but the one for administration.
pub(super) fn stat_of(envoy: SocketAddr, name: &str) -> usize {
    let page = admin(envoy, "/stats?filter=downstream_").map(|reply| reply.body).unwrap_or_default();
    let page = String::from_utf8_lossy(&page).into_owned();
    let lines = page.lines().filter_map(|line| line.split_once(": "));
    let ours = lines.filter(|(key, _)| key.starts_with("http.") && !key.starts_with("http.admin."));
    ours.filter(|(key, _)| key.ends_with(name)).filter_map(|(_, value)| value.parse::<usize>().ok()).sum()
}

pub(super) fn bytes_read(envoy: SocketAddr) -> usize {
    stat_of(envoy, ".downstream_cx_rx_bytes_total")
}

pub(super) fn wait_until_read(yard: &Yard, bytes: usize) {
    eventually("Envoy has read what was sent", SOON, || {
        (bytes_read(yard.rig.envoy_admin()) >= bytes).then_some(())
    });
}

fn memory_bytes(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells it");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

fn send(yard: &Yard, framing: Framing, bytes: usize) -> (Message, Outcome) {
    yard.rig.reset_spies();
    let message = Message::post(DEPOT, "/crates", framing, parcel(bytes));
    let outcome = yard.send(WRITER, &message);
    (message, outcome)
}

/// What fits, fits; one byte more is refused, at once or in the middle, and what was held of it is free again.
fn assert_room_to_the_byte(yard: &Yard, what: &str) {
    for framing in [Framing::Length, Framing::Chunked, Framing::Http2] {
        let (_, outcome) = send(yard, framing, ROOM + 1);
        yard.assert_refused(outcome, 503, "proxy_full", what);
        let (message, outcome) = send(yard, framing, ROOM);
        yard.assert_accepted(outcome, &message, what);
    }
    // One that fits at first, and then does not.
    yard.rig.reset_spies();
    let message = Message::post(DEPOT, "/crates", Framing::Length, parcel(ROOM + 1_000));
    let before = bytes_read(yard.rig.envoy_admin());
    let mut grows = RawConnection::open(yard.rig.addr()).expect("connect to Envoy");
    let bytes = [message.head(yard.rig.api_key(WRITER)), message.body[..ROOM].to_vec()].concat();
    grows.write(&bytes).expect("send to Envoy");
    wait_until_read(yard, before + bytes.len());
    // While it holds the rest of the room, nobody else has any.
    let (_, outcome) = send(yard, Framing::Http2Length, 40);
    yard.assert_refused(outcome, 503, "proxy_full", what);
    yard.assert_refused(grows.exchange(b"p"), 503, "proxy_full", what);
    let (message, outcome) = send(yard, Framing::Length, ROOM);
    yard.assert_accepted(outcome, &message, what);
    // Who has no body needs no room.
    yard.rig.reset_spies();
    let read = Message::bare("GET", DEPOT, "/parcels/1", Framing::Http2);
    yard.assert_accepted(yard.send(WRITER, &read), &read, what);
}

fn held_bytes(target: Target) {
    let yard = Yard::start_with(target, Options::default().concurrency(1));
    let (message, outcome) = send(&yard, Framing::Length, HELD_EACH + 1);
    yard.assert_accepted(outcome, &message, "alone");
    let envoy = yard.rig.envoy.pid();
    let at_first = memory_bytes(envoy);
    let mut highest = at_first;
    for (round, end) in [End::Gone, End::Refused, End::Accepted, End::Gone, End::Accepted, End::Refused]
        .into_iter()
        .enumerate()
    {
        let what = format!("round {round}, which ends with {end:?}");
        let crowd = Crowd::gather(&yard);
        assert_room_to_the_byte(&yard, &what);
        highest = highest.max(memory_bytes(envoy));
        crowd.end(&yard, end);
        highest = highest.max(memory_bytes(envoy));
    }
    let grown = highest - at_first;
    println!(
        "{}: {CROWD} bodies of {HELD_EACH} bytes held, 6 times; Envoy's memory {} MB at first, {} MB at most",
        target.name(),
        at_first / 1_000_000,
        highest / 1_000_000
    );
    assert!(grown <= MEMORY_BYTES_MAX, "Envoy's memory has grown by {grown} bytes");
}

#[test]
fn a_full_vm_refuses_what_does_not_fit_and_nothing_leaks_on_envoy() {
    held_bytes(Target::Envoy);
}

#[test]
fn a_full_vm_refuses_what_does_not_fit_and_nothing_leaks_on_istio() {
    held_bytes(Target::Istio);
}
