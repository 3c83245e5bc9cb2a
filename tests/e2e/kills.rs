//! SIGKILL at any moment, very often: what the server has answered is in the ledger that the next start reads.
//!
//! The real binary, asked directly by several proxies at once, decides and records. It is killed after so many answers as
//! the round says, now and then while it starts, and started again on the same state. No proxy stands before it here,
//! so that ten thousand kills take minutes; `durability.rs` does the same behind Envoy, with writes that are allowed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use palisade::ledger::{Entries, Entry};
use tests::deadline::{eventually, poll};
use tests::lone_server::{LoneServer, said};
use tests::rig::START_TIMEOUT;
use tokio::runtime::Runtime;

/// `PALISADE_KILLS` makes it more.
const KILLS: usize = 40;
/// A server reads the tail of its ledger when it starts and the test reads all of it in the end, so that very many kills
/// begin a new one now and then.
const KILLS_OF_ONE_LEDGER: usize = 250;

const PROXIES: usize = 6;
/// A round's kill comes after up to so many answers.
const ANSWERED_MAX: usize = 60;
/// One round in so many kills the server while it starts, after up to so many milliseconds.
const KILLED_AT_START: usize = 8;
const START_MS: u64 = 120;

/// Fewer answers than this in a round, on average, would not be a load.
const ANSWERED_MEAN_MIN: usize = 20;

/// Asks until the server is gone; the ids of what it recorded.
async fn ask_until_gone(address: String, answered: Arc<AtomicUsize>) -> Vec<String> {
    let mut ids = Vec::new();
    let Ok(mut client) = AuthorizationClient::connect(address).await else { return ids };
    while let Ok(answer) = client.check(CheckRequest::default()).await {
        // Without a handoff every call is denied, and denials are durable before they are told.
        let Some(id) = said(answer.into_inner()).recorded() else { continue };
        ids.push(id);
        answered.fetch_add(1, Ordering::SeqCst);
    }
    ids
}

/// One life of the server; what it said to have recorded.
fn live_and_be_killed(runtime: &Runtime, dir: &Path, round: usize) -> Vec<String> {
    let mut server = LoneServer::start(dir, &[]);
    if round % KILLED_AT_START == KILLED_AT_START - 1 {
        // Not a condition: the kill shall hit another moment of the start each time.
        let _nothing: Option<()> = poll(Duration::from_millis(round as u64 * 7 % START_MS), || None);
        server.process.kill();
        return Vec::new();
    }
    assert_eq!(server.wait(), None, "the server did not come up after a kill:\n{}", server.process.log());
    let answered = Arc::new(AtomicUsize::new(0));
    let proxies: Vec<_> = (0..PROXIES)
        .map(|_| runtime.spawn(ask_until_gone(format!("http://{}", server.listen()), Arc::clone(&answered))))
        .collect();
    let enough = 1 + round * 37 % ANSWERED_MAX;
    eventually("enough calls are answered", START_TIMEOUT, || {
        (answered.load(Ordering::SeqCst) >= enough).then_some(())
    });
    server.process.kill();
    proxies.into_iter().flat_map(|proxy| runtime.block_on(proxy).expect("a proxy")).collect()
}

/// Kills one server so often; how many of its answers were found again, which must be all.
fn kill_again_and_again(runtime: &Runtime, kills: usize) -> usize {
    let dir = tempfile::tempdir().expect("make a directory");
    let mut expected = BTreeSet::new();
    for round in 0..kills {
        let ids = live_and_be_killed(runtime, dir.path(), round);
        let said = ids.len();
        let before = expected.len();
        expected.extend(ids);
        assert_eq!(expected.len(), before + said, "an id was given twice");
    }
    let ledger = dir.path().join("state").join("ledger");
    // A last start recovers from the last kill, and ends in order.
    let mut server = LoneServer::start(dir.path(), &[]);
    assert_eq!(server.wait(), None, "the server did not come up after the last kill");
    server.stop();
    let entries = Entries::open(&ledger).expect("open the ledger");
    let entries = entries.map(|recorded| recorded.expect("read the ledger").entry);
    let found: BTreeSet<String> = entries
        .filter_map(|entry| match entry {
            Entry::Decision(decision) => Some(decision.decision_id),
            Entry::Refusal(_)
            | Entry::Outcome(_)
            | Entry::Admin(_)
            | Entry::Drift(_)
            | Entry::Judged(_)
            | Entry::Shed(_)
            | Entry::Load(_) => None,
        })
        .collect();
    let lost: Vec<&String> = expected.difference(&found).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged entries are lost: {lost:?}", lost.len(), expected.len());
    palisade::ledger::verify(&ledger).expect("the ledger is whole after all kills");
    expected.len()
}

#[test]
fn what_was_answered_survives_sigkill_at_any_moment() {
    let kills = match std::env::var("PALISADE_KILLS") {
        Ok(text) => text.parse().expect("`PALISADE_KILLS` is a number of kills"),
        Err(_) => KILLS,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (mut done, mut answered) = (0, 0);
    while done < kills {
        let now = KILLS_OF_ONE_LEDGER.min(kills - done);
        answered += kill_again_and_again(&runtime, now);
        done += now;
        if done % 1000 == 0 || done == kills {
            println!("{done} kills, {answered} acknowledged entries, none lost");
        }
    }
    let at_start = kills / KILLED_AT_START;
    println!("{at_start} of the kills hit a server that was starting");
    assert!(answered >= (kills - at_start) * ANSWERED_MEAN_MIN, "{answered} answers are no load");
}
