//! Requests under load, through one `send`: what is said of each, and what is given back.

use super::{InWork, Load, Overload, Weight, answer_of, caller_at};
use crate::attempt::Attempt;
use crate::contract::tests::sample;
use crate::contract::{BundleDigest, Contract, RateKey, RateLimit, ShedMode, ShedScope, Shedding};
use crate::reason::Reason;
use crate::routes::OperationIndex;
use crate::schema::SchemaTable;
use crate::shed::{Answer, Pushback};
use crate::testing::universal_test;

const START_US: u64 = 1_763_700_000_000_000;
const LIST: OperationIndex = OperationIndex(0);
const CREATE: OperationIndex = OperationIndex(1);

fn contract(shedding: Option<Shedding>) -> Contract {
    let mut service = sample().services()[0].clone();
    service.shedding = shedding.map(Box::new);
    Contract::assemble(BundleDigest([7; 32]), Vec::new(), vec![service], SchemaTable::default()).unwrap()
}

fn limit(name: &str, burst: u32, by: &[RateKey], operations: &[&str], mode: ShedMode) -> RateLimit {
    RateLimit {
        name: name.into(),
        requests: u32::from(burst > 0),
        per_ms: 60_000,
        burst,
        by: by.into(),
        operations: operations.iter().map(|name| (*name).into()).collect(),
        mode,
    }
}

struct Driver {
    contract: Contract,
    load: Load,
    now_us: u64,
    asked: usize,
}

impl Driver {
    fn new(shedding: Option<Shedding>) -> Driver {
        Driver { contract: contract(shedding), load: Load::new([3; 16]), now_us: START_US, asked: 0 }
    }

    fn limited(limits: Vec<RateLimit>) -> Driver {
        Driver::new(Some(Shedding { limits: limits.into(), ..Shedding::default() }))
    }

    fn send(
        &mut self,
        operation: OperationIndex,
        attempt: Attempt<'_>,
        caller: &str,
        tenant: Option<&str>,
    ) -> (Option<Reason>, Option<InWork>, Vec<Overload>) {
        let matched = self.contract.operation(operation).unwrap();
        let asked = &mut self.asked;
        let caller = || {
            *asked += 1;
            caller.as_bytes().to_vec()
        };
        let header = |name: &str| tenant.filter(|_| name == "x-tenant").map(str::as_bytes);
        let weight = Weight { attempt, is_grpc: false };
        let mut weighed = self.load.weigh(self.now_us, matched, weight, caller, header);
        if let Some(in_work) = &mut weighed.in_work {
            self.load.sent(self.now_us, in_work);
        }
        assert!(weighed.shed.is_none() || weighed.in_work.is_none(), "what is shed is not in work");
        (weighed.shed.map(|overload| overload.reason), weighed.in_work, weighed.would_shed)
    }

    /// How many of `count` pass.
    fn pass(&mut self, count: usize, operation: OperationIndex, caller: &str, tenant: Option<&str>) -> usize {
        let passes = |driver: &mut Driver| {
            let (reason, _, _) = driver.send(operation, Attempt::default(), caller, tenant);
            assert!(matches!(reason, None | Some(Reason::RateLimited)), "{reason:?}");
            reason.is_none()
        };
        (0..count).filter(|_| passes(self)).count()
    }
}

universal_test! {
    fn a_contract_without_a_word_on_load_costs_nothing() {
        let mut driver = Driver::new(None);
        for _ in 0..1000 {
            let (reason, in_work, would) = driver.send(LIST, Attempt { ordinal: 4, ..Attempt::default() }, "a", None);
            assert!(reason.is_none() && in_work.is_none() && would.is_empty());
        }
        assert_eq!(driver.asked, 0);
        assert_eq!(driver.load.levels().count(), 0);
    }
}

