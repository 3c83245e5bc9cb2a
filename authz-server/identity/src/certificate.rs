//! The names in a peer's certificate. The proxy verified it; here it is only asked for whom it speaks.
//!
//! INVARIANT: a certificate with two names is nobody's: the proxy reports the first, and another reader may take the last.

use percent_encoding::percent_decode_str;
use std::fmt;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// A leaf certificate is a few kilobytes of PEM, somewhat more with its escapes.
const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;

/// Why a certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateError {
    /// The proxy reports a name and does not show where it has it from.
    Missing,
    Unreadable,
    /// Not exactly one URI among its names.
    Uris {
        found: usize,
    },
    /// The proxy reported another name than the certificate has.
    OtherName,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::Missing => f.write_str(
                "the proxy does not pass it on: set `include_peer_certificate`, as `palisade build` does",
            ),
            CertificateError::Unreadable => f.write_str("it cannot be read"),
            CertificateError::Uris { found } => write!(f, "it has {found} URI names, expected exactly one"),
            CertificateError::OtherName => f.write_str("its name is not the one that the proxy reports"),
        }
    }
}

/// Checks that a certificate, as the proxy passes it on (PEM with escapes), names exactly `peer`.
pub(super) fn names_only(escaped_pem: &str, peer: &str) -> Result<(), CertificateError> {
    if the_uri(&der(escaped_pem)?)? == peer { Ok(()) } else { Err(CertificateError::OtherName) }
}

/// A certificate itself, of what the proxy passes on.
pub(super) fn der(escaped_pem: &str) -> Result<Vec<u8>, CertificateError> {
    if escaped_pem.is_empty() {
        return Err(CertificateError::Missing);
    }
    if escaped_pem.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::Unreadable);
    }
    let pem: Vec<u8> = percent_decode_str(escaped_pem).collect();
    let (_, pem) = parse_x509_pem(&pem).map_err(|_| CertificateError::Unreadable)?;
    Ok(pem.contents)
}

/// The one URI among the names of a certificate.
pub fn the_uri(der: &[u8]) -> Result<String, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Unreadable)?;
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::Unreadable)?;
    let mut uris: Vec<&str> = Vec::new();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push(uri),
            // It may be a URI to another reader.
            GeneralName::Invalid(..) => return Err(CertificateError::Unreadable),
            _ => {}
        }
    }
    match uris.as_slice() {
        [uri] => Ok((*uri).to_owned()),
        uris => Err(CertificateError::Uris { found: uris.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::{CertificateError, names_only, the_uri};
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(uris: &[&str]) -> rcgen::Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    fn escaped(pem: &str) -> String {
        percent_encoding::utf8_percent_encode(pem, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    #[test]
    fn exactly_one_uri_is_a_name() {
        let (one, two) = ("spiffe://shop.example/a", "spiffe://shop.example/b");
        assert_eq!(the_uri(certificate(&[one]).der()), Ok(one.to_owned()));
        assert_eq!(the_uri(certificate(&[]).der()), Err(CertificateError::Uris { found: 0 }));
        assert_eq!(the_uri(certificate(&[one, two]).der()), Err(CertificateError::Uris { found: 2 }));
        assert_eq!(the_uri(b"not a certificate"), Err(CertificateError::Unreadable));
    }

    #[test]
    fn names_of_other_kinds_are_no_uris() {
        let uri = "spiffe://shop.example/a";
        let mut params = CertificateParams::default();
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        params.subject_alt_names = vec![dns("a.shop.example"), dns(uri)];
        let none = params.clone().self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(the_uri(none.der()), Err(CertificateError::Uris { found: 0 }));
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        let one = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(the_uri(one.der()), Ok(uri.to_owned()));
    }

    #[test]
    fn a_name_is_compared_to_its_end() {
        let (short, long) = ("spiffe://shop.example/a", "spiffe://shop.example/a\0.other.example/b");
        let whole = certificate(&[long]);
        assert_eq!(the_uri(whole.der()), Ok(long.to_owned()));
        let pem = escaped(&whole.pem());
        assert_eq!(names_only(&pem, short), Err(CertificateError::OtherName));
        let dots = escaped(&certificate(&["spiffe://shop.example/ns/a/sa/xay"]).pem());
        assert_eq!(names_only(&dots, "spiffe://shop.example/ns/a/sa/x.y"), Err(CertificateError::OtherName));
    }

    #[test]
    fn a_name_that_cannot_be_read_is_not_passed_over() {
        let (one, two) = ("spiffe://shop.example/a", "spiffe://shop.example/b");
        let mut der = certificate(&[one, two]).der().to_vec();
        let at = der.windows(two.len()).position(|part| part == two.as_bytes()).unwrap();
        der[at] = 0xff;
        assert_eq!(the_uri(&der), Err(CertificateError::Unreadable));
    }

    #[test]
    fn the_name_is_the_one_that_the_proxy_reports() {
        let (one, two) = ("spiffe://shop.example/a", "spiffe://shop.example/b");
        let pem = escaped(&certificate(&[one]).pem());
        assert_eq!(names_only(&pem, one), Ok(()));
        assert_eq!(names_only(&pem, two), Err(CertificateError::OtherName));
        assert_eq!(
            names_only(&escaped(&certificate(&[one, two]).pem()), one),
            Err(CertificateError::Uris { found: 2 })
        );
        assert_eq!(names_only("", one), Err(CertificateError::Missing));
        for unreadable in ["x", "%", &"A".repeat(70_000), pem.split_at(pem.len() / 2).0] {
            assert_eq!(names_only(unreadable, one), Err(CertificateError::Unreadable));
        }
    }
}
