//! The server believes only the filter: a Check without a genuine, fresh, fitting handoff is denied.

use std::collections::HashMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use palisade::bundle::Bundle;
use palisade_core::call_id::CallIdMint;
use palisade_core::contract::BundleDigest;
use palisade_core::handoff::{Binding, Flags, HEADER, Handoff, Secret};
use palisade_core::method::Method;
use palisade_core::routes::OperationIndex;
use tests::binaries::workspace_dir;
use tests::deadline::eventually;
use tests::raw_client::Outcome;
use tests::rig::{BundleUnderTest, Options, Rig, START_TIMEOUT, Target, random_hex};

/// A Check as Envoy would send it, and the handoff that the filter would have set.
pub(crate) struct Forger {
    host: String,
    path: String,
    key: String,
    handoff: Handoff,
    mint: CallIdMint,
}

impl Forger {
    pub(crate) fn new(rig: &Rig) -> Self {
        Self::of(rig, &workspace_dir().join(&rig.profile.bundle))
    }

    /// As a filter with this bundle would say it.
    pub(crate) fn of(rig: &Rig, bundle: &Path) -> Self {
        let bundle = Bundle::load(bundle).expect("load the bundle");
        let (host, path) = (rig.profile.value("host"), rig.profile.value("read_path"));
        let found =
            bundle.contract.find(host, Method::Get, path.split('/').skip(1)).expect("the read is declared");
        let mut mint = CallIdMint::new([7; 16]);
        let handoff = Handoff {
            bundle: bundle.digest,
            operation: found.index,
            flags: Flags::default(),
            call_id: mint.mint(now_ms()),
        };
        let key = rig.api_key(rig.profile.value("client")).to_owned();
        Self { host: host.to_owned(), path: path.to_owned(), key, handoff, mint }
    }

    /// A handoff like the genuine one, with a call id of its own.
    pub(crate) fn genuine(&mut self) -> Handoff {
        self.handoff.call_id = self.mint.mint(now_ms());
        self.handoff
    }

    pub(crate) fn sign(&self, handoff: Handoff, secret: &str) -> String {
        let secret = Secret::parse(secret).expect("a secret");
        handoff.encode(&secret, Binding { method: "GET", authority: &self.host, target: &self.path })
    }

    pub(crate) fn request(&self, handoff: Option<String>) -> CheckRequest {
        let mut headers = HashMap::from([
            (":method".to_owned(), "GET".to_owned()),
            (":path".to_owned(), self.path.clone()),
            (":authority".to_owned(), self.host.clone()),
            (":scheme".to_owned(), "http".to_owned()),
            ("x-api-key".to_owned(), self.key.clone()),
        ]);
        headers.extend(handoff.map(|handoff| (HEADER.to_owned(), handoff)));
        let http = HttpRequest {
            method: "GET".to_owned(),
            path: self.path.clone(),
            host: self.host.clone(),
            scheme: "http".to_owned(),
            headers,
            ..HttpRequest::default()
        };
        let request = Request { http: Some(http), ..Request::default() };
        CheckRequest {
            attributes: Some(AttributeContext { request: Some(request), ..AttributeContext::default() }),
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    u64::try_from(now.as_millis()).expect("the clock is before the year 584 million")
}

/// The reason of the server's answer; empty when it allows.
pub(crate) fn reason(rig: &Rig, request: CheckRequest) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let response: CheckResponse = runtime.block_on(async {
        let address = format!("http://{}", rig.server_addr());
        let mut client = AuthorizationClient::connect(address).await.expect("connect to the server");
        client.check(request).await.expect("an answer to a Check").into_inner()
    });
    reason_of(response)
}

pub(crate) fn reason_of(response: CheckResponse) -> String {
    match response.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => {
            let body: serde_json::Value =
                serde_json::from_str(&denied.body).expect("a denial says why in JSON");
            body["reason"].as_str().unwrap_or_default().to_owned()
        }
        Some(HttpResponse::OkResponse(_)) => String::new(),
        Some(HttpResponse::ErrorResponse(_)) | None => {
            panic!("the answer is neither allowed nor denied: {response:?}")
        }
    }
}