universal_test! {
    fn limits_tell_apart_what_they_are_said_to_and_nothing_else() {
        let header = || RateKey::Header("x-tenant".into());
        let check = |by: &[RateKey], operations: &[&str], expected: [usize; 4]| {
            let mut driver = Driver::limited(vec![limit("l", 3, by, operations, ShedMode::Enforce)]);
            let passed = [
                driver.pass(10, LIST, "a", Some("t")),
                driver.pass(10, LIST, "b", Some("t")),
                driver.pass(10, CREATE, "a", Some("t")),
                driver.pass(10, LIST, "a", Some("u")),
            ];
            assert_eq!(passed, expected, "{by:?} {operations:?}");
        };
        check(&[], &[], [3, 0, 0, 0]);
        check(&[RateKey::Caller], &[], [3, 3, 0, 0]);
        check(&[RateKey::Operation], &[], [3, 0, 3, 0]);
        check(&[header()], &[], [3, 0, 0, 3]);
        check(&[RateKey::Caller, RateKey::Operation], &[], [3, 3, 3, 0]);
        check(&[RateKey::Caller, header()], &[], [3, 3, 0, 3]);
        check(&[], &["createOrder"], [10, 10, 3, 10]);
        check(&[RateKey::Caller], &["listOrders"], [3, 3, 10, 0]);
    }
}

universal_test! {
    fn the_caller_is_asked_for_once_and_only_where_it_matters() {
        let mut driver = Driver::limited(vec![
            limit("one", 5, &[RateKey::Caller], &["createOrder"], ShedMode::Enforce),
            limit("two", 5, &[RateKey::Caller], &["createOrder"], ShedMode::Enforce),
        ]);
        driver.pass(1, LIST, "a", None);
        assert_eq!(driver.asked, 0);
        driver.pass(1, CREATE, "a", None);
        assert_eq!(driver.asked, 1);
    }
}

universal_test! {
    fn a_limit_in_shadow_is_told_and_lets_pass() {
        let mut driver = Driver::limited(vec![
            limit("watched", 2, &[], &[], ShedMode::Shadow),
            limit("kept", 4, &[], &[], ShedMode::Enforce),
        ]);
        let told: Vec<_> = (0..6)
            .map(|_| {
                let (reason, _, would) = driver.send(LIST, Attempt::default(), "a", None);
                (reason, would.iter().map(|over| over.limit.clone().unwrap()).collect::<Vec<_>>())
            })
            .collect();
        let watched = || vec![Box::<str>::from("watched")];
        let over = Some(Reason::RateLimited);
        assert_eq!(
            told,
            [(None, vec![]), (None, vec![]), (None, watched()), (None, watched()), (over, vec![]), (over, vec![])]
        );
    }
}

universal_test! {
    fn zero_lets_nothing_pass() {
        let mut driver = Driver::limited(vec![limit("none", 0, &[], &[], ShedMode::Enforce)]);
        assert_eq!(driver.pass(100, LIST, "a", None), 0);
        let none = Shedding { mode: ShedMode::Enforce, concurrency_max: Some(0), ..Shedding::default() };
        let mut driver = Driver::new(Some(none));
        for _ in 0..100 {
            let (reason, in_work, _) = driver.send(LIST, Attempt::default(), "a", None);
            assert_eq!(reason, Some(Reason::ShedLoad));
            assert!(in_work.is_none());
        }
    }
}

universal_test! {
    fn a_place_is_given_back_however_the_request_ends() {
        let most = Shedding { mode: ShedMode::Enforce, concurrency_max: Some(3), ..Shedding::default() };
        let mut driver = Driver::new(Some(most));
        for round in 0..50 {
            driver.now_us += 1_000_000;
            let mut held: Vec<InWork> =
                (0..3).map(|_| driver.send(LIST, Attempt::default(), "a", None).1.expect("it has room")).collect();
            assert!(driver.send(LIST, Attempt::default(), "a", None).1.is_none(), "round {round}");
            driver.now_us += 10_000;
            let mut last = held.pop().unwrap();
            driver.load.answered(driver.now_us, &mut last, Answer::Good);
            assert!(!last.is_unanswered());
            driver.load.gone(None, last);
            driver.load.refused(held.pop().unwrap());
            let mut last = held.pop().unwrap();
            driver.load.answered_unseen(&mut last);
            driver.load.gone(None, last);
        }
    }
}

universal_test! {
    fn in_shadow_the_service_gets_what_it_would_not_have() {
        let most = Shedding { mode: ShedMode::Shadow, concurrency_max: Some(2), ..Shedding::default() };
        let mut driver = Driver::new(Some(most));
        let told: Vec<usize> = (0..5)
            .map(|_| {
                let (reason, in_work, would) = driver.send(LIST, Attempt::default(), "a", None);
                assert!(reason.is_none() && in_work.is_some());
                would.len()
            })
            .collect();
        assert_eq!(told, [0, 0, 1, 1, 1]);
    }
}

