//! An issuer of tokens of our own, for tests and for `palisade dev`: it signs whatever it is told to.
//!
//! INVARIANT: its key is drawn when it is made and goes nowhere but where its maker writes it; nobody believes its tokens
//! but whoever was given its public key.

mod form;
mod pair;

pub use form::{NotRead, Said, TokenForm};

use crate::identity::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pair::Pair;
use serde_json::{Value, json};
use std::fmt;

/// Signs with one key, by one algorithm.
pub struct Mint {
    pair: Pair,
    algorithm: Algorithm,
    key_id: String,
    /// The private key, as PKCS #8.
    private: Vec<u8>,
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mint { algorithm, key_id, .. } = self;
        f.debug_struct("Mint").field("algorithm", algorithm).field("key_id", key_id).finish_non_exhaustive()
    }
}

/// What could not be done with a key. Its text says nothing of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MintError {
    Draw(Algorithm),
    Read(Algorithm),
    Sign(Algorithm),
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MintError::Draw(algorithm) => write!(f, "no key for `{}` could be drawn", algorithm.as_str()),
            MintError::Read(algorithm) => write!(f, "this is no private key for `{}`", algorithm.as_str()),
            MintError::Sign(algorithm) => write!(f, "the key for `{}` did not sign", algorithm.as_str()),
        }
    }
}

impl std::error::Error for MintError {}

impl Mint {
    /// A key for Ed25519 that nobody has seen.
    pub fn new(key_id: &str) -> Result<Mint, MintError> {
        Mint::draw(Algorithm::EdDsa, key_id)
    }

    /// A key that nobody has seen.
    pub fn draw(algorithm: Algorithm, key_id: &str) -> Result<Mint, MintError> {
        let private = pair::draw(algorithm).ok_or(MintError::Draw(algorithm))?;
        Mint::read(algorithm, key_id, private)
    }

    /// The key that `private` gave.
    pub fn read(algorithm: Algorithm, key_id: &str, private: Vec<u8>) -> Result<Mint, MintError> {
        let pair = Pair::read(algorithm, &private).ok_or(MintError::Read(algorithm))?;
        Ok(Mint { pair, algorithm, key_id: key_id.to_owned(), private })
    }

    /// The private key: a secret.
    pub fn private(&self) -> &[u8] {
        &self.private
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Its public key as whoever verifies wants it.
    pub fn public(&self) -> Value {
        let mut key = json!({"use": "sig", "alg": self.algorithm.as_str(), "kid": self.key_id});
        for (name, value) in self.pair.public() {
            put(&mut key, name, value.into());
        }
        key
    }

    /// The key set of these mints.
    pub fn set<'m>(mints: impl IntoIterator<Item = &'m Mint>) -> Value {
        json!({"keys": mints.into_iter().map(Mint::public).collect::<Vec<_>>()})
    }

    /// A token that says this.
    pub fn token(&self, claims: &Value) -> Result<String, MintError> {
        let header = json!({"alg": self.algorithm.as_str(), "typ": "JWT", "kid": self.key_id});
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.pair.sign(self.algorithm, signed.as_bytes());
        let signature = signature.ok_or(MintError::Sign(self.algorithm))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Puts a claim where a bundle reads it: under its name, or where its JSON pointer leads.
pub fn put(claims: &mut Value, claim: &str, value: Value) {
    let keys: Vec<String> = match claim.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect(),
        None => vec![claim.to_owned()],
    };
    let mut place = claims;
    for key in keys {
        if !place.is_object() {
            *place = json!({});
        }
        let Some(object) = place.as_object_mut() else { return };
        place = object.entry(key).or_insert(Value::Null);
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::{Mint, MintError, put};
    use crate::identity::{
        Algorithm, Claim, ClaimRules, IssuerSettings, KeysFrom, LEEWAY_S_DEFAULT, Tokens, TokensSettings,
    };
    use serde_json::json;

    fn believed(algorithm: Algorithm) {
        let (mint, other) = (Mint::draw(algorithm, "a").unwrap(), Mint::draw(algorithm, "a").unwrap());
        let settings = TokensSettings {
            issuers: vec![IssuerSettings {
                name: "corp".to_owned(),
                issuer: "https://login.example".to_owned(),
                audiences: vec!["shop".to_owned()],
                algorithms: vec![algorithm],
                keys: KeysFrom::Text(Mint::set([&mint]).to_string().into()),
                claims: ClaimRules {
                    roles: Some(Claim::parse("/realm_access/roles").unwrap()),
                    ..ClaimRules::default()
                },
                leeway_s: LEEWAY_S_DEFAULT,
            }],
            ..TokensSettings::default()
        };
        let tokens = Tokens::begin(&settings, None).unwrap();
        let mut claims =
            json!({"iss": "https://login.example", "aud": "shop", "sub": "alice", "iat": 1000, "exp": 2000});
        put(&mut claims, "/realm_access/roles", json!(["refunder"]));
        let verified = tokens.verify(&mint.token(&claims).unwrap(), 1_500_000).unwrap();
        assert_eq!(verified.user.name(), "corp/alice");
        assert!(verified.user.roles.contains("refunder"));
        assert!(tokens.verify(&other.token(&claims).unwrap(), 1_500_000).is_err());
        // Whoever was given the private key signs as the same one.
        let again = Mint::read(algorithm, "a", mint.private().to_vec()).unwrap();
        claims["sub"] = "bob".into();
        assert_eq!(tokens.verify(&again.token(&claims).unwrap(), 1_500_000).unwrap().user.name(), "corp/bob");
        assert_eq!(again.public(), mint.public());
    }

    #[test]
    fn who_has_its_public_key_believes_its_tokens_and_no_others() {
        for algorithm in Algorithm::ALL {
            believed(algorithm);
        }
    }

    #[test]
    fn a_key_of_another_algorithm_is_none_and_no_key_is_shown() {
        let mint = Mint::new("a").unwrap();
        for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256] {
            let read = Mint::read(algorithm, "a", mint.private().to_vec());
            assert_eq!(read.unwrap_err(), MintError::Read(algorithm));
        }
        assert_eq!(format!("{mint:?}"), r#"Mint { algorithm: EdDsa, key_id: "a", .. }"#);
        let public = mint.public().to_string();
        assert!(public.contains(r#""crv":"Ed25519""#) && !public.contains(r#""d":"#), "{public}");
    }
}
