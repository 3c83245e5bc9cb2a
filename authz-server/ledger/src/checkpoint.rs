//! Checkpoints: how many entries there are and the root of the tree over them, signed. Pure.
//!
//! A checkpoint is a signed note whose text is three lines: the ledger's origin, the number of entries, the root in
//! base64 (c2sp.org/tlog-checkpoint). It carries two signatures of the one key: the plain one of a note, which every
//! tool for notes checks, and a cosignature (c2sp.org/tlog-cosignature), which also signs the time. The second makes a
//! checkpoint say something when nothing happened: that at this time there were still no more entries.
//!
//! INVARIANT: a [`Checkpoint`] that was given by [`VerifierKey::open`] was signed by that key, its time too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use signed_note::{Note, Signer, StandardVerifier, Verifier, VerifierList};

use crate::error::CheckpointError;
use crate::merkle::{HASH_BYTES, Hash};

/// The types of signatures, as the note's key ids distinguish them.
const ED25519: u8 = 0x01;
const COSIGNATURE: u8 = 0x04;

const TIME_BYTES: usize = 8;

/// A tree head that somebody signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    /// How many entries it covers.
    pub size: u64,
    pub root: Hash,
    /// Since the Unix epoch, when it was signed.
    pub time_s: u64,
}

impl Checkpoint {
    fn text(origin: &str, size: u64, root: &Hash) -> String {
        format!("{origin}\n{size}\n{}\n", BASE64.encode(root.as_bytes()))
    }

    /// Reads the text of a note; lines after the third are not ours, and allowed.
    fn parse(text: &str) -> Option<Checkpoint> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty())?.to_owned();
        let digits = lines.next()?;
        let size: u64 = digits.parse().ok()?;
        let root: [u8; HASH_BYTES] = BASE64.decode(lines.next()?).ok()?.try_into().ok()?;
        let is_canonical = size.to_string() == digits && lines.all(|line| !line.is_empty());
        is_canonical.then_some(Checkpoint { origin, size, root: Hash::new(root), time_s: 0 })
    }
}

/// What signs checkpoints.
pub(crate) struct SignerKey {
    name: String,
    key: SigningKey,
}

impl SignerKey {
    pub(crate) fn new(name: String, seed: &[u8; 32]) -> SignerKey {
        SignerKey { name, key: SigningKey::from_bytes(seed) }
    }

    /// Reads the form in which note tools keep a private key.
    pub(crate) fn parse(text: &str) -> Option<SignerKey> {
        let text = text.trim_end_matches('\n');
        // It looks at name, id and type; the rest here only takes the key out of what it found sound.
        signed_note::StandardSigner::new(text).ok()?;
        let mut parts = text.splitn(5, '+').skip(2);
        let (name, _id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = BASE64.decode(key).ok()?;
        let (_type, seed) = bytes.split_first()?;
        Some(SignerKey::new(name.to_owned(), seed.try_into().ok()?))
    }

    pub(crate) fn private_text(&self) -> String {
        let key = BASE64.encode([&[ED25519][..], self.key.as_bytes()].concat());
        format!("PRIVATE+KEY+{}+{:08x}+{key}\n", self.name, self.id())
    }

    pub(crate) fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    fn id(&self) -> u32 {
        key_id(&self.name, ED25519, &self.key.verifying_key())
    }

    /// Signs the tree of this size and root, and that it had no more entries at this time.
    pub(crate) fn sign(&self, size: u64, root: &Hash, time_s: u64) -> Result<Vec<u8>, CheckpointError> {
        let text = Checkpoint::text(&self.name, size, root);
        let mut note = Note::new(text.as_bytes(), &[]).map_err(|_| CheckpointError::Malformed)?;
        let cosigner = Cosigner { key: self, time_s };
        note.add_sigs(&[self, &cosigner]).map_err(|_| CheckpointError::Malformed)?;
        Ok(note.to_bytes())
    }
}

impl std::fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignerKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Signer for SignerKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id()
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, ed25519_dalek::SignatureError> {
        Ok(self.key.try_sign(text)?.to_vec())
    }
}

