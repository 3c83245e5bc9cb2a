//! Random edits of tokens.
