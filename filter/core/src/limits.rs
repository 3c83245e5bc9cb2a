//! Every bound of the request path, each with its reason.
//!
//! INVARIANT: no other module of the core defines such a constant, so that the bounds can be read, and related, in one place.

/// Envoy refuses more than 100 headers by default; ours is a little above so that Envoy's own limit decides first.
pub const HEADERS_MAX: usize = 128;

/// Envoy's default for all headers together is 60 KiB; a map beyond this was not let through by a sane listener.
pub const HEADER_MAP_BYTES_MAX: usize = 256 * 1024;

/// No service of ours needs a longer target, and the path is copied into the ledger.
pub const PATH_BYTES_MAX: usize = 8 * 1024;

/// A route deeper than this is a mistake in a contract; it bounds the work of one match.
pub const PATH_SEGMENTS_MAX: usize = 32;

/// Nodes that one route match may visit: literal and parameter are both tried, so depth alone does not bound it.
pub const ROUTE_STEPS_MAX: usize = 256;

/// DNS names have at most 253 bytes, and a port six more with its colon.
pub const AUTHORITY_BYTES_MAX: usize = 260;

/// Deep enough for any document that a person wrote, small enough that its bookkeeping is a few kilobytes.
pub const JSON_DEPTH_MAX: usize = 64;

/// Below Envoy's HTTP/1.1 buffer of 1 MiB, whose own refusal carries no reason and closes the connection.
pub const BODY_BYTES_MAX: u32 = 1024 * 1024 - 1024;

/// Bytes of bodies that one VM holds, for all requests and responses together: the largest body thirty times, and little
/// beside what a proxy has.
pub const VM_HELD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What an operation may send where its contract states nothing.
pub const BODY_BYTES_MAX_DEFAULT: u32 = 64 * 1024;

/// A compiled contract travels in configuration updates and stands in the memory of each VM.
pub const CONTRACT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Services that one proxy fronts; a sidecar fronts one or two, a development proxy all.
pub const SERVICES_MAX: usize = 1024;

/// Names by which one service is called.
pub const HOSTS_MAX: usize = 64;

/// Operations of all services of one contract.
pub const OPERATIONS_MAX: usize = 65_536;

/// Media types that one operation accepts.
pub const MEDIA_TYPES_MAX: usize = 32;

/// Headers that carry an identity and so may come only once.
pub const IDENTITY_HEADERS_MAX: usize = 8;

/// Parameters of one operation: several times what public contracts have.
pub const PARAMETERS_MAX: usize = 256;

/// Fields of one form, and properties of an object that is written as text.
pub const FIELDS_MAX: usize = 1024;

/// Parameters of one query, and cookies of one request: each is looked up among all that are declared. A list of a
/// hundred items under one name is long; Python's own limit is near.
pub const QUERY_PAIRS_MAX: usize = 512;

/// Fields of one form, the items of its lists among them: where PHP's and Node's readers stop reading without a word.
pub const FORM_PAIRS_MAX: usize = 1000;

/// Statuses that one operation declares, and headers or media types of one response.
pub const RESPONSES_MAX: usize = 128;

/// Headers and properties that no response of an operation may carry.
pub const NEVER_MAX: usize = 256;

/// Rate limits of one service: each request is held against each of them, and nobody understands more.
pub const RATE_LIMITS_MAX: usize = 32;

/// What tells the allowances of one limit apart: caller, operation and a header or two.
pub const RATE_KEYS_MAX: usize = 4;

/// The longest time that a rate counts in: an hour. What lasts longer is a quota, and a proxy that restarts forgets it.
pub const RATE_PERIOD_MS_MAX: u32 = 60 * 60 * 1000;

/// Requests of a rate, and of a burst: more than one worker of a proxy can serve in the longest time. Arithmetic on both in
/// microseconds stays within 64 bits.
pub const RATE_REQUESTS_MAX: u32 = 100_000_000;

/// Names in a contract: services, operations, hosts, path segments, media types.
pub const NAME_BYTES_MAX: usize = 512;

/// A handoff is used within the life of one request; the allowance is for clocks of different machines.
pub const HANDOFF_AGE_MS_MAX: u64 = 10 * 60 * 1000;

/// An encoded handoff has a fixed length; anything longer is not ours.
pub const HANDOFF_TEXT_BYTES_MAX: usize = 256;

/// Client headers in our name space that one request may carry before it is refused instead of cleaned.
pub const CLIENT_COPIES_MAX: usize = 8;

/// A host, path or identity in a report: as much as the server keeps of what callers write.
pub const REPORT_TEXT_BYTES_MAX: usize = 512;

/// Where in a request or response a rule was broken: a pointer, and before it what it points into.
pub const PLACE_BYTES_MAX: usize = 600;

/// A method in a report. No registered one is half as long.
pub const REPORT_METHOD_BYTES_MAX: usize = 32;

