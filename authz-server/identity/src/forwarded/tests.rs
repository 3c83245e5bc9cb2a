//! What a forwarded certificate says, in one reading or in none.

use super::{ForwardedError, last_element, workload};
use crate::{CertificateError, SpiffeError, SpiffeId};
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, SanType};
use sha2::{Digest as _, Sha256};

const GATEWAY: &str = "spiffe://shop.example/ns/edge/sa/gateway";
const WEB: &str = "spiffe://shop.example/ns/shop/sa/web";
const HASH: &str = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";

fn told(text: &str) -> Result<String, ForwardedError> {
    let domains = ["shop.example"];
    let gateway = SpiffeId::parse(GATEWAY, &domains).unwrap();
    workload(text, &gateway, &domains).map(|workload| workload.as_str().to_owned())
}

fn escaped(pem: &str) -> String {
    percent_encoding::utf8_percent_encode(pem, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn certificate(uris: &[&str]) -> rcgen::Certificate {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn the_last_element_names_the_caller_whatever_stands_before_it() {
    let last = format!("By={GATEWAY};Hash={HASH};Subject=\"\";URI={WEB}");
    for before in [
        "",
        "URI=spiffe://shop.example/ns/shop/sa/admin,",
        "By=spiffe://other.example/x;Hash=ab;URI=https://a/?b=c,",
        "Subject=\"CN=a,URI=spiffe://shop.example/admin;\",",
        "Subject=\"O=\\\"a\\\", CN=ü\";DNS=a.example;DNS=b.example;URI=,",
        "Hash=ab,Hash=cd,URI=a;URI=b,",
    ] {
        assert_eq!(told(&format!("{before}{last}")), Ok(WEB.to_owned()), "{before}");
    }
}

#[test]
fn keys_have_no_case_and_values_may_be_quoted() {
    for text in [
        format!("URI={WEB}"),
        format!("uri={WEB}"),
        format!("uRi=\"{WEB}\""),
        format!("by={GATEWAY};HASH={HASH};subject=\"CN=web\";Uri={WEB};dns=web.example;DNS=b"),
        format!("By={GATEWAY};By=spiffe://other.example/x;URI={WEB}"),
        format!("By=spiffe://other.example/x;By={GATEWAY};URI={WEB}"),
        format!("By=;URI={WEB}"),
        format!("Subject=\"/C=US/CN=a;URI=spiffe://shop.example/admin\";URI={WEB}"),
        format!("Subject=\"CN=a\\\";URI=spiffe://shop.example/admin\";URI={WEB}"),
        format!("Subject=\"CN=a\\\\\\\"b\";URI={WEB}"),
        format!("Subject=\"CN=a\\,b\";URI={WEB}"),
        format!("URI={WEB};Subject=\"\""),
    ] {
        assert_eq!(told(&text), Ok(WEB.to_owned()), "{text}");
    }
}

#[test]
fn what_two_readers_could_take_for_two_things_is_refused() {
    for text in [
        "".to_owned(),
        ",".to_owned(),
        format!("URI={WEB},"),
        format!(",URI={WEB}"),
        format!("URI={WEB};"),
        format!(";URI={WEB}"),
        format!("URI={WEB}, "),
        format!(" URI={WEB}"),
        format!("Hash=ab, URI={WEB}"),
        format!("URI ={WEB}"),
        format!("URI= {WEB}"),
        format!("={WEB}"),
        "URI".to_owned(),
        format!("X={WEB}"),
        format!("URI-2={WEB};URI={WEB}"),
        format!("URI=\"{WEB}"),
        format!("URI={WEB}\""),
        format!("URI=\"{WEB}\"x"),
        format!("URI=\"{WEB}\"\"\""),
        format!("Subject=\"a\\\\\";URI={WEB}"),
        format!("Subject=\"a\\\\\\\\\";URI={WEB}"),
        format!("Subject=\"a\";subject=\"b\";URI={WEB}"),
        format!("Hash=a;hash=b;URI={WEB}"),
        format!("Subject=\"a\0\";URI={WEB}"),
        format!("Subject=\"a\n\";URI={WEB}"),
        format!("DNS=a\0b;URI={WEB}"),
        format!("DNS=ä;URI={WEB}"),
        // What stands before the last element is read as strictly.
        format!("X=1,URI={WEB}"),
        format!("Subject=\",URI={WEB}"),
        format!("Subject=\"a\\\\\",URI={WEB}"),
    ] {
        let error = told(&text).unwrap_err();
        assert!(matches!(error, ForwardedError::Unreadable { .. }), "{text}: {error}");
    }
    let long = format!("Subject=\"{}\";URI={WEB}", "a".repeat(64 * 1024));
    assert!(matches!(told(&long), Err(ForwardedError::TooLong { .. })));
}

#[test]
fn the_last_element_has_one_uri_of_a_listed_domain() {
    let check = |text: &str, expected: ForwardedError| assert_eq!(told(text), Err(expected), "{text}");
    check("Hash=ab", ForwardedError::Uris { found: 0 });
    check("URI=", ForwardedError::Uris { found: 0 });
    check("DNS=web.shop.example;Subject=\"CN=web\";URI=", ForwardedError::Uris { found: 0 });
    check(&format!("URI={WEB},Hash=ab"), ForwardedError::Uris { found: 0 });
    check(&format!("URI={WEB};URI={WEB}"), ForwardedError::Uris { found: 2 });
    check(&format!("URI={WEB};uri=spiffe://shop.example/b"), ForwardedError::Uris { found: 2 });
    check("URI=https://shop.example/a", ForwardedError::Workload(SpiffeError::Malformed));
    check(&format!("URI={WEB}=a"), ForwardedError::Workload(SpiffeError::Malformed));
    check(&format!("URI=\"{WEB},x\""), ForwardedError::Workload(SpiffeError::Malformed));
    let domain = "other.example".to_owned();
    check(
        "URI=spiffe://other.example/a",
        ForwardedError::Workload(SpiffeError::TrustDomainUnknown { domain }),
    );
    check(&format!("By=spiffe://shop.example/other;URI={WEB}"), ForwardedError::WrittenByOther);
}

#[test]
fn a_certificate_beside_the_uri_must_agree() {
    let (web, other) = (certificate(&[WEB]), certificate(&["spiffe://shop.example/other"]));
    let both = certificate(&[WEB, "spiffe://shop.example/other"]);
    let hash = |certificate: &rcgen::Certificate| hex::encode(Sha256::digest(certificate.der()));
    let text = |certificate: &rcgen::Certificate, hash: &str| {
        format!("By={GATEWAY};Hash={hash};Cert=\"{}\";URI={WEB}", escaped(&certificate.pem()))
    };
    assert_eq!(told(&text(&web, &hash(&web))), Ok(WEB.to_owned()));
    assert_eq!(told(&text(&web, &hash(&web).to_uppercase())), Ok(WEB.to_owned()));
    let check = |text: &str, expected: ForwardedError| assert_eq!(told(text), Err(expected), "{text}");
    check(&text(&web, &hash(&other)), ForwardedError::Hash);
    check(&text(&other, &hash(&other)), ForwardedError::Certificate(CertificateError::OtherName));
    let two = CertificateError::Uris { found: 2 };
    check(&text(&both, &hash(&both)), ForwardedError::Certificate(two));
    let unreadable = ForwardedError::Certificate(CertificateError::Unreadable);
    check(&format!("Cert=\"x\";URI={WEB}"), unreadable);
    check(&format!("Cert=;URI={WEB}"), ForwardedError::Certificate(CertificateError::Missing));
}

/// A name as a certificate's subject is written: what is special stands behind a backslash.
fn subject(name: &str) -> String {
    let specials = name.chars().flat_map(|c| {
        let special = "\",+;<>\\".contains(c);
        special.then_some('\\').into_iter().chain((!c.is_control()).then_some(c))
    });
    specials.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_text_breaks_the_reader(text in r#"([",;=\\ByURIHashabc:/ ]|Subject="|URI=|\PC){0,60}"#) {
        let _read = last_element(&text);
    }

    #[test]
    fn bytes_of_any_kind_break_nothing(text in any::<String>()) {
        let _read = last_element(&text);
    }

    #[test]
    fn nothing_before_the_last_element_changes_it(
        before in r#"([",;=\\BUab ]|Subject="|URI=|By=|","|\\"|";){0,12}"#,
        name in r#"[",;\\=a ü]{0,8}"#,
        has_subject in any::<bool>(),
    ) {
        let name = if has_subject { format!("Subject=\"CN={}\";", subject(&name)) } else { String::new() };
        let last = format!("By={GATEWAY};Hash={HASH};{name}URI={WEB}");
        // Where a subject ends in a backslash the last element alone has two readings.
        let alone = last_element(&last);
        if let Ok(read) = last_element(&format!("{before},{last}")) {
            prop_assert_eq!(Ok(read), alone);
        }
    }

    #[test]
    fn every_readable_prefix_leaves_the_last_element_as_it_is(
        elements in proptest::collection::vec(r#"(Hash=[a-f0-9]{1,4}|DNS=[a-z.]{0,5}|URI=[a-z:/=]{0,6}|Subject="CN=[a-z;,= ]{0,6}")"#, 0..5),
    ) {
        let text: String = elements.iter().map(|element| format!("{element},")).collect();
        prop_assert_eq!(told(&format!("{text}URI={WEB}")), Ok(WEB.to_owned()));
    }
}