universal_test! {
    fn a_second_coming_of_a_callers_idempotency_key_is_a_retry_of_that_operation() {
        let limits = vec![limit("none", 0, &[], &[], ShedMode::Shadow)];
        let mut driver = Driver::limited(limits);
        let mut is_retry = |caller, operation, key: &[u8], ordinal| {
            let attempt = Attempt { ordinal, idempotency_key: Some(key), timeout_us: None };
            driver.send(operation, attempt, caller, None).2[0].is_retry
        };
        assert!(!is_retry("a", LIST, b"k1", 1));
        assert!(is_retry("a", LIST, b"k1", 1));
        assert!(!is_retry("b", LIST, b"k1", 1));
        assert!(!is_retry("a", CREATE, b"k1", 1));
        assert!(!is_retry("a", LIST, b"k2", 1));
        assert!(is_retry("a", LIST, b"k3", 2));
    }
}

universal_test! {
    fn what_one_limit_refuses_takes_nothing_of_another() {
        for limits in [
            vec![
                limit("all", 10, &[], &[], ShedMode::Enforce),
                limit("each", 3, &[RateKey::Caller], &[], ShedMode::Enforce),
            ],
            vec![
                limit("each", 3, &[RateKey::Caller], &[], ShedMode::Enforce),
                limit("all", 10, &[], &[], ShedMode::Enforce),
            ],
        ] {
            let mut driver = Driver::limited(limits);
            assert_eq!(driver.pass(1_000, LIST, "storms", None), 3);
            let others: Vec<usize> = ["a", "b", "c"].map(|caller| driver.pass(5, LIST, caller, None)).into();
            assert_eq!(others, [3, 3, 1]);
        }
        // Nor does what is shed.
        let limits = vec![limit("all", 10, &[], &[], ShedMode::Enforce)].into();
        let shedding = Shedding { mode: ShedMode::Enforce, concurrency_max: Some(1), limits, ..Shedding::default() };
        let mut driver = Driver::new(Some(shedding));
        let held = driver.send(LIST, Attempt::default(), "a", None).1.unwrap();
        for _ in 0..100 {
            assert_eq!(driver.send(LIST, Attempt::default(), "a", None).0, Some(Reason::ShedLoad));
        }
        driver.load.refused(held);
        assert!(driver.send(LIST, Attempt::default(), "a", None).1.is_some());
    }
}

universal_test! {
    fn what_is_shed_brings_no_answer_and_those_that_come_are_looked_at() {
        let most = Shedding { mode: ShedMode::Enforce, concurrency_max: Some(1), ..Shedding::default() };
        let mut driver = Driver::new(Some(most));
        for _ in 0..50 {
            // One of a hundred is let in, and answered after 20 ms.
            let mut held = driver.send(LIST, Attempt::default(), "a", None).1.expect("it has room");
            assert!(held.is_watched());
            for _ in 0..99 {
                assert!(driver.send(LIST, Attempt::default(), "a", None).1.is_none());
            }
            driver.now_us += 20_000;
            driver.load.answered(driver.now_us, &mut held, Answer::Good);
            driver.load.gone(None, held);
        }
    }
}

universal_test! {
    fn only_who_sheds_says_that_retries_are_of_no_use() {
        for (mode, expected) in [(ShedMode::Enforce, true), (ShedMode::Shadow, false)] {
            let mut driver = Driver::new(Some(Shedding { mode, ..Shedding::default() }));
            let marked = (0..200).filter(|_| {
                let mut held = driver.send(LIST, Attempt::default(), "a", None).1.expect("it has room");
                driver.now_us += 10_000;
                driver.load.answered(driver.now_us, &mut held, Answer::Failed);
                let marked = driver.load.tells_no_retry(&held);
                driver.load.gone(None, held);
                marked
            });
            assert_eq!(marked.count() > 100, expected, "{mode:?}");
        }
    }
}

