//! Load, on a real Envoy: what is one too many is refused before a byte of it reaches its service, and the caller is told
//! when to come again.
//!
//! What the shedder does over time is asked by the simulator; here is what it does to real requests.

mod limits;
mod places;
mod replies;
mod retries;

use std::collections::BTreeMap;

use tests::binaries;
use tests::corpus::profile::{Profile, UpstreamProtocol};
use tests::raw_client::{RawConnection, Reply};
use tests::rig::{BundleUnderTest, LEDGER_TIMEOUT, Options, Rig, Target};

const BUNDLE: &str = "tests/e2e/shed/bundle";
const CLIENT: &str = "writer";

/// Sheds for real.
const DEPOT: &str = "depot";

/// Is only watched.
const KIOSK: &str = "kiosk";

/// Has other replicas.
const SPARE: &str = "spare";

/// Speaks gRPC.
const LINE: &str = "line";

struct Yard {
    rig: Rig,
}

impl Yard {
    /// With one worker, so that a test knows what all of them have in work.
    fn start(target: Target) -> Yard {
        Yard::start_with(target, Options::default().concurrency(1))
    }

    fn start_with(target: Target, options: Options) -> Yard {
        let values = [
            ("service", DEPOT),
            ("host", DEPOT),
            ("client", CLIENT),
            ("reader", CLIENT),
            ("write_body", "{}"),
        ];
        let protocol = |name: &str| match name {
            LINE => UpstreamProtocol::H2c,
            _ => UpstreamProtocol::Http1,
        };
        let services = [DEPOT, KIOSK, SPARE, LINE].map(|name| (name.to_owned(), protocol(name)));
        let profile = Profile {
            bundle: BUNDLE.to_owned(),
            services: BTreeMap::from(services),
            clients: vec![CLIENT.to_owned()],
            features: Vec::new(),
            write_bytes_max: 0,
            values: values.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        let options = options.profile(profile).bundle_dir(&binaries::workspace_dir().join(BUNDLE));
        Yard { rig: Rig::start_with(target, BundleUnderTest::Demo, options) }
    }

    fn head(&self, host: &str, method: &str, path: &str, headers: &str) -> String {
        let key = self.rig.api_key(CLIENT);
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\n{headers}\r\n")
    }

    fn get(&self, host: &str, path: &str, headers: &str) -> Reply {
        self.rig.send(self.head(host, "GET", path, headers)).expect_reply()
    }

    /// Requests that their service has and does not answer.
    fn hold(&self, count: usize, method: &str, path: &str, body: &str) -> Vec<RawConnection> {
        let spy = &self.rig.spy();
        spy.stay_silent(true);
        let before = spy.requests().len();
        let headers = match body {
            "" => String::new(),
            body => format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()),
        };
        let request = self.head(DEPOT, method, path, &headers) + body;
        let held: Vec<_> = (0..count)
            .map(|_| {
                let mut connection = RawConnection::open(self.rig.addr()).expect("Envoy takes connections");
                connection.write(request.as_bytes()).expect("Envoy reads");
                connection
            })
            .collect();
        let arrived = |seen: &tests::spy::Seen| seen.requests.len() >= before + count;
        assert!(spy.wait_until(arrived, LEDGER_TIMEOUT), "{count} requests of {path} reach the service");
        held
    }
}

/// It was refused because it is one too many.
#[track_caller]
fn assert_shed(reply: &Reply, status: u16, reason: &str) {
    let body = String::from_utf8_lossy(&reply.body);
    assert_eq!((reply.status, reply.reason().as_deref()), (status, Some(reason)), "{body}");
}

fn header(reply: &Reply, name: &str) -> Option<String> {
    reply.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
}
