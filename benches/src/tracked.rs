//! Numbers that are followed from one version to the next: the module's size, and whether its memory stays flat.

use crate::Options;
use crate::arms::{ARMS, FILTER_ECHO, Kind};
use crate::cpu::{linear_memories_bytes, resident_bytes};
use crate::failure::Failure;
use crate::load::Connections;
use crate::requests::{ask, refused};
use crate::setup::Setup;
use crate::stack::Stack;
use palisade::dev::progress::Progress;
use serde::Serialize;

/// Envoy's own pools fill during these.
const WARM_UP_REQUESTS: u64 = 20_000;

const REQUESTS: u64 = 100_000;
const REQUESTS_FULL: u64 = 1_000_000;

/// How often memory is looked at.
const SAMPLES: u64 = 10;

#[derive(Debug, Serialize)]
pub(crate) struct Tracked {
    pub(crate) filter_bytes: u64,
    pub(crate) floor_bytes: u64,
    pub(crate) memory: Vec<Memory>,
}

/// Envoy's memory after so many requests.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Memory {
    pub(crate) requests: u64,
    pub(crate) envoy_resident_bytes: u64,
    /// One for each VM: the main thread's and the worker's.
    pub(crate) linear_bytes: Vec<u64>,
}

impl Tracked {
    /// The linear memories did not grow after the warm-up. Not known if none was found.
    pub(crate) fn is_flat(&self) -> Option<bool> {
        let (first, last) = (self.memory.first()?, self.memory.last()?);
        (!first.linear_bytes.is_empty()).then(|| first.linear_bytes == last.linear_bytes)
    }
}

pub(crate) async fn run(
    options: &Options,
    setup: &Setup,
    progress: &mut Progress,
) -> Result<Tracked, Failure> {
    let size = |path: &std::path::Path| {
        std::fs::metadata(path)
            .map(|metadata| metadata.len())
            .map_err(Failure::because(format!("`{}` cannot be looked at", path.display())))
    };
    let (filter_bytes, floor_bytes) = (size(&setup.filter)?, size(&setup.floor)?);
    let total = match (options.quick, options.full) {
        (_, true) => REQUESTS_FULL,
        (true, false) => REQUESTS / 10,
        (false, false) => REQUESTS,
    };
    let arm =
        ARMS.iter().find(|arm| arm.name == FILTER_ECHO).ok_or_else(|| Failure::new("an arm is missing"))?;
    let stack = Stack::start(arm, setup).await?;
    let memory = watch(&stack, options, total, progress).await.map_err(|failure| stack.explain(&failure));
    stack.stop().await;
    Ok(Tracked { filter_bytes, floor_bytes, memory: memory? })
}

/// Reads, writes whose body is judged, and refusals, in turn: each takes another way through the filter.
async fn watch(
    stack: &Stack,
    options: &Options,
    total: u64,
    progress: &mut Progress,
) -> Result<Vec<Memory>, Failure> {
    let key = stack.api_key();
    let asks: std::sync::Arc<[_]> = [ask(Kind::Read, key), ask(Kind::Write, key), refused(key)].into();
    let mut connections = Connections::open(stack.listen, options.connections).await?;
    let mut memory = Vec::new();
    let mut step = progress.step(&format!("memory over {total} requests"));
    connections.send(asks.clone(), WARM_UP_REQUESTS).await?;
    for sample in 0..=SAMPLES {
        if sample > 0 {
            let seen = connections.send(asks.clone(), total / SAMPLES).await?;
            if let Some(wrong) = seen.first_wrong {
                return Err(Failure::new(format!("a reply was not the expected one: {wrong}")));
            }
        }
        let now = Memory {
            requests: total / SAMPLES * sample,
            envoy_resident_bytes: resident_bytes(stack.envoy_pid)?,
            linear_bytes: linear_memories_bytes(stack.envoy_pid)?,
        };
        step.line(&format!("{} requests, {} kB", now.requests, now.envoy_resident_bytes / 1024));
        memory.push(now);
    }
    step.done("");
    Ok(memory)
}
