//! What issuers may do to us: every bad answer leaves the last good keys, and no valid token is refused for a rotation.

use super::server::{Behaviour, Server, answer};
use super::signer::{Signer, set_of};
use super::{CORP, Draft, NOW_MS, NOW_S, claim, issuer};
use crate::settings::{Algorithm, IssuerSettings, KeysUrl, TokensSettings};
use crate::tokens::limits::{FETCH_GAP_MS, UNKNOWN_KID_MS};
use crate::{ClaimRules, KeysFrom, TokenError, Tokens, Unavailable, Verified};
use serde_json::json;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::task::Poll;
use std::time::Duration;

const MAX_AGE_S: u64 = 3600;

/// For whatever must happen soon.
const SOON: Duration = Duration::from_secs(30);

fn settings(url: &str) -> IssuerSettings {
    let from = KeysUrl { url: url.to_owned(), refresh_s: 300, max_age_s: MAX_AGE_S, ca: None };
    issuer("corp", CORP, &[Algorithm::Es256], KeysFrom::Url(from))
}

fn tokens_of(settings: IssuerSettings, previous: Option<&Tokens>) -> Tokens {
    Tokens::begin(&TokensSettings { issuers: vec![settings], ..TokensSettings::default() }, previous).unwrap()
}

fn keys(of: &[&Signer]) -> Behaviour {
    Behaviour::Keys(set_of(of.iter().map(|signer| signer.jwk())).to_string())
}

fn token(by: &Signer) -> String {
    let exp = NOW_S + 100 * MAX_AGE_S;
    Draft::of(CORP, by).claim("exp", json!(exp)).signed()
}

/// As the server does it: verify, ask if that helps, verify once more.
async fn judge(tokens: &Tokens, token: &str, now_ms: u64) -> Result<Arc<Verified>, TokenError> {
    match tokens.verify(token, now_ms) {
        Err(TokenError::Pending(pending)) => {
            tokens.fetch(pending).await;
            tokens.verify(token, now_ms)
        }
        outcome => outcome,
    }
}

fn unavailable(why: Unavailable) -> TokenError {
    TokenError::Unavailable { issuer: "corp".to_owned(), why }
}