/// The code of a reason. Ours are half as long.
pub const REASON_BYTES_MAX: usize = 64;

/// Reasons that one report of a loss tells apart: several times as many as there are.
pub const LOSS_REASONS_MAX: usize = 256;

/// Reports in one batch. The server stores a batch with one sync, and a few batches at once must leave most of its queue
/// to decisions.
pub const BATCH_ITEMS_MAX: usize = 256;

/// Room for that many reports of ordinary length; long ones make a batch of fewer.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Reports that wait in one VM. At ten refusals a second this rides out an outage of nearly seven minutes, and a flood
/// fills any queue.
pub const QUEUE_ITEMS_MAX: usize = 4096;

/// The memory of the reports that wait in one VM. Ordinary ones meet the number first; long paths meet this.
pub const QUEUE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Kinds of drift that one VM tells apart: hundreds of fields that drift at once are a rollout gone wrong, and more come from
/// callers who invent them. Each takes some hundred bytes, and a kilobyte at worst.
pub const DRIFT_ROWS_MAX: usize = 512;

/// What is told apart beyond that by operation, side and reason alone: no contract drifts everywhere at once.
pub const DRIFT_FOLDED_ROWS_MAX: usize = 256;

/// Operations and sides of which one VM counts how many were judged: those of several large contracts that are in use.
pub const JUDGED_ROWS_MAX: usize = 4096;

/// Counts in one report on how many were judged. The server makes one entry of it, of some kilobytes.
pub const JUDGED_COUNTS_MAX: usize = 256;

/// How often drift is told: a field that drifts in each call is six entries of the ledger in a minute and VM.
pub const DRIFT_PERIOD_MS: u64 = 10_000;

/// How often it is told how many were judged where nothing drifts: it is news to nobody then.
pub const JUDGED_PERIOD_MS: u64 = 60_000;

/// Sheds of one second that a VM tells one by one, so that whoever was shed finds the call: the server stores as many of a
/// thousand VMs each second, and a storm is told by its counts.
pub const SHEDS_TOLD_PER_S_MAX: u32 = 10;

/// Kinds of sheds that one VM tells apart: some dozens of callers with some operations each.
pub const SHED_ROWS_MAX: usize = 512;

/// What is told apart beyond that without caller and limit.
pub const SHED_FOLDED_ROWS_MAX: usize = 256;

/// How often counted sheds are told: what watches for storms thinks in seconds, and a storm is a few rows each time. The
/// first ones are told at the next look.
pub const SHED_PERIOD_MS: u64 = 5_000;

/// Operations of which one VM counts what it let through: those of several large contracts that are in use.
pub const LOAD_ROWS_MAX: usize = 4096;

/// Counts in one report on load. The server makes one entry of it, of some kilobytes.
pub const LOAD_COUNTS_MAX: usize = 128;

/// Services of which one VM tells how their shedders stand. A sidecar has one or two.
pub const LOAD_LEVELS_MAX: usize = 64;

/// How often load is told while anything is shed, retried or failed, and how often while nothing is.
pub const LOAD_PERIOD_MS: u64 = 10_000;
pub const LOAD_CALM_PERIOD_MS: u64 = 60_000;

/// How often a VM looks whether there is something to report: soon enough for whoever watches, and nearly free.
pub const REPORT_PERIOD_MS: u32 = 1_000;

/// When it looks because the queue is half full: at once, but after the request that filled it.
pub const REPORT_SOON_MS: u32 = 1;

/// How long the server may take for one batch: a sync of a slow disk, and one that waits before it.
pub const REPORT_TIMEOUT_MS: u32 = 5_000;

/// After this time a batch whose answer never came counts as failed. The proxy's own timeout comes first, unless the
/// configuration that sent the batch is gone.
pub const REPORT_GIVEN_UP_MS: u64 = 15_000;

/// The longest pause before a batch is sent again: a server that is back hears of everything within seconds.
pub const REPORT_PAUSE_MS_MAX: u64 = 8_000;

/// How far the time of a batch may be from the server's clock: the allowance of a handoff, for the same clocks.
pub const BATCH_AGE_MS_MAX: u64 = HANDOFF_AGE_MS_MAX;

/// Allowances of rate limits that one VM tells apart: hundreds of callers at some limits each, in 300 kB.
pub const RATE_ALLOWANCES_MAX: usize = 8192;

/// Allowances of which one worker tells the others: those that let most pass, and so may be at their limit.
pub const RATE_KEYS_TOLD_MAX: usize = 256;

/// How often the workers tell each other of their limits at most: a little less than a tick is apart.
pub const RATES_TOLD_PERIOD_US: u64 = 900_000;

/// Workers of one proxy that tell each other of their limits: more than any machine has processors.
pub const RATE_WORKERS_MAX: u32 = 512;

