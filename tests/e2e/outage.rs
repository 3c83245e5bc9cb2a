//! Parts that die, hang and come back: a write never passes without a decision.

use std::time::{Duration, Instant};

use tests::deadline::eventually;
use tests::raw_client::{Outcome, RawConnection};
use tests::rig::{BundleUnderTest, Rig, START_TIMEOUT, Target};

/// A hanging server must cost a caller no more than this, whatever the generated timeout is.
const HANG_NOTICED_WITHIN: Duration = Duration::from_secs(5);

fn assert_served(rig: &Rig) {
    for request in [rig.read_request(), rig.write_request()] {
        let reply = rig.send(&request).expect_reply();
        assert_eq!(reply.status, 200, "{:?}", reply.reason());
    }
}

fn eventually_served(rig: &Rig) {
    eventually("requests are served again", START_TIMEOUT, || {
        let outcome = rig.send(rig.write_request());
        matches!(outcome, Outcome::Reply(reply) if reply.status == 200).then_some(())
    });
    assert_served(rig);
}

/// Both kinds of request are refused, and not a byte of them reaches a service.
fn assert_refused_unseen(rig: &Rig) {
    rig.reset_spies();
    for request in [rig.write_request(), rig.read_request()] {
        let reply = rig.send(&request).expect_reply();
        assert!(matches!(reply.status, 403 | 503), "got {} while the server cannot answer", reply.status);
    }
    assert_eq!(rig.bytes_seen(), 0, "{:?}", rig.requests_seen());
}

fn killed_server(target: Target) {
    let mut rig = Rig::start(target, BundleUnderTest::Demo);
    assert_served(&rig);
    rig.server.kill();
    assert_refused_unseen(&rig);
    rig.server.restart();
    rig.wait_until_server_is_ready();
    eventually_served(&rig);
}

#[test]
fn a_killed_server_refuses_everything_on_envoy() {
    killed_server(Target::Envoy);
}

#[test]
fn a_killed_server_refuses_everything_on_istio() {
    killed_server(Target::Istio);
}

#[test]
fn a_hanging_server_is_a_refusal_in_time() {
    let mut rig = Rig::start(Target::Envoy, BundleUnderTest::Second);
    assert_served(&rig);
    rig.server.pause();
    rig.reset_spies();
    let start = Instant::now();
    let reply = rig.send(rig.write_request()).expect_reply();
    assert!(matches!(reply.status, 403 | 503), "got {}", reply.status);
    assert!(start.elapsed() < HANG_NOTICED_WITHIN, "the refusal took {:?}", start.elapsed());
    assert_eq!(rig.bytes_seen(), 0);
    rig.server.resume();
    eventually_served(&rig);
    // What was refused while the server hung may be decided late, but is never delivered.
    let writes = rig.spy().requests().iter().filter(|request| request.method == b"POST").count();
    let allowed = rig.decisions().iter().filter(|decision| decision.method == "POST").count();
    assert!(writes <= allowed, "{writes} writes were delivered, {allowed} were decided on");
}

#[test]
fn a_request_that_waits_for_a_dying_server_is_refused() {
    let mut rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    rig.server.pause();
    rig.reset_spies();
    let mut connection = RawConnection::open(rig.addr()).expect("connect to the listener");
    connection.write(rig.write_request().as_bytes()).expect("send to the listener");
    rig.server.kill();
    let reply = connection.exchange(b"").expect_reply();
    assert!(matches!(reply.status, 403 | 503), "got {}", reply.status);
    assert_eq!(rig.bytes_seen(), 0);
}

#[test]
fn a_restarted_envoy_serves_as_before() {
    let mut rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    rig.envoy.kill();
    assert_eq!(rig.send(rig.read_request()), Outcome::Closed);
    rig.envoy.restart();
    rig.wait_until_envoy_is_ready();
    rig.wait_until_guarded();
    assert_served(&rig);
}

#[test]
fn the_server_ends_by_itself_when_asked() {
    let mut rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    assert_served(&rig);
    let status = rig.server.terminate(Duration::from_secs(20));
    assert!(status.success(), "the server ended with {status}");
    assert_refused_unseen(&rig);
}
