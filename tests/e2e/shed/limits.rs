//! Rate limits: zero is zero, keys have allowances of their own, and the workers of a proxy keep one limit together.

use super::{DEPOT, Yard, assert_shed, header};
use tests::rig::{Options, Target};

#[test]
fn zero_lets_nothing_pass() {
    for target in Target::ALL {
        let yard = Yard::start(target);
        yard.rig.reset_spies();
        for _ in 0..3 {
            let reply = yard.get(DEPOT, "/closed", "");
            assert_shed(&reply, 429, "rate_limited");
            // There is no time after which it would pass.
            assert_eq!(header(&reply, "retry-after"), None);
            assert_eq!(header(&reply, "x-envoy-ratelimited").as_deref(), Some("true"));
        }
        assert_eq!(yard.rig.bytes_seen(), 0);
    }
}

#[test]
fn each_key_has_an_allowance_of_its_own() {
    for target in Target::ALL {
        let yard = Yard::start(target);
        for tenant in ["x-tenant: a\r\n", "x-tenant: b\r\n", ""] {
            let statuses = [(); 5].map(|()| yard.get(DEPOT, "/prices", tenant).status);
            assert_eq!(statuses, [200, 200, 200, 429, 429], "{tenant}");
        }
        // Another operation has nothing to do with it.
        assert_eq!(yard.get(DEPOT, "/parcels", "x-tenant: a\r\n").status, 200);
    }
}

#[test]
fn a_second_worker_hears_what_the_first_let_pass() {
    let yard = Yard::start_with(Target::Envoy, Options::default().concurrency(2));
    // Each worker has a burst of three. An hour's allowance for all together is used up when both have heard.
    let passed = (0..200).filter(|_| yard.get(DEPOT, "/prices", "x-tenant: c\r\n").status == 200).count();
    assert!((3..=6).contains(&passed), "{passed} passed");
}
