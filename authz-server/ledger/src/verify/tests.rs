//! Every change is found.
