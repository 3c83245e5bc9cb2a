//! Pairs of keys: drawn, read, and signed with by ring; only RSA keys are drawn by another crate, because ring draws none.
//!
//! INVARIANT: no cryptography of our own; a pair signs by the algorithms of its family and by no other.

use crate::identity::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
};
use rsa::pkcs8::EncodePrivateKey as _;

/// The fewest that are believed.
const RSA_BITS: usize = 2048;

pub(super) enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// Which of ring's functions an algorithm signs by.
enum Signs {
    Rsa(&'static dyn RsaEncoding),
    Ec(&'static EcdsaSigningAlgorithm),
    Ed,
}

/// A fresh private key, as PKCS #8.
pub(super) fn draw(algorithm: Algorithm) -> Option<Vec<u8>> {
    let random = SystemRandom::new();
    match signs(algorithm) {
        Signs::Rsa(_) => {
            let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, RSA_BITS).ok()?;
            Some(key.to_pkcs8_der().ok()?.as_bytes().to_vec())
        }
        Signs::Ec(curve) => Some(EcdsaKeyPair::generate_pkcs8(curve, &random).ok()?.as_ref().to_vec()),
        Signs::Ed => Some(Ed25519KeyPair::generate_pkcs8(&random).ok()?.as_ref().to_vec()),
    }
}

impl Pair {
    pub(super) fn read(algorithm: Algorithm, private: &[u8]) -> Option<Pair> {
        match signs(algorithm) {
            Signs::Rsa(_) => RsaKeyPair::from_pkcs8(private).ok().map(|pair| Pair::Rsa(Box::new(pair))),
            Signs::Ec(curve) => {
                EcdsaKeyPair::from_pkcs8(curve, private, &SystemRandom::new()).ok().map(Pair::Ec)
            }
            Signs::Ed => Ed25519KeyPair::from_pkcs8(private).ok().map(Pair::Ed),
        }
    }

    /// The numbers of the public key by their names in a JWK.
    pub(super) fn public(&self) -> Vec<(&'static str, String)> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Pair::Rsa(pair) => {
                let numbers = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                vec![("kty", "RSA".to_owned()), ("n", text(&numbers.n)), ("e", text(&numbers.e))]
            }
            Pair::Ec(pair) => {
                // A point that is not compressed: a byte that says so, and two numbers of one length.
                let point = pair.public_key().as_ref().split_first().map_or(&[][..], |(_, numbers)| numbers);
                let (x, y) = point.split_at_checked(point.len() / 2).unwrap_or_default();
                let curve = if x.len() > 32 { "P-384" } else { "P-256" };
                vec![("kty", "EC".to_owned()), ("crv", curve.to_owned()), ("x", text(x)), ("y", text(y))]
            }
            Pair::Ed(pair) => {
                let x = text(pair.public_key().as_ref());
                vec![("kty", "OKP".to_owned()), ("crv", "Ed25519".to_owned()), ("x", x)]
            }
        }
    }

    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match (self, signs(algorithm)) {
            (Pair::Rsa(pair), Signs::Rsa(padding)) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            (Pair::Ec(pair), Signs::Ec(_)) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            (Pair::Ed(pair), Signs::Ed) => Some(pair.sign(message).as_ref().to_vec()),
            (Pair::Rsa(_) | Pair::Ec(_) | Pair::Ed(_), _) => None,
        }
    }
}

fn signs(algorithm: Algorithm) -> Signs {
    match algorithm {
        Algorithm::Rs256 => Signs::Rsa(&signature::RSA_PKCS1_SHA256),
        Algorithm::Rs384 => Signs::Rsa(&signature::RSA_PKCS1_SHA384),
        Algorithm::Rs512 => Signs::Rsa(&signature::RSA_PKCS1_SHA512),
        Algorithm::Ps256 => Signs::Rsa(&signature::RSA_PSS_SHA256),
        Algorithm::Ps384 => Signs::Rsa(&signature::RSA_PSS_SHA384),
        Algorithm::Ps512 => Signs::Rsa(&signature::RSA_PSS_SHA512),
        // Two numbers of fixed length, as RFC 7518 has them.
        Algorithm::Es256 => Signs::Ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::Es384 => Signs::Ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        Algorithm::EdDsa => Signs::Ed,
    }
}
