//! `palisade dev` while its bundle is edited: server and filter follow, nothing is restarted, and it is said.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tests::binaries::workspace_dir;
use tests::deadline::{eventually, poll};
use tests::raw_client::{Outcome, RawConnection, Reply, send};
use tests::rig::{START_TIMEOUT, Target};

use super::{digest, read, save, text};
use crate::drills::Dev;
use crate::handoff::copy_dir;

/// `PALISADE_SAVES` makes it more, and demands what is promised: a median under a second.
const SAVES: usize = 2;
const PROMISED: Duration = Duration::from_secs(1);

fn saves() -> Option<usize> {
    std::env::var("PALISADE_SAVES")
        .ok()
        .map(|text| text.parse().expect("`PALISADE_SAVES` is a number of saves"))
}

/// A run whose bundle may be edited, ready for requests.
struct Edited {
    dev: Dev,
    home: TempDir,
    listen: SocketAddr,
    key: String,
}

impl Edited {
    fn start(target: Target) -> Self {
        let home = tempfile::tempdir().expect("make a directory");
        let bundle = home.path().join("bundle");
        copy_dir(&workspace_dir().join("policies"), &bundle);
        let mut dev = Dev::of_bundle(&bundle, target);
        let ready = dev.wait_for("ready", |event| event["event"] == "ready");
        let listen = text(&ready, "listen").parse().expect("an address");
        let key = text(&ready["credentials"], "web");
        Self { dev, home, listen, key }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join("bundle").join(path)
    }

    fn request(&self, host: &str, method: &str, path: &str) -> String {
        self.request_with(&self.key, host, method, path)
    }

    fn request_with(&self, key: &str, host: &str, method: &str, path: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\n\r\n")
    }

    fn ask(&self, host: &str, method: &str, path: &str) -> Reply {
        send(self.listen, self.request(host, method, path)).expect_reply()
    }

    /// Waits until the run says that server and filter work with what the directory holds.
    #[track_caller]
    fn wait_until_in_force(&mut self) -> Value {
        let expected = digest(&self.at(""));
        self.dev.wait_for("the bundle is in force", |event| {
            event["event"] == "reload" && event["result"] == "in_force" && event["digest"] == *expected
        })
    }
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let before = read(path);
    let after = change(before.clone());
    assert_ne!(after, before, "an edit of {}", path.display());
    save(path, &after);
}

#[test]
fn a_service_comes_and_goes_without_a_restart() {
    for target in Target::ALL {
        let mut edited = Edited::start(target);
        // A connection that is open all the while.
        let mut connection = RawConnection::open(edited.listen).expect("connect");
        let mut ask = |request: String| match connection.exchange(request.as_bytes()) {
            Outcome::Reply(reply) => (reply.status, reply.reason().unwrap_or_default()),
            other => panic!("the open connection: {other:?}"),
        };
        let list = edited.request("orders", "GET", "/orders");
        assert_eq!(ask(list.clone()), (200, String::new()));
        assert_eq!(edited.ask("returns", "GET", "/payments/p-1").reason().as_deref(), Some("host_unknown"));

        // A folder more, a policy that permits it, and a client that may use it.
        copy_dir(&edited.at("services/payments"), &edited.at("../returns"));
        edit(&edited.at("../returns/service.yaml"), |rules| {
            // Nothing that stands in for a service keeps to its contract.
            rules.replace("payments", "returns").replace("head: enforce", "head: report")
        });
        fs::rename(edited.at("../returns"), edited.at("services/returns")).expect("put a service in place");
        save(
            &edited.at("returns.cedar"),
            "@id(\"returns\") permit (principal == Client::\"desk\", action in Action::\"returns\", resource);\n",
        );
        edit(&edited.at("entities/people.yaml"), |people| {
            people.replace("clients:\n", "clients:\n  desk: {}\n")
        });
        let event = edited.wait_until_in_force();
        let key = text(&event["credentials"], "desk");
        assert!(event["services_started"]["returns"].is_string(), "{event}");
        let request = edited.request_with(&key, "returns", "GET", "/payments/p-1");
        // The key comes into force by itself, a moment later.
        let reply = eventually("the new client is known", START_TIMEOUT, || {
            let reply = send(edited.listen, &request).expect_reply();
            (reply.reason().as_deref() != Some("identity_invalid")).then_some(reply)
        });
        assert_eq!((reply.status, reply.reason()), (501, None), "the stand-in answers on {}", target.name());
        assert_eq!(ask(list.clone()), (200, String::new()));
        assert_eq!(ask(request), (501, String::new()), "on the connection that was open, too");

        fs::remove_dir_all(edited.at("services/returns")).expect("remove a folder");
        save(&edited.at("returns.cedar"), "");
        edited.wait_until_in_force();
        assert_eq!(edited.ask("returns", "GET", "/payments/p-1").reason().as_deref(), Some("host_unknown"));
        assert_eq!(ask(list), (200, String::new()));
        let starts = edited.dev.events().into_iter().filter(|event| event["step"] == "start Envoy").count();
        assert_eq!(starts, 2, "it began to start Envoy once, and was done once");
    }
}

