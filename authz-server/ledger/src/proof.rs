//! Inclusion proofs as text, in the form of c2sp.org/tlog-proof: checkpoint, index and hashes. Pure.
//!
//! The line `extra` holds the stored bytes of the entry in base64: the leaf hash is SHA-256 over `0x00` and these bytes, so
//! that the proof needs nothing beside it but the key.
//!
//! INVARIANT: a proof that was made leads from the entry to the root of its checkpoint.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::merkle::Hash;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// That an entry is in the ledger, under a signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    pub index: u64,
    /// The stored bytes of the entry.
    pub entry: Vec<u8>,
    /// From the leaf's sibling up to the root's child.
    pub path: Vec<Hash>,
    /// The signed note.
    pub checkpoint: Vec<u8>,
}

impl fmt::Display for InclusionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}\nextra {}\nindex {}", BASE64.encode(&self.entry), self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", BASE64.encode(hash.as_bytes())))?;
        write!(f, "\n{}", String::from_utf8_lossy(&self.checkpoint))
    }
}
