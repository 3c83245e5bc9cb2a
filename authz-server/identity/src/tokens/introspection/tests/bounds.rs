//! Many calls at once, many tokens, and callers that go away.

use super::*;
use crate::User;
use crate::tokens::introspection::known::Known;

fn pending(introspection: &Introspection, token: &str) -> crate::tokens::PendingOpaque {
    match introspection.verify(token, NOW_MS) {
        Err(TokenError::Pending(Pending::Opaque(pending))) => pending,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn calls_with_one_token_ask_once() {
    let server = Server::start().await;
    let introspection = asking(&server, QUESTIONS_MAX, LIMITS);
    server.answer("token", Answer::Held(good().to_string()));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let introspection = introspection.clone();
            tokio::spawn(async move { judged(&introspection, "token", NOW_MS).await })
        })
        .collect();
    server.wait_for(1).await;
    server.release();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().user.name(), "corp/alice");
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn beyond_so_many_questions_tokens_are_refused_at_once() {
    let server = Server::start().await;
    let introspection = asking(&server, 3, LIMITS);
    let busy = TokenError::NoAnswer { issuer: "corp".to_owned(), why: NoAnswer::Busy };
    // Seen before the questions began: they find no room, and nothing waits.
    let late: Vec<_> = (0..20).map(|index| pending(&introspection, &format!("late-{index}"))).collect();
    let mut calls = Vec::new();
    for index in 0..3 {
        let token = format!("token-{index}");
        server.answer(&token, Answer::Held(good().to_string()));
        let introspection = introspection.clone();
        calls.push(tokio::spawn(async move { judged(&introspection, &token, NOW_MS).await }));
    }
    server.wait_for(3).await;
    for pending in late {
        tokio::time::timeout(TIME_MAX, introspection.fetch(pending)).await.unwrap();
    }
    for index in 0..20 {
        assert_eq!(introspection.verify(&format!("late-{index}"), NOW_MS), Err(busy.clone()));
    }
    // One that is being asked about already may wait with the others.
    assert!(is_pending(introspection.verify("token-0", NOW_MS)));
    assert_eq!(server.asked().len(), 3);
    server.release();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    server.answer("late-0", Answer::Json(good().to_string()));
    assert!(judged(&introspection, "late-0", NOW_MS).await.is_ok());
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_no_question() {
    let server = Server::start().await;
    let introspection = asking(&server, 1, LIMITS);
    server.answer("token", Answer::Held(good().to_string()));
    let call = {
        let (introspection, pending) = (introspection.clone(), pending(&introspection, "token"));
        tokio::spawn(async move { introspection.fetch(pending).await })
    };
    server.wait_for(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    server.release();
    assert_eq!(judged(&introspection, "token", NOW_MS).await.unwrap().user.name(), "corp/alice");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_question_that_is_answered_in_between_is_not_asked_again() {
    let server = Server::start().await;
    let introspection = asking(&server, QUESTIONS_MAX, LIMITS);
    server.answer("token", Answer::Json(good().to_string()));
    let (first, second) = (pending(&introspection, "token"), pending(&introspection, "token"));
    introspection.fetch(first).await;
    introspection.fetch(second).await;
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn an_end_of_all_tasks_leaves_no_question_behind() {
    let server = Server::start().await;
    let introspection = asking(&server, 1, LIMITS);
    server.answer("token", Answer::Held(good().to_string()));
    let (inner, pending) = (introspection.clone(), pending(&introspection, "token"));
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answered = runtime.block_on(async { inner.set_off(pending).unwrap() });
        // The question goes with the tasks of this runtime, as after a panic in it.
        drop(runtime);
        answered.has_changed().is_err()
    });
    assert!(asked.join().unwrap(), "those who wait are told");
    server.answer("token", Answer::Json(good().to_string()));
    assert!(judged(&introspection, "token", NOW_MS).await.is_ok());
}

#[test]
fn a_flood_of_tokens_takes_no_more_room_and_pushes_no_good_one_out() {
    let mut known = Known::default();
    let digest = |index: u32| *blake3::hash(&index.to_be_bytes()).as_bytes();
    let user = User {
        issuer: "corp".to_owned(),
        subject: "alice".to_owned(),
        groups: (0..100).map(|index| format!("{index:0200}")).collect(),
        roles: BTreeSet::new(),
        attributes: BTreeMap::new(),
    };
    let verified = Arc::new(Verified {
        user: Arc::new(user),
        proof: Proof::Introspection,
        scopes: None,
        expires_at_s: NOW_S + 600,
    });
    known.keep(digest(u32::MAX), Ok(verified.clone()), 0);
    for index in 0..100_000 {
        known.keep(digest(index), Err(Box::new(TokenError::Inactive)), NOW_MS + 5000);
    }
    assert_eq!(known.find(&digest(u32::MAX), NOW_MS), Some(Ok(verified.clone())));
    let (good, refused, _) = known.size();
    assert_eq!((good, refused), (1, 16_384));
    for index in 0..5_000 {
        known.keep(digest(index), Ok(verified.clone()), 0);
    }
    let (good, _, bytes) = known.size();
    assert!(bytes <= 32 * 1024 * 1024 && good < 2_000 && good > 500, "{good} tokens of {bytes} bytes");
    assert_eq!(known.find(&digest(4_999), NOW_MS), Some(Ok(verified)));
    assert_eq!(known.find(&digest(4_999), (NOW_S + 600) * 1000), None);
    assert_eq!(known.size().0, good - 1, "what has ended is gone");
}
