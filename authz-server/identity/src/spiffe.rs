//! SPIFFE ids, read strictly: no empty part, no character that another reader takes for something else.

use std::fmt;

/// SPIFFE's own limit on the whole id.
const ID_BYTES_MAX: usize = 2048;

/// The id of a workload in a trusted domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(String);

/// Why a text is not the id of a workload that may be a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpiffeError {
    Malformed,
    TrustDomainUnknown { domain: String },
}

impl fmt::Display for SpiffeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpiffeError::Malformed => {
                f.write_str("not a SPIFFE id: expected `spiffe://<trust domain>/<path>`")
            }
            SpiffeError::TrustDomainUnknown { domain } => {
                write!(f, "trust domain `{domain}` is not listed under `trust_domains`")
            }
        }
    }
}

impl SpiffeId {
    pub fn parse(text: &str, trust_domains: &[impl AsRef<str>]) -> Result<SpiffeId, SpiffeError> {
        if text.len() > ID_BYTES_MAX {
            return Err(SpiffeError::Malformed);
        }
        let rest = text.strip_prefix("spiffe://").ok_or(SpiffeError::Malformed)?;
        let (domain, path) = rest.split_once('/').ok_or(SpiffeError::Malformed)?;
        let segment_holds = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        };
        if !is_trust_domain(domain) || !path.split('/').all(segment_holds) {
            return Err(SpiffeError::Malformed);
        }
        if !trust_domains.iter().any(|known| known.as_ref() == domain) {
            return Err(SpiffeError::TrustDomainUnknown { domain: domain.to_owned() });
        }
        Ok(SpiffeId(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SPIFFE's own rule for a trust domain.
pub fn is_trust_domain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::{SpiffeError, SpiffeId};

    fn parse(text: &str) -> Result<SpiffeId, SpiffeError> {
        SpiffeId::parse(text, &["shop.example".to_owned()])
    }

    #[test]
    fn only_whole_ids_of_listed_domains_are_callers() {
        assert_eq!(
            parse("spiffe://shop.example/ns/shop/sa/web").unwrap().as_str(),
            "spiffe://shop.example/ns/shop/sa/web"
        );
        for text in [
            "",
            "spiffe://",
            "spiffe://shop.example",
            "spiffe://shop.example/",
            "spiffe:///ns//sa/",
            "spiffe://shop.example/ns//sa",
            "spiffe://shop.example/ns/../sa",
            "spiffe://shop.example/.",
            "SPIFFE://shop.example/a",
            "spiffe://Shop.example/a",
            "spiffe://shop.example/a\0b",
            "spiffe://shop.example/a b",
            "spiffe://shop.example/a?b",
            "spiffe://shop.example/a%2fb",
            "spiffe://a@shop.example/x",
            "spiffe://shop.example:80/x",
            " spiffe://shop.example/x",
            "https://shop.example/x",
            "spiffe://shop.example/x,spiffe://shop.example/y",
        ] {
            assert_eq!(parse(text), Err(SpiffeError::Malformed), "{text}");
        }
        let foreign = parse("spiffe://other.example/x");
        assert_eq!(foreign, Err(SpiffeError::TrustDomainUnknown { domain: "other.example".into() }));
        assert!(parse("spiffe://shopXexample/x").is_err(), "a dot is a dot");
    }
}
