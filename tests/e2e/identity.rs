//! Who calls is what the certificate says, and only a certificate with exactly one good SPIFFE id says anything.

use tests::pki::{Identity, Pki};
use tests::raw_client::Outcome;
use tests::rig::{BundleUnderTest, Options, Rig, Target};

fn rig(target: Target) -> Rig {
    Rig::start_with(target, BundleUnderTest::Demo, Options::default().tls())
}

fn request(rig: &Rig) -> String {
    let (path, host) = (rig.profile.value("read_path"), rig.profile.value("host"));
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

/// Status and reason of a read with this certificate; a refusal must have left the services untouched.
fn read_as(rig: &Rig, identity: Option<&Identity>) -> (u16, Option<String>) {
    rig.reset_spies();
    let reply = rig.send_as(identity, request(rig)).expect_reply();
    assert_eq!(reply.status == 200, rig.bytes_seen() > 0, "{reply:?}");
    (reply.status, reply.json().and_then(|body| Some(body.get("reason")?.as_str()?.to_owned())))
}

fn denied(reason: &str) -> (u16, Option<String>) {
    let status = if reason == "identity_invalid" { 401 } else { 403 };
    (status, Some(reason.to_owned()))
}

fn certificates(target: Target) {
    let rig = rig(target);
    let client = |name: &str, uris: &[&str]| rig.pki().client(name, uris);
    let web = "spiffe://shop.example/ns/shop/sa/web";
    assert_eq!(read_as(&rig, Some(&client("web", &[web]))), (200, None));
    assert_eq!(rig.decisions_when(1).last().map(|decision| decision.principal.contains(web)), Some(true));

    let unlisted = client("unlisted", &["spiffe://shop.example/ns/shop/sa/unlisted"]);
    assert_eq!(read_as(&rig, Some(&unlisted)), denied("policy_denied"));
    let near = client("near", &["spiffe://shop.example/ns/shop/sa/webb"]);
    assert_eq!(read_as(&rig, Some(&near)), denied("policy_denied"));

    for (name, uris) in [
        ("foreign", ["spiffe://elsewhere.example/ns/shop/sa/web"].as_slice()),
        ("suffix", &["spiffe://shop.example.evil/ns/shop/sa/web"]),
        ("scheme", &["https://shop.example/ns/shop/sa/web"]),
        ("query", &["spiffe://shop.example/ns/shop/sa/web?x=1"]),
        ("none", &[]),
        ("two", &[web, "spiffe://shop.example/ns/shop/sa/other"]),
    ] {
        assert_eq!(read_as(&rig, Some(&client(name, uris))), denied("identity_invalid"), "{name}");
    }
}

#[test]
fn certificates_on_envoy() {
    certificates(Target::Envoy);
}

#[test]
fn certificates_on_istio() {
    certificates(Target::Istio);
}

#[test]
fn without_a_certificate_of_the_authority_there_is_no_connection() {
    let rig = rig(Target::Envoy);
    let foreign = Pki::new(&rig.dir().join("foreign"));
    let identity = foreign.client("web", &["spiffe://shop.example/ns/shop/sa/web"]);
    rig.reset_spies();
    for outsider in [Some(&identity), None] {
        assert_eq!(rig.send_as(outsider, request(&rig)), Outcome::Closed, "{outsider:?}");
    }
    assert_eq!(rig.bytes_seen(), 0);
}

#[test]
fn a_caller_without_any_credential_is_anonymous_and_denied() {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let reply = rig.send(request(&rig)).expect_reply();
    assert_eq!((reply.status, reply.reason()), denied("policy_denied"));
    let decisions = rig.decisions_when(1);
    assert!(decisions.iter().any(|decision| decision.principal == "anonymous"), "{decisions:?}");
    assert_eq!(rig.bytes_seen(), 0);
}

#[test]
fn headers_that_claim_a_peer_change_nothing() {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let (path, host) = (rig.profile.value("read_path"), rig.profile.value("host"));
    let web = "spiffe://shop.example/ns/shop/sa/web";
    for claim in [
        format!("x-forwarded-client-cert: By={web};URI={web}"),
        format!("x-spiffe-id: {web}"),
        format!("x-palisade-principal: {web}"),
    ] {
        let reply =
            rig.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{claim}\r\n\r\n")).expect_reply();
        assert_eq!((reply.status, reply.reason()), denied("policy_denied"), "{claim}");
    }
    assert_eq!(rig.bytes_seen(), 0);
}
