//! What the host of a filter knows and was told. It answers truly, and `faults` may turn any answer into another.

use std::collections::HashMap;
use std::fmt;

use crate::dice::Dice;

/// What the host says to a call that asks for something, or that only wants to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done, and for a call that asks: nothing is there, by a null pointer.
    Done,
    /// The status of a call that did not succeed, as the ABI numbers them.
    Failed(u32),
    Bytes(Vec<u8>),
    Number(u64),
}

pub(super) const NOT_FOUND: u32 = 1;

/// Names and values, in the proxy's order.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A reply that the filter asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReply {
    pub status: u32,
    pub details: String,
    pub body: String,
    pub grpc_status: u32,
}

/// A call to another service that the filter began.
#[derive(Debug, Clone)]
pub struct GrpcCall {
    pub token: u32,
    pub cluster: Vec<u8>,
    pub message: Vec<u8>,
}

/// One stream: what the host holds of it, and what it was told to do with it.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    pub request_headers: Pairs,
    pub request_body: Vec<u8>,
    pub request_trailers: Pairs,
    pub response_headers: Pairs,
    pub response_body: Vec<u8>,
    pub properties: HashMap<Vec<u8>, Vec<u8>>,
    /// Each reply that was asked for, whether or not the host took it.
    pub replies: Vec<LocalReply>,
    /// The map that the filter was last handed, and the body.
    pub headers_given: Option<Vec<u8>>,
    pub body_given: Option<Vec<u8>>,
    /// Header changes that were taken, and whether one was not.
    pub headers_set: Vec<(String, String)>,
    pub headers_removed: Vec<String>,
    pub change_failed: bool,
}

/// Turns a true answer to the named call into what the filter is told.
pub type Faults = Box<dyn FnMut(&str, Answer) -> Answer>;

pub struct Host {
    pub environment: Vec<(String, Vec<u8>)>,
    pub configuration: Vec<u8>,
    pub time_ns: u64,
    /// The context whose callback runs.
    pub context: u32,
    pub streams: HashMap<u32, Stream>,
    pub grpc_answer: Vec<u8>,
    pub calls: Vec<GrpcCall>,
    pub next_token: u32,
    pub tick_period_ms: Option<u32>,
    /// What the workers of a proxy share.
    pub shared: HashMap<Vec<u8>, Vec<u8>>,
    pub logs: Vec<String>,
    pub stderr: Vec<u8>,
    pub random: Dice,
    pub faults: Faults,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("streams", &self.streams)
            .field("logs", &self.logs)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// A host that fails nowhere.
    pub fn new(environment: Vec<(String, Vec<u8>)>, seed: u64) -> Host {
        Host {
            environment,
            configuration: Vec::new(),
            time_ns: 1_790_000_000_000_000_000,
            context: 0,
            streams: HashMap::new(),
            grpc_answer: Vec::new(),
            calls: Vec::new(),
            next_token: 1,
            tick_period_ms: None,
            shared: HashMap::new(),
            logs: Vec::new(),
            stderr: Vec::new(),
            random: Dice::new(seed),
            faults: Box::new(|_, answer| answer),
        }
    }

    pub(super) fn answer(&mut self, call: &str, answer: Answer) -> Answer {
        (self.faults)(call, answer)
    }

    pub(super) fn stream(&mut self) -> &mut Stream {
        self.streams.entry(self.context).or_default()
    }

    /// A map by its number in the ABI.
    pub(super) fn pairs(&mut self, map: u32) -> Option<&mut Pairs> {
        let stream = self.stream();
        match map {
            0 => Some(&mut stream.request_headers),
            1 => Some(&mut stream.request_trailers),
            2 => Some(&mut stream.response_headers),
            _ => None,
        }
    }

    /// A buffer by its number in the ABI.
    pub(super) fn buffer(&mut self, buffer: u32) -> Option<&[u8]> {
        match buffer {
            0 => Some(&self.stream().request_body),
            1 => Some(&self.stream().response_body),
            5 => Some(&self.grpc_answer),
            7 => Some(&self.configuration),
            _ => None,
        }
    }
}

/// The layout in which a map is handed over: a count, the lengths, then the texts, each with a zero byte behind it.
pub fn encode_pairs(pairs: &Pairs) -> Vec<u8> {
    let mut out = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        out.extend((name.len() as u32).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        out.extend(text);
        out.push(0);
    }
    out
}