/// How often a full table of allowances is swept: that costs as much as thousands of requests.
pub const RATE_SWEEP_PAUSE_US: u64 = 1_000_000;

/// Idempotency keys that one VM remembers, to know a second coming: those of the last seconds of a busy service.
pub const REPEATS_MAX: usize = 4096;

/// How long a key is remembered: the pauses of ordinary retry policies end within a minute.
pub const REPEATS_AGE_US_MAX: u64 = 60_000_000;

/// The place of a fault is told in logs and entries of the ledger, and a caller chooses the keys on the way to it.
pub const POINTER_BYTES_MAX: usize = 512;

/// Of one key no more is told: it may be data.
pub const POINTER_STEP_CHARACTERS_MAX: usize = 64;

/// A power of ten that a number of a document may have: arithmetic on it stays far within 64 bits.
pub const NUMBER_EXPONENT_MAX: i64 = 1_000_000_000;

/// The power of ten of a number of a contract: no double has a greater one.
pub const NUMBER_SCALE_MAX: i32 = 400;

/// Schemas of one contract: 65,536 operations would have one each, and each of 1,000 has some dozens.
pub const SCHEMAS_MAX: usize = 65_536;

/// Properties of an object, branches of a choice, values of an `enum`.
pub const SCHEMA_LIST_MAX: usize = 16_384;

/// Names of properties and values of an `enum`.
pub const SCHEMA_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Schemas that may apply to one value by `allOf`, `anyOf`, `oneOf` and their like: each is asked for each value.
pub const SCHEMA_PLAN_MAX: usize = 1024;

/// The same for all schemas together: it bounds the memory of a loaded contract.
pub const SCHEMA_PLAN_ENTRIES_MAX: usize = 262_144;

/// One pattern's automaton. A class of all letters, two hundred times, takes less.
pub const PATTERN_BYTES_MAX: usize = 512 * 1024;

/// All automata of a contract; they are most of what it weighs.
pub const PATTERNS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Patterns of one contract.
pub const PATTERNS_MAX: usize = 16_384;

/// Schemas that are asked at the same time about values that are not at their end: some hundred bytes each.
pub const LIVE_SCHEMAS_MAX: usize = 4096;

/// Parts of values that must be remembered by their worth, for `uniqueItems` and for an `enum` of objects: 16 bytes each.
pub const LIVE_DIGESTS_MAX: usize = 131_072;

/// What is remembered of properties and items for `unevaluatedProperties` and `unevaluatedItems`, in 64-bit words.
pub const LIVE_MARKS_MAX: usize = 65_536;

/// Questions that a document may cost before its length counts: some milliseconds.
pub const SCHEMA_STEPS_BASE: u64 = 1_048_576;

/// Questions that each further byte of a document may cost.
pub const SCHEMA_STEPS_PER_BYTE: u64 = 32;

const _: () = assert!(BODY_BYTES_MAX_DEFAULT <= BODY_BYTES_MAX, "a default above the maximum cannot hold");
const _: () = assert!(
    (RATE_REQUESTS_MAX as u64) < u64::MAX / (RATE_PERIOD_MS_MAX as u64 * 1000),
    "the time of all requests of a burst can be counted in microseconds"
);
const _: () =
    assert!(PATH_SEGMENTS_MAX <= ROUTE_STEPS_MAX, "a route without branches must always be reachable");
const _: () = assert!(
    BATCH_BYTES_MAX
        > 4 * (3 * REPORT_TEXT_BYTES_MAX + PLACE_BYTES_MAX + REASON_BYTES_MAX + REPORT_METHOD_BYTES_MAX),
    "any report fits a batch"
);
const _: () =
    assert!(BATCH_BYTES_MAX > 1024 + JUDGED_COUNTS_MAX * 13, "any count of what was judged fits a batch");
const _: () = assert!(
    BATCH_BYTES_MAX > 1024 + LOAD_COUNTS_MAX * 28 + LOAD_LEVELS_MAX * 16,
    "any report on load fits a batch"
);
const _: () = assert!(PLACE_BYTES_MAX > POINTER_BYTES_MAX + 64, "a pointer fits behind what it points into");
const _: () =
    assert!(BATCH_BYTES_MAX > 1024 + LOSS_REASONS_MAX * (REASON_BYTES_MAX + 16), "any loss fits a batch");
const _: () = assert!(BATCH_ITEMS_MAX * 4 <= QUEUE_ITEMS_MAX, "a full queue is never one batch");
const _: () = assert!(
    REPORT_TIMEOUT_MS as u64 * 2 < REPORT_GIVEN_UP_MS,
    "the proxy's timeout comes first, and is sure"
);
const _: () =
    assert!(SCHEMA_PLAN_MAX <= LIVE_SCHEMAS_MAX, "what a contract may ask of one value must be askable");
const _: () = assert!(PATTERNS_BYTES_MAX < CONTRACT_BYTES_MAX, "patterns travel in the contract");
