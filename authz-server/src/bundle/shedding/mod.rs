//! What a service's contract says of load, from what people wrote: which part the filter keeps to, and which a limiter.
//!
//! INVARIANT: each limit stands in one place; a global one is in no compiled contract, and one of a proxy is asked of no
//! limiter. Zero lets nothing pass, wherever it is written.

pub mod format;
pub mod limiter;
mod limits;

use super::format::ServiceFile;
use super::problem::Place;
use super::record::{Placed, Reader};
pub use format::{LimitMode, LimitScope, Rate, RatePeriod};
use format::{ShedModeWord, ShedScopeWord};
use palisade_core::contract::{Operation, RateKey, ShedMode, ShedScope, Shedding};

/// A limit that all proxies share, and that a limiter counts.
#[derive(Debug, Clone)]
pub struct GlobalLimit {
    pub name: String,
    pub rate: Rate,
    pub by: Vec<RateKey>,
    /// Names of operations of the service, in their order; empty: all of them.
    pub operations: Vec<String>,
    pub mode: LimitMode,
    pub(super) place: Place,
}

impl GlobalLimit {
    /// As limiters know it: `orders.per-caller`.
    pub fn full_name(&self, service: &str) -> String {
        format!("{service}.{}", self.name)
    }
}

/// What is known of a service when its limits are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'k> {
    pub(super) service: &'k str,
    pub(super) operations: &'k [Operation],
    /// Whether these are all operations that its contract declares.
    pub(super) whole: bool,
    /// Headers that carry an identity.
    pub(super) credentials: &'k [Box<str>],
}

/// Both parts of what is said of load.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) shedding: Option<Box<Shedding>>,
    pub(super) global: Vec<GlobalLimit>,
}

pub(super) fn read(file: &ServiceFile, known: Known<'_>, reader: &mut Reader<'_>) -> Load {
    let (limits, global) = limits::read(&file.limits, known, reader);
    let written = file.shedding.as_ref().filter(|settings| settings.mode != ShedModeWord::Off);
    let mode = match written.map(|settings| settings.mode) {
        None | Some(ShedModeWord::Off) => ShedMode::Off,
        Some(ShedModeWord::Shadow) => ShedMode::Shadow,
        Some(ShedModeWord::Enforce) => ShedMode::Enforce,
    };
    if mode == ShedMode::Off && limits.is_empty() {
        return Load { shedding: None, global };
    }
    let scope = written.and_then(|settings| settings.scope.as_ref()).map(|scope| scope.value);
    let shedding = Shedding {
        mode,
        scope: match scope {
            None | Some(ShedScopeWord::Service) => ShedScope::Service,
            Some(ShedScopeWord::Replica) => ShedScope::Replica,
        },
        concurrency_max: written.and_then(|settings| number(settings.concurrency_max.as_ref())),
        limits: limits.into(),
    };
    Load { shedding: Some(Box::new(shedding)), global }
}

fn number(written: Option<&Placed<u32>>) -> Option<u32> {
    written.map(|written| written.value)
}
