//! What is kept of verified tokens is what verifying anew would say.
