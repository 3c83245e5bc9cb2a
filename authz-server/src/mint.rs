//! An issuer of tokens of our own, for tests and for the demo: it signs whatever it is told to.
//!
//! INVARIANT: its key is drawn when it is made and goes nowhere but where its maker writes it; nobody believes its tokens
//! but whoever was given its public key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};

/// Signs with Ed25519.
#[derive(Debug)]
pub struct Mint {
    key: KeyPair,
    key_id: String,
}

impl Mint {
    /// A key that nobody has seen.
    pub fn new(key_id: &str) -> Result<Mint, rcgen::Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        Ok(Mint { key, key_id: key_id.to_owned() })
    }

    /// Its public key as whoever verifies wants it.
    pub fn public(&self) -> Value {
        let key = URL_SAFE_NO_PAD.encode(self.key.der_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.key_id, "x": key})
    }

    /// The key set of these mints.
    pub fn set<'m>(mints: impl IntoIterator<Item = &'m Mint>) -> Value {
        json!({"keys": mints.into_iter().map(Mint::public).collect::<Vec<_>>()})
    }

    /// A token that says this.
    pub fn token(&self, claims: &Value) -> Result<String, rcgen::Error> {
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.key_id});
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.key.sign(signed.as_bytes())?;
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
    use super::{Mint, put};
    use crate::identity::{
        Algorithm, Claim, ClaimRules, IssuerSettings, KeysFrom, LEEWAY_S_DEFAULT, Tokens, TokensSettings,
    };
    use serde_json::json;

    #[test]
    fn who_has_its_public_key_believes_its_tokens_and_no_others() {
        let (mint, other) = (Mint::new("a").unwrap(), Mint::new("a").unwrap());
        let settings = TokensSettings {
            issuers: vec![IssuerSettings {
                name: "corp".to_owned(),
                issuer: "https://login.example".to_owned(),
                audiences: vec!["shop".to_owned()],
                algorithms: vec![Algorithm::EdDsa],
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
    }
}
