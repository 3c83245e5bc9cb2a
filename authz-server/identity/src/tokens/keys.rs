//! A set of public keys (RFC 7517), each for exactly one algorithm.
//!
//! INVARIANT: a key verifies by one algorithm only, fixed before any token is seen. What a token says of its algorithm must
//! agree with that, and decides nothing.

use super::limits::{KEYS_BYTES_MAX, KEYS_MAX, KID_BYTES_MAX, RSA_BITS_MAX, RSA_BITS_MIN};
use super::signature::family;
use crate::settings::Algorithm;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use palisade_core::json;
use serde::Deserialize as _;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// The keys of an issuer that are used, and why the others are not.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
    left_out: Vec<LeftOut>,
}

pub(super) struct Key {
    kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A key of the set that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    place: usize,
    kid: Option<String>,
    pub(super) fault: KeyFault,
}

/// Why a key is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyFault {
    /// Of a kind or a curve that no algorithm here is for.
    Kind,
    /// A secret that both sides share.
    Shared,
    /// The private half is there for all to read.
    Private,
    /// For something else than verifying signatures.
    OtherUse,
    /// For an algorithm that the bundle does not list for the issuer.
    OtherAlgorithm,
    /// It names no algorithm, and several of the bundle's would fit.
    Ambiguous,
    RsaBits(usize),
    /// Its numbers are not those of a key.
    Numbers,
    Kid,
}

impl KeyFault {
    /// Whether a key of the bundle's own file must be mended, rather than passed over as meant for others.
    const fn is_mistake(self) -> bool {
        !matches!(self, KeyFault::Kind | KeyFault::OtherUse | KeyFault::OtherAlgorithm)
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            // Debug, because the name is the issuer's and the text goes to terminals.
            Some(kid) => write!(f, "the key {kid:?}: ")?,
            None => write!(f, "the key at place {}: ", self.place)?,
        }
        match self.fault {
            KeyFault::Kind => {
                f.write_str("its kind or curve is not supported: expected RSA, P-256, P-384 or Ed25519")
            }
            KeyFault::Shared => {
                f.write_str("it is a shared secret: whoever can verify with it can sign with it")
            }
            KeyFault::Private => f.write_str("its private half is published: it is worth nothing any more"),
            KeyFault::OtherUse => f.write_str("it is not for verifying signatures"),
            KeyFault::OtherAlgorithm => {
                f.write_str("it is for an algorithm that the issuer's `algorithms` do not list")
            }
            KeyFault::Ambiguous => f.write_str(
                "it has no `alg`, and several of the issuer's `algorithms` would fit: list one of them",
            ),
            KeyFault::RsaBits(bits) => {
                write!(f, "it has {bits} bits, expected {RSA_BITS_MIN} to {RSA_BITS_MAX}")
            }
            KeyFault::Numbers => f.write_str("its numbers are not those of a public key"),
            KeyFault::Kid => write!(f, "its `kid` is not text of 1 to {KID_BYTES_MAX} bytes"),
        }
    }
}

/// Why a text is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySetError {
    Size(usize),
    Json,
    /// It is JSON, and has no array `keys`.
    NotASet,
    TooMany(usize),
    /// Two keys of this name for one algorithm.
    Twice(String),
    NoneUsable(Vec<LeftOut>),
}

impl fmt::Display for KeySetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySetError::Size(bytes) => write!(f, "{bytes} bytes are over the limit of {KEYS_BYTES_MAX}"),
            KeySetError::Json => f.write_str("expected one JSON object that everybody reads alike"),
            KeySetError::NotASet => {
                f.write_str("expected a JWK set: an object with an array `keys` of objects")
            }
            KeySetError::TooMany(count) => write!(f, "{count} keys are over the limit of {KEYS_MAX}"),
            KeySetError::Twice(kid) => write!(f, "two keys have the name {kid:?} and the same algorithm"),
            KeySetError::NoneUsable(left_out) => {
                f.write_str("no key can be used")?;
                left_out.iter().try_for_each(|left_out| write!(f, "; {left_out}"))
            }
        }
    }
}

/// Which key a token asks for.
#[derive(Debug)]
pub(super) enum Found<'s> {
    Key(&'s Arc<Key>),
    /// There is a key of that name, and it is not for that algorithm.
    OtherAlgorithm,
    /// No key has that name.
    Unknown,
    /// Without a name: not exactly one key fits.
    Unnamed,
}

impl KeySet {
    pub(super) fn read(text: &[u8], algorithms: &[Algorithm]) -> Result<KeySet, KeySetError> {
        if text.len() > KEYS_BYTES_MAX {
            return Err(KeySetError::Size(text.len()));
        }
        json::check(text).map_err(|_| KeySetError::Json)?;
        let set: Value = serde_json::from_slice(text).map_err(|_| KeySetError::Json)?;
        let Some(Value::Array(items)) = set.get("keys") else { return Err(KeySetError::NotASet) };
        if items.len() > KEYS_MAX {
            return Err(KeySetError::TooMany(items.len()));
        }
        let (mut keys, mut left_out): (Vec<Arc<Key>>, _) = (Vec::new(), Vec::new());
        for (place, item) in items.iter().enumerate() {
            if !item.is_object() {
                return Err(KeySetError::NotASet);
            }
            match Key::read(item, algorithms) {
                Ok(key) => {
                    let twice = |other: &Arc<Key>| other.kid == key.kid && other.algorithm == key.algorithm;
                    if let (Some(kid), true) = (&key.kid, keys.iter().any(twice)) {
                        return Err(KeySetError::Twice(kid.clone()));
                    }
                    keys.push(Arc::new(key));
                }
                Err(fault) => {
                    let kid = item.get("kid").and_then(Value::as_str);
                    let kid = kid.filter(|kid| kid.len() <= KID_BYTES_MAX).map(str::to_owned);
                    left_out.push(LeftOut { place, kid, fault });
                }
            }
        }
        if keys.is_empty() { Err(KeySetError::NoneUsable(left_out)) } else { Ok(KeySet { keys, left_out }) }
    }

