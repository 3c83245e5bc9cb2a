//! Signatures: the field's crate with ring behind it.
//!
//! INVARIANT: no cryptography of our own. This module only says which function of ring an algorithm is, and that a key of
//! one family never meets an algorithm of another.

use crate::settings::Algorithm;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::error::Unspecified;
use ring::signature as rings;

/// Nothing here signs, and no key is made from another.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(unsupported()),
    verifier_factory: verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(unsupported()),
        rsa_pub_components_from_public_key: |_| Err(unsupported()),
        ec_pub_components_from_private_key: |_, _| Err(unsupported()),
        ed_pub_components_from_private_key: |_, _| Err(unsupported()),
        compute_digest: |_, _| Err(unsupported()),
    },
};

/// Must come before the first `holds`: without a provider the crate panics. Only the first call has an effect.
pub(super) fn install_ring() {
    // Nothing else in this program names the crate, so a provider that is there already is this one.
    let _first = RING.install_default();
}

/// Whether the signature, in Base64, is that of the message.
pub(super) fn holds(signature: &str, message: &str, key: &DecodingKey, algorithm: Algorithm) -> bool {
    jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, their(algorithm)).unwrap_or(false)
}

pub(super) const fn family(algorithm: Algorithm) -> AlgorithmFamily {
    match algorithm {
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => AlgorithmFamily::Rsa,
        Algorithm::Es256 | Algorithm::Es384 => AlgorithmFamily::Ec,
        Algorithm::EdDsa => AlgorithmFamily::Ed,
    }
}

const fn their(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Rs384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::Rs512 => jsonwebtoken::Algorithm::RS512,
        Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::Ps384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::Ps512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
    }
}

fn ours(algorithm: jsonwebtoken::Algorithm) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|known| their(*known) == algorithm)
}

fn unsupported() -> Error {
    ErrorKind::UnsupportedAlgorithm.into()
}

struct ByRing {
    algorithm: Algorithm,
    key: DecodingKey,
}

fn verifier(algorithm: &jsonwebtoken::Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let algorithm = ours(*algorithm).ok_or_else(unsupported)?;
    if key.family() != family(algorithm) {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(ByRing { algorithm, key: key.clone() }))
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        their(self.algorithm)
    }
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.check(message, signature).map_err(|Unspecified| signature::Error::new())
    }
}

impl ByRing {
    fn check(&self, message: &[u8], signature: &[u8]) -> Result<(), Unspecified> {
        match self.algorithm {
            Algorithm::Rs256 => self.rsa(&rings::RSA_PKCS1_2048_8192_SHA256, message, signature),
            Algorithm::Rs384 => self.rsa(&rings::RSA_PKCS1_2048_8192_SHA384, message, signature),
            Algorithm::Rs512 => self.rsa(&rings::RSA_PKCS1_2048_8192_SHA512, message, signature),
            Algorithm::Ps256 => self.rsa(&rings::RSA_PSS_2048_8192_SHA256, message, signature),
            Algorithm::Ps384 => self.rsa(&rings::RSA_PSS_2048_8192_SHA384, message, signature),
            Algorithm::Ps512 => self.rsa(&rings::RSA_PSS_2048_8192_SHA512, message, signature),
            // Two numbers of fixed length, as RFC 7518 has them; never DER.
            Algorithm::Es256 => self.point(&rings::ECDSA_P256_SHA256_FIXED, message, signature),
            Algorithm::Es384 => self.point(&rings::ECDSA_P384_SHA384_FIXED, message, signature),
            Algorithm::EdDsa => self.point(&rings::ED25519, message, signature),
        }
    }

    fn rsa(
        &self,
        parameters: &rings::RsaParameters,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Unspecified> {
        match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                rings::RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            DecodingKeyKind::SecretOrDer(_) => Err(Unspecified),
        }
    }

    fn point(
        &self,
        algorithm: &'static dyn rings::VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Unspecified> {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(point) => {
                rings::UnparsedPublicKey::new(algorithm, point).verify(message, signature)
            }
            DecodingKeyKind::RsaModulusExponent { .. } => Err(Unspecified),
        }
    }
}
