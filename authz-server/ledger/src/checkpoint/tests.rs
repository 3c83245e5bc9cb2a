//! Golden bytes of keys and checkpoints.
