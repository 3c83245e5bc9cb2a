//! A profile: how the corpora speak to one bundle, so that the same cases run with every bundle.
//!
//! Invariant: a feature that a bundle lacks is said in its profile; a value that is merely forgotten fails the test.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::template::Values;
use crate::binaries;
use crate::rig::BundleUnderTest;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The bundle's directory, from the workspace's.
    pub bundle: String,
    /// What each service speaks behind the proxy.
    pub services: BTreeMap<String, UpstreamProtocol>,
    /// The clients that get an API key.
    pub clients: Vec<String>,
    /// What a case may name in a `needs` line.
    pub features: Vec<String>,
    /// The limit of the operation behind `write_path`.
    pub write_bytes_max: usize,
    pub values: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamProtocol {
    Http1,
    /// HTTP/2 without TLS.
    H2c,
}

impl Profile {
    pub fn load(bundle: BundleUnderTest) -> Self {
        let name = match bundle {
            BundleUnderTest::Demo => "demo",
            BundleUnderTest::Second => "second",
        };
        let path = binaries::workspace_dir().join(format!("tests/bundles/{name}.profile.yaml"));
        let text = std::fs::read_to_string(&path).expect("read a profile");
        match serde_saphyr::from_str(&text) {
            Ok(profile) => profile,
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }

    pub fn has(&self, features: &[String]) -> bool {
        features.iter().all(|feature| self.features.contains(feature))
    }

    pub fn value(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(value) => value,
            None => panic!("the profile of `{}` has no value `{name}`", self.bundle),
        }
    }

    /// What the placeholders stand for: the profile's values, its clients' keys, and bodies around the limit.
    pub fn resolve(&self, keys: &BTreeMap<String, String>) -> Values {
        let mut values: Values =
            self.values.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
        for (name, client) in [("api_key", self.value("client")), ("reader_key", self.value("reader"))] {
            let key = keys.get(client).cloned().unwrap_or_default();
            values.insert(name.to_owned(), key.into_bytes());
        }
        values.insert("host_upper".to_owned(), self.value("host").to_ascii_uppercase().into_bytes());
        let body = self.value("write_body");
        let limit = self.write_bytes_max;
        let sizes = [("at_limit", limit), ("over_limit", limit + 1), ("far_over_limit", limit * 10)];
        for (name, length) in sizes {
            values.insert(format!("body_{name}"), padded(body, length));
        }
        values.insert("write_bytes_max".to_owned(), limit.to_string().into_bytes());
        values
    }
}

/// The same JSON document with blanks behind it, `length` bytes long.
fn padded(body: &str, length: usize) -> Vec<u8> {
    let mut bytes = body.as_bytes().to_vec();
    bytes.resize(length, b' ');
    bytes
}
