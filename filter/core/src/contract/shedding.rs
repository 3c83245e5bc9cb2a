//! What a contract says of load: how a service is kept from more than it can serve, and what each caller may ask for.
//!
//! INVARIANT: a service without a word on load is never shed from, and zero means nothing at all, never "no limit".

/// Whether a rule on load is kept to, or only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum ShedMode {
    #[default]
    Off = 0,
    /// What would have been shed goes on, and is told.
    Shadow = 1,
    Enforce = 2,
}

impl ShedMode {
    pub const ALL: [ShedMode; 3] = [ShedMode::Off, ShedMode::Shadow, ShedMode::Enforce];
}

/// What is overloaded when this sidecar sheds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum ShedScope {
    /// The whole service: a retry would meet the same load elsewhere, and none is asked for.
    #[default]
    Service = 0,
    /// This replica alone: the caller's proxy may try another one, once.
    Replica = 1,
}

impl ShedScope {
    pub const ALL: [ShedScope; 2] = [ShedScope::Service, ShedScope::Replica];
}

/// Who goes first when not all can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    Sheddable = 0,
    #[default]
    Default = 1,
    Critical = 2,
}

impl Priority {
    pub const ALL: [Priority; 3] = [Priority::Sheddable, Priority::Default, Priority::Critical];

    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Sheddable => "sheddable",
            Priority::Default => "default",
            Priority::Critical => "critical",
        }
    }
}

/// What one service's contract says of load.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shedding {
    pub mode: ShedMode,
    pub scope: ShedScope,
    /// Never more requests in work than this, for each worker of the proxy; zero lets nothing pass. `None`: what latency says.
    pub concurrency_max: Option<u32>,
    /// Kept to by the filter, each worker of the proxy for itself and reconciled in the background.
    pub limits: Box<[RateLimit]>,
}

/// How many requests of one kind may come in a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// For metrics, reports and replies' details.
    pub name: Box<str>,
    /// Requests in `per_ms`; zero lets nothing pass.
    pub requests: u32,
    pub per_ms: u32,
    /// How many may come at once after a pause. At least 1 unless `requests` is 0.
    pub burst: u32,
    /// Each combination of these has an allowance of its own; empty: all requests share one.
    pub by: Box<[RateKey]>,
    /// Names of operations of this service; empty: all of them.
    pub operations: Box<[Box<str>]>,
    /// `Off` is never compiled.
    pub mode: ShedMode,
}

/// What tells one allowance of a limit from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateKey {
    /// The peer by the connection's verified certificate, and without one the address it calls from.
    Caller,
    Operation,
    /// The value of a request header, by its name in lower case. Requests without it share one allowance.
    Header(Box<str>),
}
