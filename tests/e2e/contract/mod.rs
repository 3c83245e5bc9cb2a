//! What a contract says, kept to by a real Envoy: parameters, forms, schemas, shadow and responses, in both targets.
//!
//! `bundles/everything` has an operation for each kind of rule.

mod requests;
mod responses;
mod shadow;

use tests::binaries;
use tests::raw_client::Reply;
use tests::rig::{BundleUnderTest, Options, Rig, Target};

/// A rig with the bundle that has everything.
struct Everything {
    rig: Rig,
}

impl Everything {
    fn start(target: Target) -> Everything {
        let bundle = binaries::workspace_dir().join("tests/bundles/everything");
        let options = Options::default().bundle_dir(&bundle);
        Everything { rig: Rig::start_with(target, BundleUnderTest::Demo, options) }
    }

    fn send(&self, method: &str, target: &str, headers: &str, body: &str) -> Reply {
        self.rig.reset_spies();
        let key = self.rig.api_key("web");
        let length =
            if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: orders\r\nx-api-key: {key}\r\n{headers}{length}\r\n"
        );
        self.rig.send(head + body).expect_reply()
    }

    #[track_caller]
    fn passes(&self, method: &str, target: &str, headers: &str, body: &str) {
        let reply = self.send(method, target, headers, body);
        assert_eq!((reply.status, reply.reason()), (200, None), "{method} {target} {headers} {body}");
        let seen = self.rig.requests_seen();
        let [(_, request)] = seen.as_slice() else { panic!("the service saw {} requests", seen.len()) };
        assert_eq!(String::from_utf8_lossy(&request.target), target, "the target arrives as it was sent");
        assert_eq!(String::from_utf8_lossy(&request.body), body, "the body arrives as it was sent");
    }

    #[track_caller]
    fn refused(&self, method: &str, target: &str, headers: &str, body: &str, reason: &str) {
        let reply = self.send(method, target, headers, body);
        assert_eq!(reply.reason().as_deref(), Some(reason), "{method} {target} {headers} {body}");
        assert_eq!(
            self.rig.bytes_seen(),
            0,
            "the service sees nothing of {method} {target} {headers} {body}"
        );
    }
}