#[test]
fn only_a_genuine_handoff_is_believed() {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Second);
    let mut forger = Forger::new(&rig);
    let secret = rig.secret().to_owned();
    let check = |forger: &Forger, handoff: Option<String>, expected: &str| {
        assert_eq!(reason(&rig, forger.request(handoff)), expected);
    };

    let genuine = forger.genuine();
    check(&forger, Some(forger.sign(genuine, &secret)), "");
    check(&forger, None, "handoff_missing");
    let handoff = forger.genuine();
    check(&forger, Some(forger.sign(handoff, &random_hex())), "handoff_forged");
    check(&forger, Some("A".repeat(115)), "handoff_forged");
    check(&forger, Some("not a handoff".to_owned()), "handoff_forged");

    let stale = Handoff { call_id: forger.mint.mint(now_ms() - 60 * 60 * 1000), ..forger.genuine() };
    check(&forger, Some(forger.sign(stale, &secret)), "handoff_stale");
    let future =
        Handoff { call_id: CallIdMint::new([8; 16]).mint(now_ms() + 60 * 60 * 1000), ..forger.genuine() };
    check(&forger, Some(forger.sign(future, &secret)), "handoff_stale");

    let unknown = Handoff { bundle: BundleDigest([0x5a; 32]), ..forger.genuine() };
    check(&forger, Some(forger.sign(unknown, &secret)), "handoff_bundle_unknown");
    let other = Handoff { operation: OperationIndex(forger.handoff.operation.0 + 1), ..forger.genuine() };
    check(&forger, Some(forger.sign(other, &secret)), "handoff_mismatch");
}

#[test]
fn a_handoff_is_of_no_use_for_another_request() {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Second);
    let mut forger = Forger::new(&rig);
    let handoff = forger.genuine();
    let signed = forger.sign(handoff, rig.secret());
    let item = format!("{}{}", rig.profile.value("item_path_prefix"), rig.profile.value("item"));
    forger.path = item;
    assert_eq!(reason(&rig, forger.request(Some(signed.clone()))), "handoff_forged");
    forger.path = format!("{}?x=1", rig.profile.value("read_path"));
    assert_eq!(reason(&rig, forger.request(Some(signed))), "handoff_forged");
}

#[test]
fn the_previous_secret_is_good_until_it_is_taken_away() {
    let mut rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let file = rig.dir().join("handoff-secret");
    let (new, old) = (random_hex(), rig.secret().to_owned());

    std::fs::write(&file, format!("{new}\n{old}\n")).expect("write two secrets");
    restart_server(&mut rig);
    assert_eq!(
        rig.send(rig.read_request()).expect_reply().status,
        200,
        "Envoy still has the previous secret"
    );

    std::fs::write(&file, format!("{new}\n")).expect("write one secret");
    restart_server(&mut rig);
    let reply = eventually("the server answers", START_TIMEOUT, || match rig.send(rig.read_request()) {
        Outcome::Reply(reply) if reply.reason().is_some() => Some(reply),
        _ => None,
    });
    assert_eq!(reply.reason().as_deref(), Some("handoff_forged"));
}

/// A bundle of our own that can be changed, its server started anew with each change, and an Envoy that stays.
#[test]
fn the_previous_bundle_is_served_for_the_stated_time_only() {
    let copy = tempfile::tempdir().expect("make a directory for a bundle");
    copy_dir(&workspace_dir().join("tests/bundles/second"), copy.path());
    let options = Options::default().bundle_dir(copy.path());
    let mut rig = Rig::start_with(Target::Envoy, BundleUnderTest::Second, options);
    assert_eq!(rig.send(rig.read_request()).expect_reply().status, 200);

    let settings = copy.path().join("palisade.yaml");
    let text = std::fs::read_to_string(&settings).expect("read the settings");
    std::fs::write(&settings, format!("{text}\n# One line more is another bundle.\n"))
        .expect("write the settings");
    restart_server(&mut rig);
    assert_eq!(
        rig.send(rig.read_request()).expect_reply().status,
        200,
        "the filter's bundle is the previous one"
    );
    let skewed = rig.decisions().last().map(|decision| decision.handoff.clone());
    assert_eq!(skewed.as_deref(), Some("previous_bundle"));

    // Back to the filter's own bundle, so that it is again the one before the next.
    std::fs::write(&settings, &text).expect("write the settings");
    restart_server(&mut rig);
    let unforgiving = text.replace("previous_bundle_accepted_s: 30", "previous_bundle_accepted_s: 0");
    assert_ne!(text, unforgiving);
    std::fs::write(&settings, unforgiving).expect("write the settings");
    restart_server(&mut rig);
    rig.reset_spies();
    let reply = eventually("the server answers", START_TIMEOUT, || match rig.send(rig.read_request()) {
        Outcome::Reply(reply) if reply.reason().is_some() => Some(reply),
        _ => None,
    });
    assert_eq!(reply.reason().as_deref(), Some("handoff_bundle_unknown"));
    assert_eq!(rig.bytes_seen(), 0);
}

fn restart_server(rig: &mut Rig) {
    rig.server.restart();
    rig.wait_until_server_is_ready();
    // Envoy's connection to the server comes back by itself; until then it refuses without a reason.
    eventually("Envoy reaches the server again", START_TIMEOUT, || match rig.send(rig.read_request()) {
        Outcome::Reply(reply) if reply.status == 200 || reply.reason().is_some() => Some(()),
        _ => None,
    });
}

pub(crate) fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("make a directory");
    for entry in std::fs::read_dir(from).expect("list a directory") {
        let entry = entry.expect("list a directory");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}
