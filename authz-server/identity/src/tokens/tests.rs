//! Proofs of what tokens are believed, and of what their issuers may do to us.

mod cache;
mod forged;
mod forged_claims;
mod key_sets;
mod opaque;
mod random;
mod server;
mod signer;
mod sources;

use super::{TokenError, Tokens, Verified};
use crate::settings::{
    Algorithm, AttributeRule, Claim, ClaimKind, ClaimRules, IssuerSettings, KeysFrom, LEEWAY_S_DEFAULT,
    TokensSettings,
};
use serde_json::{Value, json};
use signer::{Signer, set_of};
use std::sync::{Arc, LazyLock};

/// A moment, in milliseconds and in seconds.
const NOW_MS: u64 = 1_763_700_000_000;
const NOW_S: u64 = NOW_MS / 1000;

const CORP: &str = "https://id.example/corp";
const PARTNER: &str = "https://id.example/partner";
const SOLO: &str = "https://id.example/solo";

fn claim(name: &str) -> Claim {
    Claim::parse(name).unwrap()
}

/// Rules that use every kind of claim.
fn all_claims() -> ClaimRules {
    let rule = |name: &str, kind, required| AttributeRule { claim: claim(name), kind, required };
    ClaimRules {
        groups: Some(claim("groups")),
        roles: Some(claim("/realm_access/roles")),
        attributes: [
            ("department".to_owned(), rule("department", ClaimKind::Text, false)),
            ("level".to_owned(), rule("level", ClaimKind::Long, false)),
            ("onCall".to_owned(), rule("on_call", ClaimKind::Bool, false)),
            ("regions".to_owned(), rule("/shop.example~1regions", ClaimKind::Texts, false)),
            ("tenant".to_owned(), rule("tenant", ClaimKind::Text, true)),
        ]
        .into(),
        ..ClaimRules::default()
    }
}

fn issuer(name: &str, issuer: &str, algorithms: &[Algorithm], keys: KeysFrom) -> IssuerSettings {
    IssuerSettings {
        name: name.to_owned(),
        issuer: issuer.to_owned(),
        audiences: vec!["orders".to_owned(), "payments".to_owned()],
        algorithms: algorithms.to_vec(),
        keys,
        claims: all_claims(),
        leeway_s: LEEWAY_S_DEFAULT,
    }
}

fn text(set: &Value) -> KeysFrom {
    KeysFrom::Text(set.to_string().into())
}

/// Three issuers, two of them with a key of the same name.
struct World {
    tokens: Tokens,
    rsa: Signer,
    es256: Signer,
    ed: Signer,
    partner: Signer,
    solo: Signer,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (rsa, es256, ed) = (Signer::rsa("rs-1"), Signer::es256("es-1"), Signer::ed25519("ed-1"));
    let (partner, solo) = (Signer::es256("es-1"), Signer::ed25519("nameless"));
    let corp = text(&set_of([rsa.jwk(), es256.jwk(), ed.jwk()]));
    let mut nameless = solo.jwk();
    nameless.as_object_mut().unwrap().remove("kid");
    let accepted = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
    let issuers = vec![
        issuer("corp", CORP, &accepted, corp),
        issuer("partner", PARTNER, &accepted, text(&set_of([partner.jwk()]))),
        issuer("solo", SOLO, &accepted, text(&set_of([nameless]))),
    ];
    let tokens = Tokens::begin(&TokensSettings { issuers, ..TokensSettings::default() }, None).unwrap();
    World { tokens, rsa, es256, ed, partner, solo }
});

/// A token that is being made. What is set as text is signed as it is.
#[derive(Clone)]
struct Draft {
    header: Value,
    claims: Value,
    header_text: Option<Vec<u8>>,
    claims_text: Option<Vec<u8>>,
    by: Signer,
}

impl Draft {
    fn of(issuer: &str, by: &Signer) -> Draft {
        Draft {
            header: json!({"typ": "JWT", "alg": by.algorithm.as_str(), "kid": by.kid}),
            claims: json!({
                "iss": issuer, "aud": "orders", "sub": "alice", "tenant": "north",
                "iat": NOW_S - 60, "nbf": NOW_S - 60, "exp": NOW_S + 600,
            }),
            header_text: None,
            claims_text: None,
            by: by.clone(),
        }
    }

    fn header(mut self, name: &str, value: Value) -> Draft {
        self.header[name] = value;
        self
    }

    fn claim(mut self, name: &str, value: Value) -> Draft {
        self.claims[name] = value;
        self
    }

    fn without_header(mut self, name: &str) -> Draft {
        self.header.as_object_mut().unwrap().remove(name).unwrap();
        self
    }

    fn without(mut self, name: &str) -> Draft {
        self.claims.as_object_mut().unwrap().remove(name).unwrap();
        self
    }

    fn header_text(mut self, text: impl AsRef<[u8]>) -> Draft {
        self.header_text = Some(text.as_ref().to_vec());
        self
    }

    fn claims_text(mut self, text: impl AsRef<[u8]>) -> Draft {
        self.claims_text = Some(text.as_ref().to_vec());
        self
    }

    /// The claims as they are, with more text before the brace that ends them.
    fn claims_and(self, more: &str) -> Draft {
        let text = self.claims.to_string();
        let text = format!("{},{more}}}", text.strip_suffix('}').unwrap());
        self.claims_text(text)
    }

    fn header_and(self, more: &str) -> Draft {
        let text = self.header.to_string();
        let text = format!("{},{more}}}", text.strip_suffix('}').unwrap());
        self.header_text(text)
    }

    fn by(mut self, signer: &Signer) -> Draft {
        self.by = signer.clone();
        self
    }

    fn message(&self) -> String {
        let part = |text: &Option<Vec<u8>>, value: &Value| {
            signer::base64(text.as_deref().unwrap_or(value.to_string().as_bytes()))
        };
        format!("{}.{}", part(&self.header_text, &self.header), part(&self.claims_text, &self.claims))
    }

    fn signed(&self) -> String {
        self.with_signature(&self.by.sign(self.message().as_bytes()))
    }

    fn with_signature(&self, signature: &[u8]) -> String {
        format!("{}.{}", self.message(), signer::base64(signature))
    }
}

fn verify(token: &str) -> Result<Arc<Verified>, TokenError> {
    WORLD.tokens.verify(token, NOW_MS)
}
