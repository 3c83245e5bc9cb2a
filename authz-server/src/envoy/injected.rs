//! Calls that fail at every stage and in every way: never an allow that is not recorded, never a decision without its
//! entry.
//!
//! An entry that says allow while its caller was refused is told apart by what is counted into the ledger at the same time,
//! and by the outcome that the access log brings under the same id.

use super::check::Check;
use super::{Gateway, RPC_OK};
use crate::check::Call;
use crate::check::tests::calls::{Numbers, edited};
use crate::identity::ApiKeys;
use crate::ledger::{AdminEvent, Conclusion, Entries, Entry};
use crate::serve::faults::Stage;
use crate::serve::faults::injected::{Fault, inject, is_left};
use crate::serve::load::Load;
use crate::serve::service::{Service, Source, now_ms};
use crate::serve::{ListenAddress, Peers, Settings, service_of};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request as Asked};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use futures_util::FutureExt as _;
use palisade_core::call_id::CallIdMint;
use palisade_core::contract::BundleDigest;
use palisade_core::handoff::{Binding, Flags, HEADER, Handoff, Secret};
use palisade_core::method::Method;
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const KEY: &str = "example-key-of-web";
const DEADLINE: Duration = Duration::from_millis(1000);
const TOO_LONG: Duration = Duration::from_millis(1010);

/// Cancelled calls; `PALISADE_CANCELS` makes it more.
const CANCELS: usize = 2_000;

/// Calls that are under way at once while others are cancelled.
const AT_ONCE: usize = 64;

struct World {
    service: Arc<Service>,
    mint: CallIdMint,
    folder: TempDir,
    _bundle: TempDir,
}

impl World {
    fn with(failure: &str, deadline: Duration) -> World {
        let bundle = edited("policies", &[("palisade.yaml", "", failure)]);
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let settings = Settings {
            bundle: bundle.path().to_owned(),
            listen: ListenAddress::Tcp(any),
            peers: Peers::Local,
            admin: any,
            state: folder.path().join("state"),
            handoff_secrets: write("secret", &"01".repeat(32)),
            api_keys: Some(write("keys", &ApiKeys::render([("web", KEY)]).unwrap())),
            outcome_grace: crate::audit::OUTCOME_GRACE,
            threads: NonZeroUsize::MIN,
            otlp_endpoint: None,
            candidate: None,
            issuer_keys: BTreeMap::new(),
            introspection_secrets: BTreeMap::new(),
        };
        let service = Arc::new(service_of(&settings).with_deadline(deadline));
        World { service, mint: CallIdMint::new([7; 16]), folder, _bundle: bundle }
    }

    /// A call that is allowed, and its id.
    fn call(&mut self, knows_bundle: bool) -> (String, CheckRequest) {
        let (method, host, path) = ("GET", "orders", "/orders?limit=1");
        let decider = self.service.decider();
        let found =
            decider.bundle.contract.find(host, Method::parse(b"GET").unwrap(), ["orders"].into_iter());
        let bundle = if knows_bundle { decider.bundle.digest } else { BundleDigest([9; 32]) };
        let call_id = self.mint.mint(now_ms());
        let operation = found.unwrap().index;
        let handoff = Handoff { bundle, operation, flags: Flags::default(), call_id };
        let binding = Binding { method, authority: host, target: path };
        let text = handoff.encode(&Secret::from_bytes([1; 32]), binding);
        let headers = [(HEADER.to_owned(), text), ("x-api-key".to_owned(), KEY.to_owned())].into();
        let http = HttpRequest {
            method: method.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            scheme: "http".to_owned(),
            headers,
            ..HttpRequest::default()
        };
        let request = Some(Asked { http: Some(http), ..Asked::default() });
        let attributes = Some(AttributeContext { request, ..AttributeContext::default() });
        (call_id.to_string(), CheckRequest { attributes })
    }