/// Which of the keys of a rotation it is.
fn number(signer: &Signer) -> usize {
    signer.kid.strip_prefix("key-").unwrap().parse().unwrap()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(SOON, wait).await.is_ok(), "not in time: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_under_load_refuses_no_valid_token() {
    const ROTATIONS: usize = 25;
    const EACH: u64 = 40;
    let first = Signer::es256("key-0");
    let server = Server::start(keys(&[&first])).await;
    let tokens = Arc::new(tokens_of(settings(&server.url), None));
    let (now_ms, judged) = (Arc::new(AtomicU64::new(NOW_MS)), Arc::new(AtomicU64::new(0)));
    let asleep = Arc::new(AtomicU64::new(0));
    let (current, stop) = (Arc::new(RwLock::new(first.clone())), Arc::new(AtomicBool::new(false)));
    let mut callers = Vec::new();
    for caller in 0..4 {
        let (tokens, now_ms, judged) = (tokens.clone(), now_ms.clone(), judged.clone());
        let (current, stop, asleep) = (current.clone(), stop.clone(), asleep.clone());
        callers.push(tokio::spawn(async move {
            let mut kept = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                // The key first: the clock that is read after it is not earlier.
                let signer = current.read().unwrap().clone();
                let draft = Draft::of(CORP, &signer).claim("sub", json!(format!("caller-{caller}")));
                let token = draft.claim("exp", json!(NOW_S + 100 * MAX_AGE_S)).signed();
                kept.push((signer, token));
                // Now and then one by the key before this one, which the set still has.
                let (signer, token) = &kept[kept.len().saturating_sub(1 + kept.len() % 2)];
                let outcome = judge(&tokens, token, now_ms.load(Ordering::SeqCst)).await;
                // One that is older than that may be gone by now: the caller was asleep for two rotations.
                let newest = number(&current.read().unwrap());
                assert!(outcome.is_ok() || number(signer) + 1 < newest, "{}: {outcome:?}", signer.kid);
                asleep.fetch_add(u64::from(outcome.is_err()), Ordering::SeqCst);
                judged.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }));
    }
    until("the first keys", || judged.load(Ordering::SeqCst) > 0).await;
    let mut before = first;
    for rotation in 1..=ROTATIONS {
        let next = Signer::es256(&format!("key-{rotation}"));
        server.does(keys(&[&before, &next]));
        now_ms.fetch_add(FETCH_GAP_MS, Ordering::SeqCst);
        *current.write().unwrap() = next.clone();
        let goal = judged.load(Ordering::SeqCst) + EACH;
        until("tokens by the new key", || {
            judged.load(Ordering::SeqCst) >= goal || callers.iter().any(tokio::task::JoinHandle::is_finished)
        })
        .await;
        before = next;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    // One question for the first set and one for each rotation: nobody asked twice, but for a key that was gone.
    let (asked, asleep) = (server.asked(), asleep.load(Ordering::SeqCst));
    let once = ROTATIONS as u64 + 1;
    assert!((once..=once + asleep).contains(&asked), "{asked} questions, {asleep} callers were asleep");
    println!("{} tokens over {ROTATIONS} rotations, none refused", judged.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_bad_answer_leaves_the_last_good_keys() {
    let (good, unknown) = (Signer::es256("good"), Signer::es256("unknown"));
    let elsewhere = Server::start(keys(&[&unknown])).await;
    let server = Server::start(keys(&[&good])).await;
    let tokens = tokens_of(settings(&server.url), None);
    assert_eq!(judge(&tokens, &token(&good), NOW_MS).await.unwrap().user.subject, "alice");
    let set = set_of([unknown.jwk()]).to_string();
    let more = format!("location: {}\r\n", elsewhere.url);
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let cases: Vec<(&str, Behaviour, &str)> = vec![
        ("301", Behaviour::Bytes(answer(301, &more, &set)), "a redirect (301)"),
        ("302", Behaviour::Bytes(answer(302, &more, "")), "a redirect (302)"),
        ("307", Behaviour::Bytes(answer(307, &more, "")), "a redirect (307)"),
        ("308", Behaviour::Bytes(answer(308, &more, "")), "a redirect (308)"),
        ("500", Behaviour::Bytes(answer(500, "", &set)), "the status 500, expected 200"),
        ("404", Behaviour::Bytes(answer(404, "", &set)), "the status 404, expected 200"),
        ("204", Behaviour::Bytes(answer(204, "", "")), "the status 204, expected 200"),
        ("nothing", Behaviour::Bytes(Vec::new()), "the connection failed"),
        ("no HTTP", Behaviour::Bytes(b"SSH-2.0-x\r\n".to_vec()), "the connection failed"),
        (
            "cut in the body",
            Behaviour::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n{set}").into_bytes()),
            "the connection failed",
        ),
        (
            "a broken chunk",
            Behaviour::Bytes(format!("{chunked}zz\r\n{set}").into_bytes()),
            "the connection failed",
        ),
        (
            "a chunk and no end",
            Behaviour::Bytes(format!("{chunked}2\r\n{{}}\r\n").into_bytes()),
            "the connection failed",
        ),
        (
            "a huge length",
            Behaviour::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n".to_vec()),
            "over the limit of 262144 bytes",
        ),
        ("10 MB", Behaviour::Keys(" ".repeat(10 << 20)), "over the limit of 262144 bytes"),
        ("without end", Behaviour::Endless { piece: 4096 }, "over the limit of 262144 bytes"),
        (
            "huge headers",
            Behaviour::Bytes(answer(200, &format!("x: {}\r\n", "x".repeat(40_000)), &set)),
            "the connection failed",
        ),
        (
            "many headers",
            Behaviour::Bytes(answer(200, &"x: y\r\n".repeat(70), &set)),
            "the connection failed",
        ),
        ("no JSON", Behaviour::Keys("<html>".to_owned()), "expected one JSON object"),
        ("twice", Behaviour::Keys("{\"keys\":[],\"keys\":[]}".to_owned()), "expected one JSON object"),
        ("no set", Behaviour::Keys("{}".to_owned()), "expected a JWK set"),
        ("no keys", Behaviour::Keys("{\"keys\":[]}".to_owned()), "no key can be used"),
        ("slow", Behaviour::Silent, "no whole answer within 5000 ms"),
    ];
    let mut now_ms = NOW_MS;
    let count = cases.len() as u64;
    for (name, behaviour, part) in cases {
        now_ms += FETCH_GAP_MS;
        server.does(behaviour);
        let began = std::time::Instant::now();
        // Nobody could say whether there is such a key: that is no word against the token.
        let outcome = judge(&tokens, &token(&unknown), now_ms).await;
        assert_eq!(outcome, Err(unavailable(Unavailable::AskedJustNow)), "{name}");
        assert!(outcome.unwrap_err().is_unavailable());
        let state = tokens.states(now_ms).remove(0);
        let told = state.last_error.unwrap_or_default();
        assert!(told.contains(part), "{name}: {told}");
        println!("{name}: {told}, after {} ms", began.elapsed().as_millis());
        assert_eq!((state.usable, state.keys, state.generation), (true, 1, 1), "{name}");
        assert!(tokens.verify(&token(&good), now_ms).is_ok(), "{name}: the last good keys are gone");
    }
    let state = tokens.states(now_ms).remove(0);
    assert_eq!((state.fetches, state.failures, state.fetched_at_ms), (count + 1, count, Some(NOW_MS)));
    assert_eq!(elsewhere.asked(), 0, "nobody went where a redirect points");
    // Good to the last millisecond of their age, kept tokens included, and not one longer.
    let (known, end_ms) = (token(&good), NOW_MS + MAX_AGE_S * 1000);
    assert!(tokens.verify(&known, end_ms - 1).is_ok() && tokens.loaded(end_ms - 1));
    assert!(!tokens.loaded(end_ms));
    assert_eq!(judge(&tokens, &known, end_ms).await, Err(unavailable(Unavailable::KeysTooOld)));
    // And back as soon as the issuer is.
    server.does(keys(&[&good]));
    let later_ms = end_ms + FETCH_GAP_MS;
    assert!(judge(&tokens, &known, later_ms).await.is_ok());
    assert_eq!(tokens.states(later_ms).remove(0).last_error, None);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_asks_seldom() {
    let (good, thief) = (Signer::es256("good"), Signer::es256("x"));
    let server = Server::start(keys(&[&good])).await;
    let tokens = tokens_of(settings(&server.url), None);
    assert!(judge(&tokens, &token(&good), NOW_MS).await.is_ok());
    let mut now_ms = NOW_MS;
    for _ in 0..6 {
        for place in 0..100 {
            now_ms += FETCH_GAP_MS / 100;
            let forged = token(&thief.named(&format!("{now_ms}-{place}")));
            let error = judge(&tokens, &forged, now_ms).await.unwrap_err();
            assert!(matches!(error, TokenError::KeyUnknown | TokenError::Unavailable { .. }), "{error}");
        }
    }
    assert_eq!(server.asked(), 1 + 6, "one question in ten seconds");
    // What could not hold anyway asks nobody, though it names a key that nobody knows.
    now_ms += FETCH_GAP_MS;
    let expired = Draft::of(CORP, &thief).claim("exp", json!(NOW_S - 600)).signed();
    assert_eq!(judge(&tokens, &expired, now_ms).await, Err(TokenError::Expired));
    let meant_for_others = Draft::of(CORP, &thief).claim("aud", json!("others")).signed();
    assert_eq!(judge(&tokens, &meant_for_others, now_ms).await, Err(TokenError::Audience));
    assert_eq!(server.asked(), 7);
    // A name that the issuer does not know is asked for again only after a while.
    let forged = token(&thief);
    assert_eq!(judge(&tokens, &forged, now_ms).await, Err(TokenError::KeyUnknown));
    let told = server.asked();
    now_ms += UNKNOWN_KID_MS - 1;
    assert_eq!(judge(&tokens, &forged, now_ms).await, Err(TokenError::KeyUnknown));
    assert_eq!(server.asked(), told);
    now_ms += 1;
    assert_eq!(judge(&tokens, &forged, now_ms).await, Err(TokenError::KeyUnknown));
    assert_eq!(server.asked(), told + 1);
}

#[tokio::test]
async fn many_who_wait_ask_once_and_may_give_up() {
    let good = Signer::es256("good");
    let server = Server::start(keys(&[&good])).await;
    let tokens = Arc::new(tokens_of(settings(&server.url), None));
    let token: Arc<str> = token(&good).into();
    let calls = (0..200).map(|_| {
        let (tokens, token) = (tokens.clone(), token.clone());
        tokio::spawn(async move { judge(&tokens, &token, NOW_MS).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(server.asked(), 1);
    // Whoever asks first goes away at once; what they asked for comes all the same.
    let other = tokens_of(settings(&server.url), None);
    let Err(TokenError::Pending(pending)) = other.verify(&token, NOW_MS) else {
        panic!("nothing to ask for")
    };
    let mut asking = Box::pin(other.fetch(pending));
    poll_fn(|context| Poll::Ready(asking.as_mut().poll(context).is_pending().then_some(()))).await.unwrap();
    drop(asking);
    until("the keys", || other.verify(&token, NOW_MS).is_ok()).await;
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_key_that_is_withdrawn_takes_its_tokens_along() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let server = Server::start(keys(&[&old])).await;
    let tokens = tokens_of(settings(&server.url), None);
    let known = token(&old);
    assert!(judge(&tokens, &known, NOW_MS).await.is_ok());
    assert!(tokens.verify(&known, NOW_MS).is_ok());
    server.does(keys(&[&new]));
    let now_ms = NOW_MS + FETCH_GAP_MS;
    assert!(judge(&tokens, &token(&new), now_ms).await.is_ok());
    let error = judge(&tokens, &known, now_ms).await.unwrap_err();
    assert_eq!(error, unavailable(Unavailable::AskedJustNow), "kept by the keys before");
    assert_eq!(judge(&tokens, &known, now_ms + FETCH_GAP_MS).await, Err(TokenError::KeyUnknown));
}

#[tokio::test]
async fn a_reload_asks_only_for_what_is_new() {
    let good = Signer::es256("good");
    let server = Server::start(keys(&[&good])).await;
    let before = tokens_of(settings(&server.url), None);
    let known = token(&good);
    let first = judge(&before, &known, NOW_MS).await.unwrap();
    let same = tokens_of(settings(&server.url), Some(&before));
    assert!(
        Arc::ptr_eq(&first, &same.verify(&known, NOW_MS).unwrap()),
        "nothing changed, nothing is verified again"
    );
    // Other claims, the same keys: nobody is asked, and nothing is taken from what was verified.
    let mut changed = settings(&server.url);
    changed.claims = ClaimRules { subject: claim("tenant"), ..ClaimRules::default() };
    let changed = tokens_of(changed, Some(&same));
    assert_eq!(changed.verify(&known, NOW_MS).unwrap().user.subject, "north");
    assert_eq!(
        before.verify(&known, NOW_MS).unwrap().user.subject,
        "alice",
        "the old ones go on as they were"
    );
    let mut narrower = settings(&server.url);
    narrower.audiences = vec!["billing".to_owned()];
    assert_eq!(tokens_of(narrower, Some(&same)).verify(&known, NOW_MS), Err(TokenError::Audience));
    assert_eq!(server.asked(), 1);
    let mut other = settings(&server.url);
    other.algorithms = vec![Algorithm::Es256, Algorithm::Rs256];
    let other = tokens_of(other, Some(&same));
    assert!(
        matches!(other.verify(&known, NOW_MS), Err(TokenError::Pending(_))),
        "other keys may be used now"
    );
}

#[tokio::test]
async fn a_server_is_ready_when_it_has_keys() {
    let good = Signer::es256("good");
    let server = Server::start(Behaviour::Bytes(answer(500, "", ""))).await;
    let tokens = Arc::new(tokens_of(settings(&server.url), None));
    assert!(!tokens.ready(Duration::from_millis(300)).await);
    let state = tokens.states(NOW_MS).remove(0);
    assert_eq!((state.keys, state.usable, state.fetches), (0, false, 1), "one question in the first second");
    assert!(state.last_error.unwrap().contains("500"));
    assert_eq!(tokens.verify(&token(&good), NOW_MS).unwrap_err(), pending_or_no_keys(&tokens, &good));
    server.does(keys(&[&good]));
    assert!(tokens.ready(SOON).await);
    // The task that keeps them fresh ends with the last who holds them.
    let task = tokio::spawn(Tokens::keep_fresh(Arc::downgrade(&tokens)));
    drop(tokens);
    assert!(tokio::time::timeout(SOON, task).await.is_ok());
}

/// Before the first keys a token is worth a question, unless one was just asked.
fn pending_or_no_keys(tokens: &Tokens, by: &Signer) -> TokenError {
    match tokens.verify(&token(by), NOW_MS) {
        Err(error @ TokenError::Pending(_)) => error,
        _ => unavailable(Unavailable::NoKeys),
    }
}

#[tokio::test]
async fn keys_are_asked_for_before_they_are_old() {
    let good = Signer::es256("good");
    let server = Server::start(keys(&[&good])).await;
    let tokens = tokens_of(settings(&server.url), None);
    let source = tokens.issuers[0].keys.clone();
    let mut expected = 0;
    // Between four fifths of the time and all of it; earlier never, also when the clock was set back a little.
    for (now_ms, asks) in [
        (NOW_MS, true),
        (NOW_MS + 239_000, false),
        (NOW_MS + 300_000, true),
        (NOW_MS + 300_000 + 239_000, false),
        (NOW_MS + 299_000, false),
        // Set back by a day: it is not waited for the day.
        (NOW_MS - 86_400_000, true),
    ] {
        source.set_off_if_due(now_ms);
        expected += u64::from(asks);
        until("the end of the question", || {
            let state = tokens.states(now_ms).remove(0);
            state.fetches == expected && (state.fetched_at_ms == Some(now_ms) || !asks)
        })
        .await;
    }
    assert_eq!(server.asked(), expected);
    // The set was the same each time, so nothing that was verified by it is forgotten.
    assert_eq!(tokens.states(NOW_MS).remove(0).generation, 1);
}
