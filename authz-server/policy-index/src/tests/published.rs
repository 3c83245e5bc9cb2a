//! Cedar's published integration tests.
