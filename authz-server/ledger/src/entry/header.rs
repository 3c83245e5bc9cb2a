//! The names of headers whose values may stand in an entry.
//!
//! INVARIANT: no value of a header that carries credentials or belongs to filter and server can be put into an entry:
//! values of headers go in under a `HeaderName`, and there is none for these.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Headers that carry credentials wherever they come.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

/// Headers by which filter and server talk to each other; one of them is a proof that must not be told.
const OURS: &str = "x-palisade-";

/// The name of a header that carries no credentials, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderName(Arc<str>);

/// Why a header's value can never stand in an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnrecordableHeader {
    /// It carries credentials.
    Credentials { name: String },
    /// Filter and server use it for themselves.
    Ours { name: String },
}

impl HeaderName {
    /// A name that may be recorded where these headers carry credentials beside the ones that always do.
    pub fn new(name: &str, credentials: &[impl AsRef<str>]) -> Result<HeaderName, UnrecordableHeader> {
        let name = name.to_ascii_lowercase();
        let carries = |known: &str| known.eq_ignore_ascii_case(&name);
        if name.starts_with(OURS) {
            return Err(UnrecordableHeader::Ours { name });
        }
        if CREDENTIALS.iter().any(|known| carries(known))
            || credentials.iter().any(|known| carries(known.as_ref()))
        {
            return Err(UnrecordableHeader::Credentials { name });
        }
        Ok(HeaderName(name.into()))
    }
}

impl TryFrom<String> for HeaderName {
    type Error = UnrecordableHeader;

    fn try_from(name: String) -> Result<HeaderName, UnrecordableHeader> {
        const NO_OTHERS: [&str; 0] = [];
        HeaderName::new(&name, &NO_OTHERS)
    }
}

impl From<HeaderName> for String {
    fn from(name: HeaderName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl AsRef<str> for HeaderName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for HeaderName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for UnrecordableHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnrecordableHeader::Credentials { name } => {
                write!(f, "header `{name}` carries credentials, and can never be recorded")
            }
            UnrecordableHeader::Ours { name } => {
                write!(f, "header `{name}` belongs to filter and server, and can never be recorded")
            }
        }
    }
}

impl std::error::Error for UnrecordableHeader {}

#[cfg(test)]
mod tests {
    use super::{HeaderName, UnrecordableHeader};

    #[test]
    fn headers_with_credentials_have_no_name_here() {
        for name in [
            "authorization",
            "Authorization",
            "COOKIE",
            "set-cookie",
            "proxy-authorization",
            "x-api-key",
            "X-Api-Key",
        ] {
            let refused = HeaderName::new(name, &["x-api-key"]);
            assert_eq!(refused, Err(UnrecordableHeader::Credentials { name: name.to_ascii_lowercase() }));
        }
        for name in ["x-palisade-handoff", "X-Palisade-Anything"] {
            let refused = HeaderName::new(name, &["x-api-key"]);
            assert_eq!(refused, Err(UnrecordableHeader::Ours { name: name.to_ascii_lowercase() }));
        }
        let name = HeaderName::new("X-Tenant", &["x-api-key"]).unwrap();
        assert_eq!(name.as_ref(), "x-tenant");
    }

    #[test]
    fn no_entry_with_such_a_header_can_be_read() {
        assert!(serde_json::from_str::<HeaderName>(r#""cookie""#).is_err());
        assert!(serde_json::from_str::<HeaderName>(r#""x-palisade-handoff""#).is_err());
        let name: HeaderName = serde_json::from_str(r#""x-tenant""#).unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), r#""x-tenant""#);
    }
}
