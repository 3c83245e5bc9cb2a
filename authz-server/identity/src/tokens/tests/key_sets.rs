//! Which keys are used, and for what.
