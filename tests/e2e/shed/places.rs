//! Places in a service: who finds one, and that each is given back.

use super::{DEPOT, KIOSK, Yard, assert_shed, header};
use tests::deadline::eventually;
use tests::rig::{LEDGER_TIMEOUT, Target};

const BODY: &str = r#"{"label":"a"}"#;

#[test]
fn sheddable_requests_yield_before_ordinary_ones_and_critical_ones_last() {
    for target in Target::ALL {
        let yard = Yard::start(target);
        let mut held = yard.hold(3, "GET", "/prices", "");
        held.extend(yard.hold(3, "GET", "/parcels", ""));
        let seen = yard.rig.bytes_seen();
        assert_shed(&yard.get(DEPOT, "/prices", "x-tenant: none\r\n"), 429, "shed_load");
        assert_eq!(yard.rig.bytes_seen(), seen, "the service sees nothing of it");
        held.extend(yard.hold(2, "GET", "/parcels", ""));
        assert_shed(&yard.get(DEPOT, "/parcels", ""), 429, "shed_load");
        held.extend(yard.hold(2, "POST", "/parcels", BODY));
        let head = yard.head(
            DEPOT,
            "POST",
            "/parcels",
            &format!("content-type: application/json\r\ncontent-length: {}\r\n", BODY.len()),
        );
        let seen = yard.rig.bytes_seen();
        // Before its body came, of which nobody has to wait for a byte.
        assert_shed(&yard.rig.send(head).expect_reply(), 429, "shed_load");
        assert_eq!(yard.rig.bytes_seen(), seen);
    }
}

#[test]
fn a_place_is_free_again_when_its_request_was_answered_refused_or_given_up() {
    for target in Target::ALL {
        let yard = Yard::start(target);
        let spy = yard.rig.spy();
        spy.stay_silent(false);
        // Many times as many as there are places: answered, denied by the server, refused for their body.
        for _ in 0..30 {
            assert_eq!(yard.get(DEPOT, "/parcels", "").status, 200);
            let stranger = "GET /parcels HTTP/1.1\r\nhost: depot\r\n\r\n";
            assert_eq!(yard.rig.send(stranger).expect_reply().status, 403);
            let bad = yard.head(
                DEPOT,
                "POST",
                "/parcels",
                "content-type: application/json\r\ncontent-length: 9\r\n",
            ) + r#"{"label":"#;
            assert_eq!(yard.rig.send(bad).expect_reply().reason().as_deref(), Some("json_syntax"));
        }
        let held = yard.hold(8, "GET", "/parcels", "");
        assert_shed(&yard.get(DEPOT, "/parcels", ""), 429, "shed_load");
        drop(held);
        // What was given up goes on in the service for about as long as requests take.
        spy.stay_silent(false);
        eventually("places are free again", LEDGER_TIMEOUT, || {
            (yard.get(DEPOT, "/parcels", "").status == 200).then_some(())
        });
    }
}

#[test]
fn what_is_only_watched_is_served() {
    for target in Target::ALL {
        let yard = Yard::start(target);
        for _ in 0..5 {
            let reply = yard.get(KIOSK, "/parcels", "");
            assert_eq!((reply.status, header(&reply, "retry-after")), (200, None));
            assert_eq!(yard.get(KIOSK, "/prices", "").status, 200);
        }
    }
}
