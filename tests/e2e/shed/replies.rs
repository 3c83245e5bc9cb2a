//! What a caller is told that is one too many, in its own protocol.

use super::{DEPOT, LINE, SPARE, Yard, assert_shed, header};
use tests::http1;
use tests::raw_h2::{self, H2Request};
use tests::rig::Target;

#[test]
fn an_http_caller_is_told_when_to_come_again_and_its_proxy_not_to_try_by_itself() {
    for target in Target::ALL {
        let yard = Yard::start(target);
        let _held = yard.hold(8, "GET", "/parcels", "");
        let reply = yard.get(DEPOT, "/parcels", "");
        assert_shed(&reply, 429, "shed_load");
        assert_eq!(header(&reply, "x-envoy-ratelimited").as_deref(), Some("true"));
        assert_eq!(header(&reply, "content-type").as_deref(), Some("application/json"));
        assert_eq!(header(&reply, "grpc-retry-pushback-ms"), None);
        let after_s: u32 = header(&reply, "retry-after").expect("a time").parse().expect("seconds");
        assert!((1..=3).contains(&after_s), "{after_s}");
        assert!(reply.decision_id().is_some());
    }
}

#[test]
fn another_replica_may_be_asked_where_only_this_one_is_hot() {
    for target in Target::ALL {
        let yard = Yard::start(target);
        let reply = yard.get(SPARE, "/parcels", "");
        assert_shed(&reply, 503, "shed_load");
        assert_eq!(header(&reply, "x-envoy-ratelimited"), None);
        assert_eq!(header(&reply, "retry-after"), None);
        assert_eq!(header(&reply, "grpc-status").as_deref(), Some("14"));
        // The second one that is hot ends it.
        let reply = yard.get(SPARE, "/parcels", "x-envoy-attempt-count: 2\r\n");
        assert_shed(&reply, 429, "shed_load");
        assert_eq!(header(&reply, "x-envoy-ratelimited").as_deref(), Some("true"));
        assert_eq!(header(&reply, "grpc-status"), None);
    }
}

#[test]
fn a_grpc_caller_gets_a_grpc_status_and_pushback() {
    for target in Target::ALL {
        let yard = Yard::start(target);
        yard.rig.reset_spies();
        let fixed = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", LINE),
            (":path", "/yard.Line/Call"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("x-api-key", yard.rig.api_key(super::CLIENT)),
        ];
        let request = H2Request {
            headers: fixed
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect(),
            data: vec![vec![0; 5]],
            ..H2Request::default()
        };
        let reply = raw_h2::send(yard.rig.addr(), &request).expect_reply();
        let field = |name| {
            let value = reply.header(name).or_else(|| http1::header(&reply.trailers, name));
            value.map(|value| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(reply.status, 200);
        assert_eq!(field("grpc-status").as_deref(), Some("8"));
        assert_eq!(field("x-envoy-ratelimited").as_deref(), Some("true"));
        let pushback: i64 = field("grpc-retry-pushback-ms").expect("a pushback").parse().expect("a number");
        assert!(pushback == -1 || (1000..=3000).contains(&pushback), "{pushback}");
        assert!(field("grpc-message").is_some_and(|message| message.contains("shed_load")));
        assert_eq!(yard.rig.bytes_seen(), 0);
    }
}
