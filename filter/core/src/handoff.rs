//! The handoff: what the filter tells the server, and the proof that the filter ran.
//!
//! Version 1, 54 bytes and a 32-byte MAC, as unpadded base64url in one header: version u8, flags u8, operation u32,
//! call id, bundle digest; the MAC is keyed BLAKE3 over these and over method, authority and path of the request, so
//! that a handoff that leaked is of no use for another request. It vouches for the head only.

use crate::call_id::CallId;
use crate::contract::BundleDigest;
use crate::limits::{HANDOFF_AGE_MS_MAX, HANDOFF_TEXT_BYTES_MAX};
use crate::routes::OperationIndex;
use crate::wire::Reader;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The header that carries it.
pub const HEADER: &str = "x-palisade-handoff";

/// All headers that begin so are ours; a client's are removed.
pub const HEADER_PREFIX: &str = "x-palisade-";

const VERSION: u8 = 1;
const SIGNED_BYTES: usize = 54;
const MAC_BYTES: usize = 32;
const TEXT_BYTES: usize = 115;

/// A shared secret of filter and server: 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Refuses what is too short to be a secret, and the all-zero one that a template may have left behind.
    pub fn parse(text: &str) -> Option<Secret> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        (bytes != [0; 32]).then_some(Secret(bytes))
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// A key of its own for another purpose: what one is good for, no other is.
    pub(crate) fn derive(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, &self.0)
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What the filter found out about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// The filter holds the body until it was judged.
    pub const BODY_JUDGED: Flags = Flags(1);
    /// The caller speaks gRPC.
    pub const GRPC: Flags = Flags(2);
    /// The operation was upgraded to another protocol.
    pub const UPGRADE: Flags = Flags(4);

    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The parts of a request that the proof is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    pub method: &'a str,
    pub authority: &'a str,
    pub target: &'a str,
}

/// What the filter vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handoff {
    pub bundle: BundleDigest,
    pub operation: OperationIndex,
    pub flags: Flags,
    pub call_id: CallId,
}

/// Why a handoff is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandoffError {
    Malformed,
    UnknownVersion {
        found: u8,
    },
    /// The proof fits none of the secrets.
    Forged,
    /// Minted too long ago, or in the future.
    Stale {
        minted_at_ms: u64,
    },
}

impl core::fmt::Display for HandoffError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            HandoffError::Malformed => f.write_str("the handoff is not one that a filter writes"),
            HandoffError::UnknownVersion { found } => {
                write!(
                    f,
                    "unknown handoff version `{found}`: this server reads version {VERSION}; roll out the server before the filter"
                )
            }
            HandoffError::Forged => {
                f.write_str("the proof fits no secret: give filter and server the same one")
            }
            HandoffError::Stale { minted_at_ms } => {
                write!(
                    f,
                    "the handoff was minted at {minted_at_ms} ms, too far from this server's clock: compare the clocks"
                )
            }
        }
    }
}

/// Which of the secrets a proof fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretSlot {
    Current,
    Previous,
}

impl Handoff {
    pub fn encode(&self, secret: &Secret, binding: Binding<'_>) -> String {
        let mut bytes = Vec::with_capacity(SIGNED_BYTES + MAC_BYTES);
        self.sign(&mut bytes);
        let proof = proof(secret, &bytes, binding);
        bytes.extend_from_slice(proof.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Believes a handoff only with its proof, its version and its time.
    pub fn verify<'s>(
        text: &[u8],
        secrets: impl IntoIterator<Item = (SecretSlot, &'s Secret)>,
        binding: Binding<'_>,
        now_ms: u64,
    ) -> Result<(Handoff, SecretSlot), HandoffError> {
        if text.len() > HANDOFF_TEXT_BYTES_MAX {
            return Err(HandoffError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| HandoffError::Malformed)?;
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&found) => return Err(HandoffError::UnknownVersion { found }),
            None => return Err(HandoffError::Malformed),
        }
        let (signed, mac) = bytes.split_first_chunk::<SIGNED_BYTES>().ok_or(HandoffError::Malformed)?;
        let mac: [u8; MAC_BYTES] = mac.try_into().map_err(|_| HandoffError::Malformed)?;
        // The comparison of two hashes takes the same time wherever they differ.
        let claimed = blake3::Hash::from_bytes(mac);
        let slot = secrets
            .into_iter()
            .find(|(_, secret)| proof(secret, signed, binding) == claimed)
            .map(|(slot, _)| slot)
            .ok_or(HandoffError::Forged)?;
        let handoff = Handoff::read(signed).ok_or(HandoffError::Malformed)?;
        let minted_at_ms = handoff.call_id.minted_at_ms();
        if minted_at_ms.abs_diff(now_ms) > HANDOFF_AGE_MS_MAX {
            return Err(HandoffError::Stale { minted_at_ms });
        }
        Ok((handoff, slot))
    }

    /// Writes the fields that the proof is over.
    fn sign(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, self.flags.0]);
        out.extend_from_slice(&self.operation.0.to_be_bytes());
        out.extend_from_slice(self.call_id.as_bytes());
        out.extend_from_slice(&self.bundle.0);
    }

    fn read(signed: &[u8; SIGNED_BYTES]) -> Option<Handoff> {
        let mut input = Reader::new(signed);
        let _version = input.u8().ok()?;
        let flags = Flags(input.u8().ok()?);
        let operation = OperationIndex(input.u32().ok()?);
        let call_id = CallId::from_bytes(input.array().ok()?)?;
        let bundle = BundleDigest(input.array().ok()?);
        Some(Handoff { bundle, operation, flags, call_id })
    }
}

fn proof(secret: &Secret, signed: &[u8], binding: Binding<'_>) -> blake3::Hash {
    let parts = [binding.method, binding.authority, binding.target];
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(signed);
    for part in parts {
        // The length keeps `a` + `bc` apart from `ab` + `c`.
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    blake3::keyed_hash(&secret.0, &bytes)
}

const _: () = assert!((SIGNED_BYTES + MAC_BYTES) * 4 <= TEXT_BYTES * 3, "the text holds all bytes");
const _: () = assert!(TEXT_BYTES <= HANDOFF_TEXT_BYTES_MAX, "what we write must be read");

#[cfg(test)]
mod tests;