universal_test! {
    fn that_there_is_nothing_any_more_is_told_once() {
        let mut driver = Driver::limited(vec![limit("all", 10, &[], &[], ShedMode::Enforce)]);
        let mut told = Vec::new();
        for second in 0..6 {
            driver.now_us += 1_000_000;
            if second == 2 {
                driver.pass(3, LIST, "a", None);
            }
            told.push(driver.load.tell(driver.now_us).map(|told| (told.span_us, told.taken.len())));
        }
        assert_eq!(told, [None, None, Some((1_000_000, 1)), Some((1_000_000, 0)), None, None]);
    }
}

universal_test! {
    fn a_caller_without_a_name_is_its_network() {
        let same = |one: &str, other: &str| caller_at(one.as_bytes()) == caller_at(other.as_bytes());
        assert!(same("10.0.0.1:80", "10.0.0.1:81"));
        assert!(!same("10.0.0.1:80", "10.0.0.2:80"));
        assert!(same("[2001:db8::1]:80", "[2001:db8::ffff:2]:81"));
        assert!(!same("[2001:db8::1]:80", "[2001:db8:0:1::1]:80"));
        assert!(same("[::ffff:10.0.0.1]:80", "10.0.0.1:90"));
        assert!(!same("@a", "@b"));
        assert!(same("", ""));
    }
}

universal_test! {
    fn an_update_in_mid_storm_forgets_nothing() {
        let most = Shedding { mode: ShedMode::Enforce, concurrency_max: Some(1), ..Shedding::default() };
        let mut driver = Driver::new(Some(most.clone()));
        let held = driver.send(LIST, Attempt::default(), "a", None).1.unwrap();
        // Another contract, in which the service has another number.
        let mut other = sample().services()[0].clone();
        other.name = "another".into();
        other.hosts = vec!["another".into()];
        let mut service = sample().services()[0].clone();
        service.shedding = Some(Box::new(most));
        let shift = u32::try_from(other.operations.len()).unwrap();
        driver.contract =
            Contract::assemble(BundleDigest([8; 32]), Vec::new(), vec![other, service], SchemaTable::default()).unwrap();
        let list = OperationIndex(LIST.0 + shift);
        assert_eq!(driver.send(list, Attempt::default(), "a", None).0, Some(Reason::ShedLoad));
        driver.load.gone(Some(START_US + 1), held);
        driver.now_us += 10_000_000;
        assert!(driver.send(list, Attempt::default(), "a", None).1.is_some());
    }
}

universal_test! {
    fn what_is_over_a_limit_is_told_how_long() {
        let mut driver = Driver::limited(vec![limit("slow", 1, &[], &[], ShedMode::Shadow)]);
        driver.pass(1, LIST, "a", None);
        let (_, _, would) = driver.send(LIST, Attempt::default(), "a", None);
        let Pushback::Later(later_ms) = would[0].pushback else { panic!("{would:?}") };
        assert!((60_000..=120_000).contains(&later_ms), "{later_ms}");
        assert_eq!(would[0].scope, ShedScope::Service);
    }
}

universal_test! {
    fn answers_say_whether_the_service_worked_and_whether_it_failed() {
        for (details, status, grpc_status, expected) in [
            (Some("via_upstream"), Some("200"), None, Answer::Good),
            (Some(""), Some("404"), None, Answer::Good),
            (None, Some("302"), None, Answer::Good),
            (Some("via_upstream"), Some("200"), Some("0"), Answer::Good),
            (Some("via_upstream"), Some("200"), Some("5"), Answer::Good),
            (Some("via_upstream"), Some("200"), Some("14"), Answer::Failed),
            (Some("via_upstream"), Some("500"), None, Answer::Failed),
            (Some("via_upstream"), Some("429"), None, Answer::Failed),
            (Some("via_upstream"), None, None, Answer::Failed),
            (Some("upstream_reset_before_response_started{connection_termination}"), Some("503"), None, Answer::Failed),
            (Some("response_timeout"), Some("504"), None, Answer::Failed),
            (Some("ext_authz_denied"), Some("403"), None, Answer::Refused),
            (Some("ext_authz_error"), Some("503"), None, Answer::Refused),
            (Some("no_healthy_upstream"), Some("503"), None, Answer::Refused),
        ] {
            let bytes = |text: Option<&'static str>| text.map(str::as_bytes);
            assert_eq!(answer_of(bytes(details), bytes(status), bytes(grpc_status)), expected, "{details:?} {status:?}");
        }
    }
}
