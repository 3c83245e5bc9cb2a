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
    if escaped_pem.is_empty() {
        return Err(CertificateError::Missing);
    }
    if escaped_pem.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::Unreadable);
    }
    let pem: Vec<u8> = percent_decode_str(escaped_pem).collect();
    let (_, pem) = parse_x509_pem(&pem).map_err(|_| CertificateError::Unreadable)?;
    if the_uri(&pem.contents)? == peer { Ok(()) } else { Err(CertificateError::OtherName) }
}

/// The one URI among the names of a certificate.
pub fn the_uri(der: &[u8]) -> Result<String, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Unreadable)?;
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::Unreadable)?;
    let mut uris: Vec<&str> = Vec::new();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        if let GeneralName::URI(uri) = name {
            uris.push(uri);
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
