//! What random worlds would not think of.
