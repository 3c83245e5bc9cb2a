//! The rig of these tests: a bundle of their own, two services, and what is asserted of the spies behind them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::binaries;
use tests::corpus::profile::{Profile, UpstreamProtocol};
use tests::deadline::eventually;
use tests::http1::{Body, Head};
use tests::raw_client::{Outcome, Reply};
use tests::rig::{BundleUnderTest, LEDGER_TIMEOUT, Options, Rig, Target};
use tests::spy::{Protocol, SeenRequest};

use super::message::Message;

const BUNDLE: &str = "tests/e2e/bodies/bundle";

/// Headers that Envoy itself adds on the way to a service.
const ADDED: [&str; 5] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
];

/// Headers that say how a body is framed, which each connection says for itself.
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "connection"];

/// May do everything.
pub(super) const WRITER: &str = "writer";

/// May read.
pub(super) const READER: &str = "reader";

/// Behind this host is HTTP/1.1.
pub(super) const DEPOT: &str = "depot";

/// Behind this host is HTTP/2.
pub(super) const STORE: &str = "store";

#[derive(Debug)]
pub(super) struct Yard {
    pub(super) rig: Rig,
}

impl Yard {
    pub(super) fn start(target: Target) -> Yard {
        Yard::start_with(target, Options::default())
    }

    pub(super) fn start_with(target: Target, options: Options) -> Yard {
        let values = [
            ("service", DEPOT),
            ("host", DEPOT),
            ("client", WRITER),
            ("reader", READER),
            ("write_body", "{}"),
        ];
        let profile = Profile {
            bundle: BUNDLE.to_owned(),
            services: BTreeMap::from([
                (DEPOT.to_owned(), UpstreamProtocol::Http1),
                (STORE.to_owned(), UpstreamProtocol::H2c),
            ]),
            clients: vec![WRITER.to_owned(), READER.to_owned()],
            features: Vec::new(),
            write_bytes_max: 0,
            values: values.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        let options = options.profile(profile).bundle_dir(&binaries::workspace_dir().join(BUNDLE));
        Yard { rig: Rig::start_with(target, BundleUnderTest::Demo, options) }
    }

    /// Sends it as this client.
    pub(super) fn send(&self, client: &str, message: &Message) -> Outcome {
        message.send(self.rig.addr(), self.rig.api_key(client))
    }

    /// It is refused by us for this reason, and no service has seen anything since the spies were reset.
    #[track_caller]
    pub(super) fn assert_refused(&self, outcome: Outcome, status: u16, reason: &str, what: &str) {
        let reply = match outcome {
            Outcome::Reply(reply) => reply,
            other => panic!("{what}: expected {status} {reason}, got {other:?}"),
        };
        assert_eq!(
            (reply.status, reply.reason().as_deref()),
            (status, Some(reason)),
            "{what}: {}",
            text(&reply)
        );
        self.assert_unseen(what);
    }

    #[track_caller]
    pub(super) fn assert_unseen(&self, what: &str) {
        assert_eq!(self.rig.bytes_seen(), 0, "{what}: a service saw {:?}", self.rig.requests_seen());
    }

    /// It was answered by its service, which has seen it as it was sent, and not a byte beside it.
    #[track_caller]
    pub(super) fn assert_accepted(&self, outcome: Outcome, message: &Message, what: &str) {
        let reply = match outcome {
            Outcome::Reply(reply) => reply,
            other => panic!("{what}: expected an answer of the service, got {other:?}"),
        };
        assert_eq!((reply.status, reply.reason()), (200, None), "{what}: {}", text(&reply));
        let seen = self.only_request(message.host, what);
        assert_same(&seen, message, what);
    }

    /// The one request that this service has seen, all bytes of which belong to it; no other service has seen any.
    #[track_caller]
    fn only_request(&self, host: &str, what: &str) -> SeenRequest {
        // A spy answers before it is done with the bytes that it has got.
        let requests = eventually("the service has its request", LEDGER_TIMEOUT, || {
            let requests = self.rig.requests_seen();
            (!requests.is_empty()).then_some(requests)
        });
        let [(service, request)] = requests.as_slice() else { panic!("{what}: {requests:?}") };
        assert_eq!(*service, host, "{what}");
        for (service, spy) in &self.rig.spies {
            for (index, connection) in spy.seen().connections.iter().enumerate() {
                let is_its = service == host && index == request.connection;
                assert!(is_its || connection.bytes.is_empty(), "{what}: bytes on another connection");
                if is_its && request.protocol == Protocol::Http1 {
                    assert_eq!(length_of_request(&connection.bytes), Some(connection.bytes.len()), "{what}");
                }
            }
        }
        request.clone()
    }

    /// A request that needs no decision on a body: the connection to the server is there, and it answers.
    pub(super) fn wait_until_served(&self, message: &Message) {
        eventually("writes are accepted again", LEDGER_TIMEOUT, || match self.send(WRITER, message) {
            Outcome::Reply(reply) if reply.status == 200 => Some(()),
            _ => None,
        });
    }
}

/// The same method, target, headers, body and trailers.
#[track_caller]
pub(super) fn assert_same(seen: &SeenRequest, sent: &Message, what: &str) {
    assert_eq!(seen.method, sent.method.as_bytes(), "{what}");
    assert_eq!(seen.target, sent.path.as_bytes(), "{what}");
    assert_eq!(seen.header("host"), Some(sent.host.as_bytes()), "{what}");
    assert_eq!(seen.body.len(), sent.body.len(), "{what}: length");
    assert!(sent.digest() == super::message::digest(&seen.body), "{what}: another body of the same length");
    assert_eq!(seen.trailers, sent.trailers, "{what}: trailers");
    let named = |names: &[&str], name: &[u8]| names.iter().any(|known| name == known.as_bytes());
    let kept =
        |name: &[u8]| !named(&FRAMING, name) && name != b"host" && name != b"expect" && name != b"x-api-key";
    let mut arrived: Vec<_> = seen.headers.iter().filter(|(name, _)| kept(name)).cloned().collect();
    let mut expected: Vec<_> = sent.headers.iter().filter(|(name, _)| kept(name)).cloned().collect();
    arrived.retain(|(name, _)| !named(&ADDED, name) || expected.iter().any(|(sent, _)| sent == name));
    // The order of headers of different names says nothing; that of equal names stays with a stable sort.
    arrived.sort_by(|one, other| one.0.cmp(&other.0));
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    let show = |headers: &[tests::http1::Header]| -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{}: {}", lossy(name), lossy(value))).collect()
    };
    assert_eq!(show(&arrived), show(&expected), "{what}: headers");
}

