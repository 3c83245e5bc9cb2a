//! Callers by every source, and who wins where several speak.

use super::{Accepted, Credentials, IdentityError, Sources};
use crate::{ApiKeys, CertificateError, ForwardedError, Identity, Proof, SpiffeError, SpiffeId};
use rcgen::{CertificateParams, KeyPair, SanType};
use std::sync::Arc;

const GATEWAY: &str = "spiffe://shop.example/ns/edge/sa/gateway";
const WEB: &str = "spiffe://shop.example/ns/shop/sa/web";
const ADMIN: &str = "spiffe://shop.example/ns/shop/sa/admin";

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text, &["shop.example"]).unwrap()
}

fn sources(forwarders: &[&str]) -> Sources {
    let keys = ApiKeys::render([("web", "example-key")]).unwrap();
    Sources {
        trust_domains: vec!["shop.example".to_owned()],
        forwarders: forwarders.iter().map(|forwarder| id(forwarder)).collect(),
        api_keys: Some(Arc::new(ApiKeys::parse(keys.as_bytes()).unwrap())),
        tokens: None,
    }
}

/// A certificate as the proxy passes it on.
fn certificate(uris: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    percent_encoding::utf8_percent_encode(&pem, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Identity, through, forwarder.
fn told(sources: &Sources, credentials: Credentials<'_>) -> Result<[String; 3], IdentityError> {
    let caller = sources.establish(credentials, &Accepted::ALL, 0)?;
    let name = |workload: &Option<SpiffeId>| {
        workload.as_ref().map_or("-".to_owned(), |workload| workload.as_str().to_owned())
    };
    let identity = match &caller.identity {
        Identity::Workload(workload) => workload.as_str().to_owned(),
        Identity::Client(client) => client.clone(),
        Identity::User(user) => user.name(),
        Identity::Anonymous => "anonymous".to_owned(),
    };
    Ok([identity, name(&caller.through), name(&caller.forwarder)])
}

fn expected(identity: &str, through: &str, forwarder: &str) -> Result<[String; 3], IdentityError> {
    Ok([identity, through, forwarder].map(str::to_owned))
}

#[test]
fn a_forwarder_speaks_for_the_workload_before_it() {
    let sources = sources(&[GATEWAY]);
    let pem = certificate(&[GATEWAY]);
    let forwarded = format!("URI={ADMIN},By={GATEWAY};URI={WEB}");
    let bare = Credentials { peer: GATEWAY, peer_certificate: &pem, ..Credentials::default() };
    let with = Credentials { forwarded_certificate: Some(&forwarded), ..bare };
    assert_eq!(told(&sources, with), expected(WEB, GATEWAY, GATEWAY));
    assert_eq!(told(&sources, bare), expected(GATEWAY, "-", "-"));
    // A key names its client; the workload that sent it to the gateway carried it.
    let key = Credentials { api_key: Some("example-key"), ..with };
    assert_eq!(told(&sources, key), expected("web", WEB, GATEWAY));
    let key = Credentials { api_key: Some("example-key"), ..bare };
    assert_eq!(told(&sources, key), expected("web", GATEWAY, "-"));
    assert_eq!(sources.establish(with, &Accepted::ALL, 0).unwrap().proof, Proof::Mtls);
    let accepted = Accepted { mtls: false, ..Accepted::ALL };
    assert_eq!(sources.establish(with, &accepted, 0), Err(IdentityError::NotAccepted(Proof::Mtls)));
}

#[test]
fn a_forwarder_that_says_nothing_sound_is_refused() {
    let sources = sources(&[GATEWAY]);
    let pem = certificate(&[GATEWAY]);
    let check = |text: &str, expected: ForwardedError| {
        let credentials = Credentials {
            peer: GATEWAY,
            peer_certificate: &pem,
            forwarded_certificate: Some(text),
            api_key: None,
            token: None,
        };
        assert_eq!(told(&sources, credentials), Err(IdentityError::Forwarded(expected.clone())));
        let key = Credentials { api_key: Some("example-key"), ..credentials };
        assert_eq!(told(&sources, key), Err(IdentityError::Forwarded(expected)));
    };
    check("URI=", ForwardedError::Uris { found: 0 });
    check(&format!("URI={WEB};URI={ADMIN}"), ForwardedError::Uris { found: 2 });
    check(&format!("By={WEB};URI={WEB}"), ForwardedError::WrittenByOther);
    let domain = "other.example".to_owned();
    let foreign = ForwardedError::Workload(SpiffeError::TrustDomainUnknown { domain });
    check("URI=spiffe://other.example/a", foreign);
    let expected = "a key of letters and `=` behind it";
    check("", ForwardedError::Unreadable { at: 0, expected });
}

#[test]
fn from_anybody_else_a_forwarded_certificate_changes_nothing() {
    let forwarded = format!("By={GATEWAY};URI={ADMIN}");
    let (web, gateway) = (certificate(&[WEB]), certificate(&[GATEWAY]));
    let calls = [
        Credentials::default(),
        Credentials { api_key: Some("example-key"), ..Credentials::default() },
        Credentials { api_key: Some("other-key"), ..Credentials::default() },
        Credentials { peer: WEB, peer_certificate: &web, ..Credentials::default() },
        Credentials { peer: WEB, peer_certificate: &gateway, ..Credentials::default() },
        Credentials { peer: GATEWAY, peer_certificate: &web, ..Credentials::default() },
        Credentials { peer: GATEWAY, peer_certificate: "", ..Credentials::default() },
    ];
    let twins = [&*forwarded, "", "URI=", "Subject=\"", "x"];
    for call in calls {
        for forwarders in [&[GATEWAY][..], &[]] {
            let sources = sources(forwarders);
            let plain = sources.establish(call, &Accepted::ALL, 0);
            for text in twins {
                let with = Credentials { forwarded_certificate: Some(text), ..call };
                assert_eq!(sources.establish(with, &Accepted::ALL, 0), plain, "{with:?}");
            }
        }
    }
    // Even from the gateway, where nobody listed it.
    let call = Credentials { peer: GATEWAY, peer_certificate: &gateway, ..Credentials::default() };
    for text in twins {
        let with = Credentials { forwarded_certificate: Some(text), ..call };
        assert_eq!(told(&sources(&[]), with), expected(GATEWAY, "-", "-"));
        assert_eq!(told(&sources(&[WEB]), with), expected(GATEWAY, "-", "-"));
    }
}

#[test]
fn a_peer_is_who_its_certificate_names_and_nobody_else() {
    let sources = sources(&[]);
    let call = |peer: &str, certificate: &str| {
        let credentials = Credentials { peer, peer_certificate: certificate, ..Credentials::default() };
        told(&sources, credentials)
    };
    let of = |error: CertificateError| Err(IdentityError::Certificate(error));
    assert_eq!(call(WEB, &certificate(&[WEB])), expected(WEB, "-", "-"));
    assert_eq!(call("", ""), expected("anonymous", "-", "-"));
    // A certificate without a URI: the proxy reports its first DNS name, or nothing.
    assert_eq!(call("", &certificate(&[])), of(CertificateError::Uris { found: 0 }));
    assert_eq!(call("web.shop.example", &certificate(&[])), of(CertificateError::Uris { found: 0 }));
    assert_eq!(call(WEB, &certificate(&[WEB, ADMIN])), of(CertificateError::Uris { found: 2 }));
    assert_eq!(call(WEB, &certificate(&[ADMIN])), of(CertificateError::OtherName));
    assert_eq!(call(WEB, ""), of(CertificateError::Missing));
    let cut = format!("{WEB}\0.other.example");
    assert_eq!(call(WEB, &certificate(&[&cut])), of(CertificateError::OtherName));
    let malformed = Err(IdentityError::Peer(SpiffeError::Malformed));
    assert_eq!(call(&cut, &certificate(&[&cut])), malformed);
    let https = "https://shop.example/ns/shop/sa/web";
    assert_eq!(call(https, &certificate(&[https])), malformed);
}
