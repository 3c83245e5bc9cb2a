//! Issuers' private halves, drawn anew in each run.

use crate::settings::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature as rings;
use ring::signature::KeyPair as _;
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Clone)]
pub(super) struct Signer {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    key: Arc<Key>,
}

enum Key {
    Rsa(rings::RsaKeyPair, rsa::RsaPublicKey),
    Ec(rings::EcdsaKeyPair),
    Ed(rings::Ed25519KeyPair),
}

pub(super) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn set_of(keys: impl IntoIterator<Item = Value>) -> Value {
    json!({"keys": keys.into_iter().collect::<Vec<Value>>()})
}

/// The public numbers of an RSA key of so many bits.
pub(super) fn rsa_jwk(bits: usize) -> Value {
    let public = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits).unwrap().to_public_key();
    json!({"kty": "RSA", "n": base64(&public.n().to_bytes_be()), "e": base64(&public.e().to_bytes_be())})
}

impl Signer {
    fn new(kid: &str, algorithm: Algorithm, key: Key) -> Signer {
        Signer { kid: kid.to_owned(), algorithm, key: Arc::new(key) }
    }

    pub(super) fn rsa(kid: &str) -> Signer {
        let private = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        let pair = rings::RsaKeyPair::from_pkcs8(private.to_pkcs8_der().unwrap().as_bytes()).unwrap();
        Signer::new(kid, Algorithm::Rs256, Key::Rsa(pair, private.to_public_key()))
    }

    pub(super) fn es256(kid: &str) -> Signer {
        Signer::ec(kid, Algorithm::Es256, &rings::ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub(super) fn es384(kid: &str) -> Signer {
        Signer::ec(kid, Algorithm::Es384, &rings::ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn ec(kid: &str, algorithm: Algorithm, curve: &'static rings::EcdsaSigningAlgorithm) -> Signer {
        let random = SystemRandom::new();
        let der = rings::EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
        let pair = rings::EcdsaKeyPair::from_pkcs8(curve, der.as_ref(), &random).unwrap();
        Signer::new(kid, algorithm, Key::Ec(pair))
    }

    pub(super) fn ed25519(kid: &str) -> Signer {
        let der = rings::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = rings::Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        Signer::new(kid, Algorithm::EdDsa, Key::Ed(pair))
    }

    /// The same key, for another algorithm of its family.
    pub(super) fn with(&self, algorithm: Algorithm) -> Signer {
        Signer { algorithm, ..self.clone() }
    }

    pub(super) fn named(&self, kid: &str) -> Signer {
        Signer { kid: kid.to_owned(), ..self.clone() }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &*self.key {
            Key::Rsa(pair, _) => {
                let encoding: &dyn rings::RsaEncoding = match self.algorithm {
                    Algorithm::Rs384 => &rings::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &rings::RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &rings::RSA_PSS_SHA256,
                    Algorithm::Ps384 => &rings::RSA_PSS_SHA384,
                    Algorithm::Ps512 => &rings::RSA_PSS_SHA512,
                    _ => &rings::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Key::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The bytes of the public half, as a thief of nothing has them: a point, or a modulus.
    pub(super) fn public_bytes(&self) -> Vec<u8> {
        match &*self.key {
            Key::Rsa(_, public) => public.n().to_bytes_be(),
            Key::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Key::Ed(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The same in the form of files.
    pub(super) fn public_der(&self) -> Vec<u8> {
        match &*self.key {
            Key::Rsa(pair, _) => pair.public().as_ref().to_vec(),
            Key::Ec(_) | Key::Ed(_) => self.public_bytes(),
        }
    }

    pub(super) fn jwk(&self) -> Value {
        let mut jwk = match &*self.key {
            Key::Rsa(_, public) => {
                json!({"kty": "RSA", "n": base64(&public.n().to_bytes_be()), "e": base64(&public.e().to_bytes_be())})
            }
            Key::Ec(_) => {
                let (point, curve) = match self.algorithm {
                    Algorithm::Es384 => (self.public_bytes(), "P-384"),
                    _ => (self.public_bytes(), "P-256"),
                };
                let (x, y) = point[1..].split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": base64(x), "y": base64(y)})
            }
            Key::Ed(_) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64(&self.public_bytes())}),
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm.as_str());
        jwk["use"] = json!("sig");
        jwk
    }
}
