//! What issuers may do to us.