#[test]
fn a_mistake_is_told_with_its_place_and_everything_goes_on() {
    let mut edited = Edited::start(Target::Envoy);
    let before = digest(&edited.at(""));
    edit(&edited.at("guardrails.cedar"), |policies| policies + "permit (principal\n");
    let event = edited.dev.wait_for("the refusal", |event| event["result"] == "refused");
    assert!(text(&event["problems"][0], "place").starts_with("guardrails.cedar:"), "{event}");
    assert_eq!(text(&event, "digest"), before);
    assert_eq!(edited.ask("orders", "GET", "/orders").status, 200);
    edit(&edited.at("guardrails.cedar"), |policies| policies.replace("permit (principal\n", ""));
    edited.dev.wait_for("the way back", |event| event["event"] == "reload" && event["result"] == "unchanged");
    // The run's own canaries are not shown as decisions.
    edit(&edited.at("guardrails.cedar"), |policies| policies + "// More.\n");
    edited.wait_until_in_force();
    edited.ask("orders", "GET", "/orders");
    edited.dev.wait_for("the decision", |event| event["event"] == "decision" && event["caller"] == "web");
    let canaries = |event: &Value| {
        event["event"] == "decision"
            && text(event, "operation").contains("canary")
            && event["decision"] != "reject"
    };
    assert_eq!(edited.dev.events().iter().filter(|event| canaries(event)).count(), 0);
}

/// In Istio's shape one setting holds for all operations of a service, so that a bundle may be good for the server and
/// cannot be given to the filter.
#[test]
fn what_the_filter_cannot_be_given_is_said() {
    let mut edited = Edited::start(Target::Istio);
    let before = digest(&edited.at(""));
    edit(&edited.at("services/orders/service.yaml"), |rules| {
        rules.replace("operations:\n", "operations:\n  getOrder:\n    upgrade: websocket\n")
    });
    let event = edited.dev.wait_for("what became of it", |event| {
        event["event"] == "reload" && ["filter_stays", "refused"].contains(&text(event, "result").as_str())
    });
    assert_eq!(
        (text(&event, "result").as_str(), text(&event, "filter")),
        ("filter_stays", before),
        "{event}"
    );
    assert!(text(&event, "message").contains("operation `getOrder` is a stream"), "{event}");
    assert_eq!(edited.ask("orders", "GET", "/orders").status, 200, "the server honours the filter's bundle");
    edit(&edited.at("services/orders/service.yaml"), |rules| {
        rules.replace("  getOrder:\n    upgrade: websocket\n", "") + "# x\n"
    });
    edited.wait_until_in_force();
}

/// Saves a change and its contrary in turn, and asks until each is in force; how long each took.
fn measure(
    edited: &Edited,
    count: usize,
    mut change: impl FnMut(bool),
    is_changed: impl Fn() -> bool,
) -> Vec<Duration> {
    let mut took = Vec::with_capacity(count);
    for index in 0..count {
        let on = index % 2 == 0;
        change(on);
        let saved = Instant::now();
        let effect = poll(START_TIMEOUT, || (is_changed() == on).then(|| saved.elapsed()));
        took.push(
            effect.unwrap_or_else(|| panic!("save {index} took no effect: {:?}", edited.dev.events().last())),
        );
    }
    took.sort();
    took
}

#[test]
fn a_save_takes_effect() {
    let full_size = saves();
    let count = full_size.unwrap_or(SAVES);
    for target in Target::ALL {
        let edited = Edited::start(target);
        let (policies, openapi) = (edited.at("guardrails.cedar"), edited.at("services/orders/openapi.yaml"));
        let (permissive, old_paths) = (read(&policies), read(&openapi));
        let strict = format!(
            "{permissive}@id(\"stop\") forbid (principal, action == Action::\"orders.listOrders\", resource);\n"
        );
        let new_paths = old_paths.replace("/orders/{orderId}:", "/order-book/{orderId}:");
        assert_ne!(new_paths, old_paths);
        let by_policy = measure(
            &edited,
            count,
            |on| save(&policies, if on { &strict } else { &permissive }),
            || edited.ask("orders", "GET", "/orders").status == 403,
        );
        let by_contract = measure(
            &edited,
            count,
            |on| save(&openapi, if on { &new_paths } else { &old_paths }),
            || edited.ask("orders", "GET", "/order-book/o-1").reason().is_none(),
        );
        for (what, took) in [("a policy", by_policy), ("a contract", by_contract)] {
            let median = took[took.len() / 2];
            let (least, most) = (took[0], took[took.len() - 1]);
            println!(
                "{} on {}: save to effect, {count} times, median {median:?} ({least:?} to {most:?})",
                what,
                target.name()
            );
            assert!(full_size.is_none() || median < PROMISED, "{what}: {median:?}");
        }
    }
}
