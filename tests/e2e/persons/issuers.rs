//! Keys that are asked for: a rotation is noticed by nobody, and an issuer that is down keeps nobody out who was let in
//! by keys that are known.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use palisade::mint::Mint;
use tests::deadline::{eventually, poll};
use tests::ports::free_addr;
use tests::rig::{Options, Rig};
use tests::spy::Spy;

use super::{ALLOWED, SHOWN, Scene, Told, answer, ask, bearer, claims, read_orders, refused, token};

/// How often an issuer may be asked on behalf of tokens, and a little more.
const FETCH_GAP: Duration = Duration::from_millis(10_500);

const CALLERS: usize = 4;

const ROTATIONS: usize = 3;

/// Calls by one key before the next one comes.
const CALLS_PER_KEY: u64 = 20;

fn publish(issuer: &Spy, mints: &[&Mint]) {
    answer(issuer, 200, &Mint::set(mints.iter().copied()).to_string());
}

fn mint(name: &str) -> Arc<Mint> {
    Arc::new(Mint::new(name).expect("make a key"))
}

/// Who sends, by which key, and what came of it.
struct Load<'r> {
    rig: &'r Rig,
    key: Mutex<Arc<Mint>>,
    /// Calls by the key that is used now.
    by_this_key: AtomicU64,
    sent: AtomicU64,
    refused: Mutex<Vec<Told>>,
    over: AtomicBool,
}

impl Load<'_> {
    /// Sends until it is over, each time a token that nobody has seen.
    fn send(&self) {
        while !self.over.load(Ordering::SeqCst) {
            let mint = self.key.lock().expect("the lock of the key").clone();
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            let token = token(&mint, &claims(&format!("user-{number}"), &["staff"]));
            let reply = self.rig.send(read_orders(&bearer(&token))).expect_reply();
            if reply.status != 200 {
                self.refused.lock().expect("the lock of the refusals").push((reply.status, reply.reason()));
            } else if Arc::ptr_eq(&mint, &self.key.lock().expect("the lock of the key")) {
                self.by_this_key.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn sign_with(&self, mint: &Arc<Mint>) {
        let mut key = self.key.lock().expect("the lock of the key");
        self.by_this_key.store(0, Ordering::SeqCst);
        *key = mint.clone();
    }

    fn wait_for_calls(&self, what: &str) {
        eventually(what, SHOWN, || (self.by_this_key.load(Ordering::SeqCst) >= CALLS_PER_KEY).then_some(()));
    }
}

#[test]
fn no_valid_token_is_refused_while_keys_rotate_and_the_issuer_is_asked_once_for_each() {
    let issuer = Spy::start();
    let mut current = mint("key-0");
    publish(&issuer, &[&current]);
    let scene = Scene::of_corp(&format!("url: \"http://{}/keys\"", issuer.addr()));
    let rig = scene.start(Options::default());
    eventually("the first keys are there", SHOWN, || {
        (ask(&rig, &read_orders(&bearer(&token(&current, &claims("first", &["staff"]))))) == ALLOWED)
            .then_some(())
    });
    let mut asked_at = Instant::now();
    let load = Load {
        rig: &rig,
        key: Mutex::new(current.clone()),
        by_this_key: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        refused: Mutex::default(),
        over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        // Whatever fails in here, the senders end.
        let _end = Over(&load.over);
        for _ in 0..CALLERS {
            scope.spawn(|| load.send());
        }
        load.wait_for_calls("calls by the first key");
        let asked = issuer.requests().len();
        for rotation in 1..=ROTATIONS {
            let next = mint(&format!("key-{rotation}"));
            publish(&issuer, &[&current, &next]);
            assert!(poll(FETCH_GAP * 2, || (asked_at.elapsed() > FETCH_GAP).then_some(())).is_some());
            // All callers come with the new key at once, and the server has never heard of it.
            load.sign_with(&next);
            load.wait_for_calls("calls by the next key");
            asked_at = Instant::now();
            assert_eq!(issuer.requests().len(), asked + rotation, "one question for all who wait");
            current = next;
        }
        // The issuer goes down; what is known still holds.
        drop(issuer);
        load.sign_with(&current.clone());
        load.wait_for_calls("calls while the issuer is down");
    });
    let refused = load.refused.into_inner().expect("the lock of the refusals");
    assert_eq!(refused, [], "of {} calls", load.sent.into_inner());
}

/// Says that it is over when it goes, also by a failure.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn an_issuer_that_is_down_at_the_start_is_found_when_it_is_back() {
    let (mint, stranger) = (mint("a"), mint("b"));
    let addr = free_addr();
    // The bundle has other keys; what the server is told counts.
    let scene = Scene::with_mint(&stranger);
    let keys = format!("corp=http://{addr}/keys");
    let rig = scene.start(Options::default().server_args(&["--issuer-keys", &keys]));
    let pid = rig.server.pid();
    let read = |subject: &str| ask(&rig, &read_orders(&bearer(&token(&mint, &claims(subject, &["staff"])))));
    assert_eq!(read("alice"), refused(503, "identity_unavailable"));
    assert_eq!(rig.send(rig.read_request()).expect_reply().status, 200, "keys of clients hold");

    let issuer = Spy::start_at(addr);
    publish(&issuer, &[&mint]);
    eventually("tokens are accepted", SHOWN, || (read("alice") == ALLOWED).then_some(()));
    let forged = bearer(&token(&stranger, &claims("alice", &["staff"])));
    assert_ne!(ask(&rig, &read_orders(&forged)), ALLOWED, "the keys of the bundle do not count");

    drop(issuer);
    assert_eq!(read("bob"), ALLOWED, "the last good keys hold while the issuer is down");
    assert_eq!(rig.server.pid(), pid);
}
