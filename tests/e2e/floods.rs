//! Floods of cheap frames on the server's port: memory stays bounded, and who asks properly is answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tests::floods::{Flood, Sent};
use tests::lone_server::{LoneServer, Said};

use crate::soak::memory_kb;

/// Seconds of each flood; `PALISADE_FLOODS_S` makes it more.
const FLOOD_S: u64 = 1;

const GROWTH_KB_MAX: u64 = 64 * 1024;

/// At full size: so many times as slow as without a flood may the slowest hundredth be.
const SLOWER_MAX: u32 = 2;

/// Asks one call after the other for this long; how long each took.
fn ask(server: &mut LoneServer, time: Duration) -> Vec<Duration> {
    let began = Instant::now();
    let mut took = Vec::new();
    while began.elapsed() < time {
        let asked = Instant::now();
        let said = server.check();
        assert!(matches!(said, Said::Recorded(_)), "a proper call got {said:?}");
        took.push(asked.elapsed());
    }
    took.sort();
    took
}

fn p99(sorted: &[Duration]) -> Duration {
    sorted[(sorted.len() - 1) * 99 / 100]
}

/// How often the server read a connection no further, or let nobody in, for a while. A sender of empty frames or of a head
/// without an end is hung up on by the protocol itself, so that it is the next connection that waits.
fn held_up(metrics: &str) -> u64 {
    let count = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        line.unwrap_or_else(|| panic!("no `{name}` in:\n{metrics}"))
    };
    count("palisade_connections_held_up_total") + count("palisade_accepts_delayed_total")
}

#[test]
fn floods_take_neither_memory_nor_the_time_of_others() {
    let full_size = std::env::var("PALISADE_FLOODS_S").ok();
    let seconds = full_size.as_ref().map_or(FLOOD_S, |text| text.parse().expect("a number of seconds"));
    let time = Duration::from_secs(seconds);
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = LoneServer::start(dir.path(), &[]);
    assert_eq!(server.wait(), None);
    for flood in Flood::ALL {
        let (pid, addr) = (server.process.pid(), server.listen());
        let undisturbed = ask(&mut server, time);
        let before_kb = memory_kb(pid);
        let before = held_up(&server.metrics());
        let over = AtomicBool::new(false);
        let (disturbed, most_kb, sent): (_, _, Sent) = std::thread::scope(|scope| {
            let flooding = scope.spawn(|| flood.run(addr, &over));
            let watching = scope.spawn(|| {
                let mut most_kb = 0;
                tests::deadline::eventually("the flood is over", time + Duration::from_secs(60), || {
                    most_kb = most_kb.max(memory_kb(pid));
                    over.load(Ordering::SeqCst).then_some(())
                });
                most_kb
            });
            // Both end with the flood, however it ends.
            let disturbed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask(&mut server, time)));
            over.store(true, Ordering::SeqCst);
            let (most_kb, sent) = (watching.join(), flooding.join());
            (disturbed.expect("proper calls"), most_kb.expect("memory"), sent.expect("the flood"))
        });
        let (calm, slow) = (p99(&undisturbed), p99(&disturbed));
        println!(
            "{flood:?}, {seconds} s: {} frames over {} connections; memory {before_kb} kB, then {most_kb} kB at most; \
             p99 {calm:?} ({} calls), then {slow:?} ({} calls)",
            sent.frames,
            sent.connections,
            undisturbed.len(),
            disturbed.len(),
        );
        assert!(sent.frames > 0, "{flood:?} sent nothing");
        // Those who are hung up on come again some hundred times before they have to wait.
        if flood == Flood::RapidReset || full_size.is_some() {
            let held_up = held_up(&server.metrics());
            assert!(held_up > before, "{flood:?} was taken as it came");
        }
        assert!(most_kb <= before_kb + GROWTH_KB_MAX, "{flood:?}: from {before_kb} kB to {most_kb} kB");
        if full_size.is_some() {
            assert!(slow < SLOWER_MAX * calm, "{flood:?}: p99 {calm:?}, then {slow:?}");
        }
    }
    server.stop();
}