struct Cosigner<'a> {
    key: &'a SignerKey,
    time_s: u64,
}

impl Signer for Cosigner<'_> {
    fn name(&self) -> &str {
        &self.key.name
    }

    fn key_id(&self) -> u32 {
        key_id(&self.key.name, COSIGNATURE, &self.key.key.verifying_key())
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, ed25519_dalek::SignatureError> {
        let signature = self.key.key.try_sign(&cosigned(text, self.time_s))?;
        Ok([&self.time_s.to_be_bytes()[..], &signature.to_bytes()].concat())
    }
}

/// What a cosignature signs of a note's text.
fn cosigned(text: &[u8], time_s: u64) -> Vec<u8> {
    [format!("cosignature/v1\ntime {time_s}\n").as_bytes(), text].concat()
}

fn key_id(name: &str, kind: u8, key: &VerifyingKey) -> u32 {
    signed_note::key_id(name, &[&[kind][..], key.as_bytes()].concat())
}

/// What checkpoints are checked with; it is public, and belongs where whoever writes the ledger cannot change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

impl VerifierKey {
    /// Reads `<name>+<id>+<key>`, the form in which note tools keep a public key.
    pub fn parse(text: &str) -> Result<VerifierKey, CheckpointError> {
        let text = text.trim();
        StandardVerifier::new(text).map_err(|_| CheckpointError::Key)?;
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(CheckpointError::Key);
        };
        let bytes = BASE64.decode(key).map_err(|_| CheckpointError::Key)?;
        let key = bytes.split_first().and_then(|(_type, key)| key.try_into().ok());
        let key = key.and_then(|key| VerifyingKey::from_bytes(key).ok()).ok_or(CheckpointError::Key)?;
        Ok(VerifierKey { name: name.to_owned(), key })
    }

    pub fn text(&self) -> String {
        signed_note::new_ed25519_verifier_key(&self.name, &self.key)
    }

    /// The ledger's origin as well.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Eight hexadecimal digits, which also begin each signature.
    pub fn id(&self) -> String {
        format!("{:08x}", key_id(&self.name, ED25519, &self.key))
    }

    /// Believes a checkpoint, if it is one and this key signed it.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let note = Note::from_bytes(note).map_err(|_| CheckpointError::Malformed)?;
        let wrong = || CheckpointError::Signature { key: self.text() };
        let plain = StandardVerifier::new(&self.text()).map_err(|_| CheckpointError::Key)?;
        let plain_id = Verifier::key_id(&plain);
        let known = VerifierList::new(vec![Box::new(plain), Box::new(self.clone())]);
        let (signed, _unknown) = note.verify(&known).map_err(|_| wrong())?;
        if !signed.iter().any(|signature| signature.id() == plain_id) {
            return Err(wrong());
        }
        let text = std::str::from_utf8(note.text()).map_err(|_| CheckpointError::Malformed)?;
        let mut checkpoint = Checkpoint::parse(text).ok_or(CheckpointError::Malformed)?;
        if checkpoint.origin != self.name {
            return Err(wrong());
        }
        let cosignature = signed.iter().find(|signature| signature.id() != plain_id);
        let time = cosignature.and_then(|signature| signature.signature().first_chunk::<TIME_BYTES>());
        checkpoint.time_s = u64::from_be_bytes(*time.ok_or_else(wrong)?);
        Ok(checkpoint)
    }
}

/// As a verifier of cosignatures; plain signatures are the business of the crate's own.
impl Verifier for VerifierKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        key_id(&self.name, COSIGNATURE, &self.key)
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let Some((time, signature)) = signature.split_first_chunk::<TIME_BYTES>() else { return false };
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        self.key.verify(&cosigned(text, u64::from_be_bytes(*time)), &signature).is_ok()
    }
}

#[cfg(test)]
mod tests;