    /// What the ledger holds at the end.
    async fn recorded(&self) -> Recorded {
        self.service.enter_tallies().await;
        self.service.ledger().clone().close().await.unwrap();
        let mut recorded = Recorded::default();
        let entries = Entries::open(&self.folder.path().join("state").join(crate::state::LEDGER_DIRECTORY));
        for entry in entries.unwrap() {
            match entry.unwrap().entry {
                Entry::Decision(decision) => {
                    let said = (decision.decision, decision.reason);
                    recorded.decisions.entry(decision.decision_id).or_default().push(said);
                }
                Entry::Admin(admin) => {
                    if let AdminEvent::Undecided(undecided) = admin.event {
                        recorded.counted.push((undecided.decision, undecided.reason, undecided.count));
                    }
                }
                Entry::Refusal(_)
                | Entry::Outcome(_)
                | Entry::Drift(_)
                | Entry::Judged(_)
                | Entry::Shed(_)
                | Entry::Load(_) => {}
            }
        }
        recorded
    }
}

#[derive(Debug, Default)]
struct Recorded {
    decisions: BTreeMap<String, Vec<(Conclusion, String)>>,
    counted: Vec<(Conclusion, String, u64)>,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn is_allow(reply: &CheckResponse) -> bool {
    reply.status.as_ref().is_some_and(|status| status.code == RPC_OK)
}

/// What happens to a call.
#[derive(Debug, Clone, Copy)]
enum Happens {
    Nothing,
    At(Stage, Fault),
    /// Its caller hangs up while it waits for the receipt.
    Cancelled,
}

/// The reply, what the entry says, and what is counted beside it.
type Row = (Happens, Option<bool>, Option<(Conclusion, &'static str)>, Option<&'static str>);

fn check(failure: &str, rows: &[Row]) {
    for (happens, replied, entered, counted) in rows {
        let mut world = World::with(failure, DEADLINE);
        let gateway = Gateway::new(world.service.clone(), Arc::default());
        let (id, request) = world.call(true);
        let (reply, recorded) = runtime().block_on(async {
            if let Happens::At(stage, fault) = happens {
                inject(*stage, *fault);
            }
            let mut asked = Box::pin(gateway.check(read(&request)));
            let reply = match happens {
                Happens::Cancelled => {
                    assert!((&mut asked).now_or_never().is_none(), "the receipt was there at once");
                    None
                }
                Happens::Nothing | Happens::At(..) => Some(asked.as_mut().await),
            };
            drop(asked);
            assert!(!is_left(), "{happens:?} did not happen");
            (reply, world.recorded().await)
        });
        let entries = recorded.decisions.get(&id).cloned().unwrap_or_default();
        let entered: Vec<_> = entered.iter().map(|(said, reason)| (*said, (*reason).to_owned())).collect();
        assert_eq!(reply.as_ref().map(is_allow), *replied, "{happens:?}");
        assert_eq!(entries, entered, "{happens:?}");
        assert!(recorded.decisions.len() <= 1, "{happens:?} left other entries: {recorded:?}");
        let said: Vec<_> =
            recorded.counted.iter().map(|(_, reason, count)| (reason.as_str(), *count)).collect();
        assert_eq!(said, counted.iter().map(|reason| (*reason, 1)).collect::<Vec<_>>(), "{happens:?}");
        let metrics = world.service.metrics().render().unwrap();
        let is_counted = metrics.contains("palisade_decisions_not_recorded_total 1");
        assert_eq!(is_counted, counted.is_some(), "{happens:?}: {metrics}");
    }
}

#[test]
fn a_call_that_fails_is_refused_and_recorded() {
    use Conclusion::{Allow, Deny};
    use Happens::{At, Cancelled, Nothing};
    let late = Fault::Delay(TOO_LONG);
    check(
        "",
        &[
            (Nothing, Some(true), Some((Allow, "policy_allowed")), None),
            (At(Stage::BeforeDeciding, Fault::Panic), Some(false), None, Some("internal")),
            (At(Stage::BeforeDeciding, late), Some(false), Some((Deny, "overloaded")), None),
            (At(Stage::Deciding, Fault::Panic), Some(false), Some((Deny, "internal")), None),
            (At(Stage::Deciding, late), Some(false), Some((Deny, "overloaded")), None),
            (At(Stage::BeforeAppend, Fault::Panic), Some(false), Some((Deny, "internal")), None),
            (
                At(Stage::BeforeAppend, late),
                Some(false),
                Some((Allow, "policy_allowed")),
                Some("ledger_unavailable"),
            ),
            (
                At(Stage::BeforeReceipt, Fault::Panic),
                Some(false),
                Some((Allow, "policy_allowed")),
                Some("internal"),
            ),
            (
                At(Stage::BeforeReceipt, late),
                Some(false),
                Some((Allow, "policy_allowed")),
                Some("ledger_unavailable"),
            ),
            (Cancelled, None, Some((Allow, "policy_allowed")), None),
            (
                At(Stage::AfterReceipt, Fault::Panic),
                Some(false),
                Some((Allow, "policy_allowed")),
                Some("internal"),
            ),
            (
                At(Stage::AfterReceipt, late),
                Some(false),
                Some((Allow, "policy_allowed")),
                Some("ledger_unavailable"),
            ),
            (
                At(Stage::Replying, Fault::Panic),
                Some(false),
                Some((Allow, "policy_allowed")),
                Some("internal"),
            ),
            (At(Stage::Replying, late), Some(true), Some((Allow, "policy_allowed")), None),
        ],
    );
}

#[test]
fn an_open_class_passes_where_the_server_fails_and_only_there() {
    use Conclusion::Allow;
    use Happens::At;
    let late = Fault::Delay(TOO_LONG);
    check(
        "failure: {read: open}\n",
        &[
            (At(Stage::BeforeDeciding, late), Some(true), Some((Allow, "failed_open")), None),
            (At(Stage::Deciding, Fault::Panic), Some(true), Some((Allow, "failed_open")), None),
            (At(Stage::BeforeAppend, Fault::Panic), Some(true), Some((Allow, "failed_open")), None),
            (
                At(Stage::BeforeReceipt, late),
                Some(true),
                Some((Allow, "policy_allowed")),
                Some("ledger_unavailable"),
            ),
            (
                At(Stage::BeforeReceipt, Fault::Panic),
                Some(false),
                Some((Allow, "policy_allowed")),
                Some("internal"),
            ),
        ],
    );
}

#[test]
fn what_is_refused_for_load_is_entered_with_true_counts() {
    for (failure, allowed) in
        [("", false), ("failure: {read: open}\n", true), ("failure: {delete: closed}\n", false)]
    {
        let mut world = World::with(failure, DEADLINE);
        let gateway = Gateway::new(world.service.clone(), Arc::new(Load::bounded(0)));
        let calls = 500;
        let (asked, recorded) = runtime().block_on(async {
            let mut asked = BTreeSet::new();
            for _ in 0..calls {
                let (id, request) = world.call(true);
                let reply = gateway.check(read(&request)).await;
                assert_eq!(is_allow(&reply), allowed);
                asked.insert(id);
            }
            (asked, world.recorded().await)
        });
        let single = recorded.decisions.keys().filter(|id| asked.contains(*id)).count() as u64;
        let counted: u64 = recorded.counted.iter().map(|(_, _, count)| count).sum();
        assert_eq!(single + counted, calls, "{failure}: {single} of their own, {counted} counted");
        // Whatever was read of a call is seen as an attempt, however it ended.
        let seen = world.service.metrics().storms.unlooked();
        assert_eq!(seen, if allowed { calls } else { single }, "{failure}");
        assert!(recorded.decisions.values().all(|entries| entries.len() == 1));
        let expected = if allowed { Conclusion::Allow } else { Conclusion::Deny };
        assert!(recorded.decisions.values().flatten().all(|(said, _)| *said == expected));
        assert!(recorded.counted.iter().all(|(said, reason, _)| *said == expected && reason == "overloaded"));
    }
}

#[test]
fn what_nobody_vouches_for_is_refused_whatever_the_fail_mode() {
    let mut world = World::with("failure: {read: open}\n", DEADLINE);
    for load in [Arc::default(), Arc::new(Load::bounded(0))] {
        let gateway = Gateway::new(world.service.clone(), load);
        for forget in [HEADER, "x-api-key"] {
            let (_, mut request) = world.call(true);
            let http = request.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
            if forget == HEADER {
                http.headers.remove(HEADER);
            } else {
                http.headers.insert("x-api-key".to_owned(), "unknown".to_owned());
            }
            inject(Stage::Deciding, Fault::Panic);
            let reply = runtime().block_on(gateway.check(read(&request)));
            let _may_be_left = is_left();
            assert!(!is_allow(&reply), "without {forget}");
        }
    }
}

/// What the server reads of a whole message.
fn read(request: &CheckRequest) -> Check {
    Check::decode(request.encode_to_vec().as_slice()).unwrap()
}

/// A call that says whether anybody began to look at it.
struct Watched {
    request: Check,
    is_begun: Arc<AtomicBool>,
}

impl Source for Watched {
    fn with_call<T>(&self, use_call: impl FnOnce(Call<'_>) -> T) -> T {
        self.is_begun.store(true, Ordering::SeqCst);
        self.request.with_call(use_call)
    }
}

#[test]
fn calls_that_are_cancelled_at_random_leave_one_entry_each() {
    let cancels = std::env::var("PALISADE_CANCELS").map_or(CANCELS, |text| text.parse().unwrap());
    let mut world = World::with("", Duration::from_secs(10));
    let mut numbers = Numbers::new(1);
    let load = Arc::new(Load::default());
    let (begun, allowed, unbegun, recorded) = runtime().block_on(async {
        let (mut begun, mut allowed, mut unbegun) = (BTreeSet::new(), BTreeSet::new(), 0);
        let mut cancelled = 0;
        while cancelled < cancels {
            let mut calls = Vec::with_capacity(AT_ONCE);
            for _ in 0..AT_ONCE {
                // One in a hundred has to wait for a bundle first.
                let (id, request) = world.call(numbers.below(100) != 0);
                let is_begun = Arc::new(AtomicBool::new(false));
                let watched = Watched { request: read(&request), is_begun: is_begun.clone() };
                let (service, load) = (world.service.clone(), load.clone());
                let call = tokio::spawn(async move { service.answer(&load, watched).await });
                calls.push((id, is_begun, call));
                if numbers.below(8) == 0 {
                    tokio::task::yield_now().await;
                }
            }
            // Nobody is waited for before all are cancelled that will be: one receipt comes for many at once.
            for (_, _, call) in &calls {
                match numbers.below(32) {
                    0 => tokio::time::sleep(Duration::from_micros(numbers.below(400) as u64)).await,
                    1..16 => tokio::task::yield_now().await,
                    _ => {}
                }
                if numbers.below(16) != 0 {
                    call.abort();
                }
            }
            for (id, is_begun, call) in calls {
                match call.await {
                    Ok(answered) if answered.decision == crate::check::Decision::Allow => {
                        assert!(allowed.insert(id.clone()));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        assert!(error.is_cancelled());
                        cancelled += 1;
                    }
                }
                if is_begun.load(Ordering::SeqCst) {
                    begun.insert(id);
                } else {
                    unbegun += 1;
                }
            }
        }
        // Those that wait for a bundle go on without their callers.
        while Arc::strong_count(&load) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (begun, allowed, unbegun, world.recorded().await)
    });
    let decisions = &recorded.decisions;
    println!("{cancels} cancels: {} begun, {unbegun} not, {} allowed", begun.len(), allowed.len());
    let missing: Vec<_> = begun.iter().filter(|id| decisions.get(*id).map(Vec::len) != Some(1)).collect();
    assert!(missing.is_empty(), "{} of {} without one entry of their own", missing.len(), begun.len());
    assert_eq!(decisions.len(), begun.len(), "an entry of a call that nobody began");
    for id in &allowed {
        assert_eq!(decisions[id], [(Conclusion::Allow, "policy_allowed".to_owned())]);
    }
    assert!(allowed.len() > 10 && begun.len() > cancels / 4, "the cancels come too early to be of use");
}
