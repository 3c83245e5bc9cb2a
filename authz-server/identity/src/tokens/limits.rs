//! Every bound on tokens and keys, each with its reason.
//!
//! INVARIANT: what is over a limit is refused by name. Nothing is cut short: half of somebody's groups is somebody else.

/// Envoy lets a header of 60 KiB through; no token of a sane issuer comes near this.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Decoded. Issuers put a chain of certificates here at most, which nobody reads.
pub(crate) const HEADER_BYTES_MAX: usize = 6 * 1024;

/// Decoded. What a whole token can carry at most.
pub(crate) const CLAIMS_BYTES_MAX: usize = 12 * 1024;

/// Issuers name keys by a hash or a date.
pub(crate) const KID_BYTES_MAX: usize = 256;

/// OpenID Connect grants a subject 255 characters.
pub(crate) const SUBJECT_BYTES_MAX: usize = 256;

/// The name of a group, a role or a scope.
pub(crate) const MEMBER_BYTES_MAX: usize = 256;

/// Groups, roles or scopes of one token: the large issuers stop at 200.
pub(crate) const MEMBERS_MAX: usize = 256;

/// A claim that became an attribute stands in each entry of the ledger.
pub(crate) const ATTRIBUTE_BYTES_MAX: usize = 1024;

pub(crate) const AUDIENCES_MAX: usize = 64;

/// The end of the year 9999. Milliseconds, the common mistake, are beyond it.
pub(crate) const TIME_S_MAX: u64 = 253_402_300_799;

/// A set of keys: an issuer has a handful.
pub(crate) const KEYS_BYTES_MAX: usize = 256 * 1024;

pub(crate) const KEYS_MAX: usize = 64;

/// What is known today falls to nobody from here on.
pub(crate) const RSA_BITS_MIN: usize = 2048;

/// Verifying costs time that grows with the square; ring takes no longer key either.
pub(crate) const RSA_BITS_MAX: usize = 8192;

/// Verified tokens that are kept, with their users: bytes of all together.
pub(crate) const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Locks that the kept tokens are spread over, so that cores seldom meet at one.
pub(crate) const CACHE_SHARDS: usize = 32;

/// Names of keys of which an issuer said that it has none such.
pub(crate) const UNKNOWN_KIDS_MAX: usize = 256;

/// How long that is believed.
pub(crate) const UNKNOWN_KID_MS: u64 = 60_000;

/// Between two questions to one issuer, whoever wants to know.
pub(crate) const FETCH_GAP_MS: u64 = 10_000;

/// Between the first attempts to get any keys at all; doubled up to `FETCH_GAP_MS`.
pub(crate) const FIRST_GAP_MS: u64 = 1000;

/// For a whole set of keys, a new connection included.
pub(crate) const FETCH_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(5);

// A token at its limit has room for the header and the claims at theirs only together with what Base64 adds.
const _: () = assert!(CLAIMS_BYTES_MAX / 3 * 4 <= TOKEN_BYTES_MAX);
const _: () = assert!(CACHE_BYTES_MAX / CACHE_SHARDS > 16 * TOKEN_BYTES_MAX);
