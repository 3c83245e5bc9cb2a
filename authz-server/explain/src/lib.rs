//! Why policies answered as they did, and what would have made them answer otherwise. A table of contents.
//!
//! INVARIANT: nothing here decides; every sentence follows from an evaluation by Cedar.