/// How many bytes the first request takes, its body among them.
fn length_of_request(bytes: &[u8]) -> Option<usize> {
    let head = Head::parse(bytes)?;
    let body = Body::parse(bytes.get(head.length..)?, head.request_framing(), false)?;
    Some(head.length + body.length)
}

/// The manager's filters, in a generated configuration.
fn manager(config: &mut Value) -> &mut Value {
    let place = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    config.pointer_mut(place).expect("a connection manager")
}

/// Lets trailers of HTTP/1.1 in, which Envoy drops otherwise.
pub(super) fn let_trailers_in(config: &mut Value) {
    manager(config)["http_protocol_options"] = json!({ "enable_trailers": true });
}

/// Takes away what holds a head until its body was judged.
pub(super) fn remove_gate(config: &mut Value) {
    let filters = manager(config)["http_filters"].as_array_mut().expect("HTTP filters");
    let gates = filters.iter_mut().filter_map(|filter| filter["typed_config"].as_object_mut());
    let removed = gates.filter_map(|settings| settings.shift_remove("with_request_body")).count();
    assert_eq!(removed, 1, "there is one gate to remove");
}

/// Puts another filter between ours and the router: `at` counts from the end, 0 is directly before the router.
pub(super) fn put_before_router(config: &mut Value, at: usize, filter: Value) {
    let filters = manager(config)["http_filters"].as_array_mut().expect("HTTP filters");
    let place = filters.len().saturating_sub(1 + at);
    assert!(place > 0, "it stands behind ours");
    filters.insert(place, filter);
}

fn text(reply: &Reply) -> String {
    lossy(&reply.body)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
