//! What a process has used: processor time to the nanosecond, memory, and the linear memory of its wasm VMs.

use crate::failure::Failure;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The processor time of each thread of one process.
#[derive(Debug, Clone)]
pub(crate) struct CpuTime {
    threads_ns: BTreeMap<u32, u64>,
}

impl CpuTime {
    pub(crate) fn of(pid: u32) -> Result<CpuTime, Failure> {
        let unreadable = || Failure::because(format!("the processor time of process {pid} cannot be read"));
        let mut threads_ns = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task")).map_err(unreadable())? {
            let entry = entry.map_err(unreadable())?;
            let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let on_processor = text.split_ascii_whitespace().next().and_then(|field| field.parse().ok());
            threads_ns
                .insert(thread, on_processor.ok_or_else(|| Failure::new("`schedstat` is not a number"))?);
        }
        Ok(CpuTime { threads_ns })
    }

    /// What was used since `earlier`. A thread that has ended since takes its last share with it.
    pub(crate) fn since(&self, earlier: &CpuTime) -> Duration {
        let used = |(thread, now): (&u32, &u64)| {
            now.saturating_sub(earlier.threads_ns.get(thread).copied().unwrap_or(0))
        };
        Duration::from_nanos(self.threads_ns.iter().map(used).sum())
    }
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(Failure::because(format!("the memory of process {pid} cannot be read")))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .and_then(|kib| kib.checked_mul(1024))
        .ok_or_else(|| Failure::new(format!("process {pid} does not say its memory")))
}

/// V8 keeps this much address space behind a linear memory, so that an access beyond it faults.
const GUARD_BYTES_MIN: u64 = 1 << 31;

/// The sizes of the linear memories in a process: writable memory with a vast guard right behind it.
pub(crate) fn linear_memories_bytes(pid: u32) -> Result<Vec<u64>, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps"))
        .map_err(Failure::because(format!("the memory map of process {pid} cannot be read")))?;
    let regions: Vec<Region> = text.lines().filter_map(Region::parse).collect();
    let mut memories: Vec<u64> = regions
        .array_windows()
        .filter(|[memory, guard]| {
            memory.writable && guard.guard && memory.end == guard.start && guard.bytes() >= GUARD_BYTES_MIN
        })
        .map(|[memory, _]| memory.bytes())
        .collect();
    memories.sort_unstable();
    Ok(memories)
}

struct Region {
    start: u64,
    end: u64,
    writable: bool,
    guard: bool,
}

impl Region {
    fn parse(line: &str) -> Option<Region> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let rights = fields.next()?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        Some(Region {
            start: hex(start)?,
            end: hex(end)?,
            writable: rights.starts_with("rw"),
            guard: rights.starts_with("---"),
        })
    }

    const fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::{CpuTime, resident_bytes};
    use std::process;

    #[test]
    fn work_is_seen_in_the_processor_time() {
        let pid = process::id();
        let before = CpuTime::of(pid).unwrap();
        let mut sum = 0_u64;
        while CpuTime::of(pid).unwrap().since(&before).is_zero() {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(resident_bytes(pid).unwrap() > 1 << 20);
    }
}
