//! The threads that answer: connections are spread over them, and no descriptor that is missing ends the server.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tests::deadline::eventually;
use tests::lone_server::{LoneServer, Said, said};
use tests::rig::START_TIMEOUT;

/// Calls over each connection.
const CALLS: usize = 400;

/// More connections than a server without descriptors can take.
const TOO_MANY: usize = 40;

/// The processor time of each thread that answers, in ticks, by its number.
fn lanes(pid: u32) -> Vec<u64> {
    let mut lanes: Vec<(String, u64)> = fs::read_dir(format!("/proc/{pid}/task"))
        .expect("the server's threads")
        .filter_map(|task| {
            let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
            let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok());
            name.starts_with("lane-").then(|| (name.to_owned(), ticks.sum()))
        })
        .collect();
    lanes.sort();
    lanes.into_iter().map(|(_, ticks)| ticks).collect()
}

async fn ask(listen: SocketAddr) {
    let mut client = AuthorizationClient::connect(format!("http://{listen}")).await.expect("connect");
    for _ in 0..CALLS {
        let answer = client.check(CheckRequest::default()).await.expect("an answer");
        assert!(matches!(said(answer.into_inner()), Said::Recorded(_)));
    }
}

#[test]
fn connections_are_spread_over_all_threads() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = LoneServer::start(dir.path(), &[]);
    assert_eq!(server.wait(), None);
    let pid = server.process.pid();
    let count = std::thread::available_parallelism().expect("the processors").get();
    // The first to listen makes it ready, and on a busy machine the others come a moment later.
    eventually("a thread for each processor", START_TIMEOUT, || (lanes(pid).len() == count).then_some(()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // A tick is ten milliseconds: asked until each has worked for one.
    eventually("every thread has answered", START_TIMEOUT, || {
        runtime.block_on(async {
            let asking: Vec<_> = (0..count).map(|_| tokio::spawn(ask(server.listen()))).collect();
            for asked in asking {
                asked.await.expect("every call is answered");
            }
        });
        lanes(pid).iter().all(|ticks| *ticks > 1).then_some(())
    });
    drop(runtime);
    server.stop();
}

fn descriptors(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the server's descriptors").count() as u64
}

fn limit(pid: u32, descriptors: u64) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("a process id");
    // To raise the upper bound again needs a privilege; the server has ours.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let new = Rlimit { current: Some(descriptors), maximum };
    prlimit(Some(pid), Resource::Nofile, new).expect("change the server's limit");
}

#[test]
fn a_server_without_descriptors_goes_on_when_there_are_some() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = LoneServer::start(dir.path(), &[]);
    assert_eq!(server.wait(), None);
    let pid = server.process.pid();
    assert!(matches!(server.check(), Said::Recorded(_)));
    limit(pid, descriptors(pid) + 4);
    let mut taken: Vec<TcpStream> =
        (0..TOO_MANY).map(|_| TcpStream::connect(server.listen()).expect("the system takes it")).collect();
    // The administration port has no descriptor left either: the log says it.
    eventually("the server says that it cannot accept", START_TIMEOUT, || {
        server.process.log().contains("connections cannot be accepted").then_some(())
    });
    drop(taken.split_off(TOO_MANY / 4));
    limit(pid, 1024);
    eventually("the server counts that it could not accept", START_TIMEOUT, || {
        let metrics = server.metrics();
        let line = metrics.lines().find(|line| line.starts_with("palisade_accepts_failed_total"))?;
        (!line.ends_with(" 0")).then_some(())
    });
    // Whoever was connected is still served, and so is whoever comes.
    assert!(matches!(server.check(), Said::Recorded(_)));
    let mut other = LoneServerAgain::of(&server);
    assert!(matches!(other.check(), Said::Recorded(_)));
    drop(taken);
    server.stop();
}

/// Another caller of the same server.
struct LoneServerAgain {
    listen: SocketAddr,
    runtime: tokio::runtime::Runtime,
}

impl LoneServerAgain {
    fn of(server: &LoneServer) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { listen: server.listen(), runtime }
    }

    fn check(&mut self) -> Said {
        self.runtime.block_on(async {
            let mut client =
                AuthorizationClient::connect(format!("http://{}", self.listen)).await.expect("connect");
            said(client.check(CheckRequest::default()).await.expect("an answer").into_inner())
        })
    }
}

#[test]
fn nobody_is_answered_before_everything_was_verified() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = LoneServer::start(dir.path(), &[]);
    assert_eq!(server.wait(), None);
    assert!(matches!(server.check(), Said::Recorded(_)));
    server.stop();
    // A key that is gone although there are checkpoints under it, and a ledger whose first byte is not what it was.
    let segment = fs::read_dir(server.ledger_dir())
        .expect("the ledger")
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .expect("a segment");
    let mut bytes = fs::read(&segment).expect("read the segment");
    bytes[0] ^= 1;
    fs::write(&segment, bytes).expect("write the segment");
    let mut damaged = LoneServer::start(dir.path(), &[]);
    let mut was_open = false;
    let status = eventually("the server gives up", Duration::from_secs(30), || {
        was_open |= TcpStream::connect(damaged.listen()).is_ok() || damaged.is_ready();
        damaged.process.has_exited()
    });
    assert!(!status.success(), "it ended with {status}");
    assert!(!was_open, "it listened before it had looked at its ledger");
}