    /// The same for a file that the bundle's author can mend: what is wrong in it is not passed over.
    pub(super) fn read_own(text: &[u8], algorithms: &[Algorithm]) -> Result<KeySet, KeySetError> {
        let set = KeySet::read(text, algorithms)?;
        let mistakes = set.left_out.iter().filter(|left_out| left_out.fault.is_mistake());
        match mistakes.cloned().collect::<Vec<LeftOut>>() {
            mistakes if mistakes.is_empty() => Ok(set),
            mistakes => Err(KeySetError::NoneUsable(mistakes)),
        }
    }

    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        match kid {
            Some(kid) => {
                let mut named = self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
                if named.peek().is_none() {
                    return Found::Unknown;
                }
                named.find(|key| key.algorithm == algorithm).map_or(Found::OtherAlgorithm, Found::Key)
            }
            None => {
                let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
                match (fitting.next(), fitting.next()) {
                    (Some(key), None) => Found::Key(key),
                    (Some(_) | None, _) => Found::Unnamed,
                }
            }
        }
    }

    pub(super) fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn left_out(&self) -> Vec<String> {
        self.left_out.iter().map(ToString::to_string).collect()
    }
}

impl Key {
    fn read(item: &Value, algorithms: &[Algorithm]) -> Result<Key, KeyFault> {
        match item.get("kid") {
            None => {}
            Some(Value::String(kid)) if !kid.is_empty() && kid.len() <= KID_BYTES_MAX => {}
            Some(_) => return Err(KeyFault::Kid),
        }
        if item.get("kty").and_then(Value::as_str) == Some("oct") {
            return Err(KeyFault::Shared);
        }
        if ["d", "p", "q", "k"].iter().any(|name| item.get(*name).is_some()) {
            return Err(KeyFault::Private);
        }
        let jwk = Jwk::deserialize(item).map_err(|_| KeyFault::Kind)?;
        let for_signatures =
            jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
        let may_verify =
            jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        if !for_signatures || !may_verify {
            return Err(KeyFault::OtherUse);
        }
        let fitting = fitting(&jwk.algorithm)?;
        let algorithm = match item.get("alg") {
            None => the_only(fitting.into_iter().filter(|algorithm| algorithms.contains(algorithm)))?,
            Some(name) => {
                let named = name.as_str().and_then(Algorithm::parse).ok_or(KeyFault::OtherAlgorithm)?;
                if !fitting.contains(&named) {
                    return Err(KeyFault::Numbers);
                }
                if !algorithms.contains(&named) {
                    return Err(KeyFault::OtherAlgorithm);
                }
                named
            }
        };
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| KeyFault::Numbers)?;
        Ok(Key { kid: jwk.common.key_id, algorithm, key: sound(key, algorithm)? })
    }
}

/// The algorithms that a key of this kind can be for.
fn fitting(parameters: &AlgorithmParameters) -> Result<Vec<Algorithm>, KeyFault> {
    let rsa = || Algorithm::ALL.into_iter().filter(|it| family(*it) == jsonwebtoken::AlgorithmFamily::Rsa);
    match parameters {
        AlgorithmParameters::RSA(_) => Ok(rsa().collect()),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Ok(vec![Algorithm::Es256])
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
            Ok(vec![Algorithm::Es384])
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Ok(vec![Algorithm::EdDsa])
        }
        AlgorithmParameters::OctetKey(_) => Err(KeyFault::Shared),
        _ => Err(KeyFault::Kind),
    }
}

fn the_only(mut algorithms: impl Iterator<Item = Algorithm>) -> Result<Algorithm, KeyFault> {
    match (algorithms.next(), algorithms.next()) {
        (Some(algorithm), None) => Ok(algorithm),
        (Some(_), Some(_)) => Err(KeyFault::Ambiguous),
        (None, _) => Err(KeyFault::OtherAlgorithm),
    }
}

/// Sizes are judged here, so that a weak key is named when it comes and not when it is used.
fn sound(key: DecodingKey, algorithm: Algorithm) -> Result<DecodingKey, KeyFault> {
    let point_bytes = match algorithm {
        Algorithm::Es256 => 65,
        Algorithm::Es384 => 97,
        Algorithm::EdDsa => 32,
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => 0,
    };
    let (n, e) = match key.kind() {
        DecodingKeyKind::SecretOrDer(point) if point.len() == point_bytes => return Ok(key),
        DecodingKeyKind::SecretOrDer(_) => return Err(KeyFault::Numbers),
        DecodingKeyKind::RsaModulusExponent { n, e } => (without_zeros(n), without_zeros(e)),
    };
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(KeyFault::RsaBits(bits));
    }
    // An even modulus has a known factor; with an exponent of 1 everybody can sign.
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !is_odd(n) || !is_odd(e) || e == [1] || e.len() > 4 {
        return Err(KeyFault::Numbers);
    }
    Ok(DecodingKey::from_rsa_raw_components(n, e))
}

/// Some issuers write their numbers with a sign, which ring does not take.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
