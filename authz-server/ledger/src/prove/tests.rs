//! Proofs, checked by others.
