//! Retries live on a budget, and when it is spent callers hear it before they try.

use super::{DEPOT, Yard, assert_shed, header};
use tests::rig::Target;

const FAILURE: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";

/// Each family of clients in its own words.
const RETRIES: [&str; 5] = [
    "x-envoy-attempt-count: 2\r\n",
    "grpc-previous-rpc-attempts: 1\r\n",
    "amz-sdk-request: attempt=2; max=3\r\n",
    "x-goog-api-client: gl-go/1.22 gccl/1.40 gccl-attempt-count/2\r\n",
    "x-stainless-retry-count: 1\r\n",
];

#[test]
fn retries_are_let_in_on_a_budget_and_first_attempts_always() {
    for target in Target::ALL {
        for retry in RETRIES {
            let yard = Yard::start(target);
            yard.rig.spy().answer_with(Some(FAILURE));
            let mut passed = 0;
            let mut shed = 0;
            for _ in 0..60 {
                let reply = yard.get(DEPOT, "/parcels", retry);
                match reply.status {
                    500 => passed += 1,
                    _ => {
                        assert_shed(&reply, 429, "shed_retry");
                        shed += 1;
                    }
                }
            }
            assert!(passed <= 30 && shed >= 30, "{retry}: {passed} passed, {shed} were shed");
            // Whatever retries did: a first attempt goes through, and hears that another one is of no use.
            let reply = yard.get(DEPOT, "/parcels", "");
            assert_eq!((reply.status, reply.reason()), (500, None));
            assert_eq!(header(&reply, "x-envoy-ratelimited").as_deref(), Some("true"), "{retry}");
            let requests = yard.rig.requests_seen().len();
            assert_eq!(requests, passed + 1, "what was shed never reached the service");
        }
    }
}

#[test]
fn a_repeated_idempotency_key_is_a_retry() {
    let yard = Yard::start(Target::Envoy);
    yard.rig.spy().answer_with(Some(FAILURE));
    let replies = (0..60).map(|_| yard.get(DEPOT, "/parcels", "idempotency-key: once\r\n"));
    let shed = replies.filter(|reply| reply.reason().as_deref() == Some("shed_retry")).count();
    assert!(shed >= 25, "{shed} were shed");
    for nth in 0..20 {
        let reply = yard.get(DEPOT, "/parcels", &format!("idempotency-key: another-{nth}\r\n"));
        assert_eq!(reply.status, 500, "each is a first attempt");
    }
}

#[test]
fn while_the_budget_lasts_a_failure_goes_out_as_it_is() {
    let yard = Yard::start(Target::Envoy);
    yard.rig.spy().answer_with(Some(FAILURE));
    let reply = yard.get(DEPOT, "/parcels", "");
    assert_eq!((reply.status, header(&reply, "x-envoy-ratelimited")), (500, None));
}
