//! What filter and server see of a request: headers as Envoy tells of them, paths as it leaves them, peers by certificate.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::deadline::eventually;
use tests::pki::{Pki, SERVER_NAME};
use tests::ports::free_addr;
use tests::raw_client::{self, Reply};
use tests::rig::Target;

use super::ask::{Ask, Wire};
use super::stage::{Listener, SOON, Scene, Stage, configure};

static ENVOY: LazyLock<Stage> = LazyLock::new(|| Stage::start("view", Target::Envoy, prepare));
static ISTIO: LazyLock<Stage> = LazyLock::new(|| Stage::start("view", Target::Istio, prepare));

fn stages() -> [&'static Stage; 2] {
    [&ENVOY, &ISTIO]
}

fn prepare(scene: &mut Scene) {
    scene.cluster_like("down", "palisade-server", free_addr());
    scene.listener("rendered", |_| {});
    scene.listener("upgrades", |listener| {
        listener.manager()["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
    });
    scene.listener("raw headers", |listener| listener.ext_authz()["encode_raw_headers"] = true.into());
    for (name, down, status) in
        [("error", false, None), ("down", true, None), ("error 503", false, Some("ServiceUnavailable"))]
    {
        scene.listener(name, |listener| {
            if down {
                listener.ext_authz()["grpc_service"]["envoy_grpc"]["cluster_name"] = "down".into();
            }
            match status {
                Some(status) => listener.ext_authz()["status_on_error"]["code"] = status.into(),
                None => {
                    let settings = listener.ext_authz().as_object_mut().expect("settings");
                    settings.shift_remove("status_on_error");
                }
            }
        });
    }
    scene.listener("no timeout", |listener| {
        let service = listener.ext_authz()["grpc_service"].as_object_mut().expect("a service");
        service.shift_remove("timeout");
    });
    scene.listener("early", |listener| {
        labelled(listener, "early");
        listener.manager()["path_with_escaped_slashes_action"] = "REJECT_REQUEST".into();
    });
    scene.listener("routeless", |listener| labelled(listener, "routeless"));
    scene.listener("late", |listener| {
        labelled(listener, "late");
        let front = listener.second_probe("front", "x-front");
        listener.filters().insert(0, front);
    });
}

fn labelled(listener: &mut Listener, label: &str) {
    listener.own_probe(|plugin| {
        configure(plugin, &format!("label {label}"));
        plugin["config"]["name"] = label.into();
        plugin["config"]["root_id"] = label.into();
    });
}

#[test]
fn the_check_joins_duplicate_headers_and_replaces_bytes_that_are_not_utf8() {
    for stage in stages() {
        let ask = Ask::get().header("x-twice", "a").header("x-twice", "b, c").header("X-Twice", "d");
        let mut request = ask.head("").into_bytes();
        request.truncate(request.len() - 2);
        request.extend_from_slice(b"x-bytes: a\xff\xc3b\r\nx-utf8: \xc3\xa4\r\n\r\n");
        assert_eq!(stage.send("rendered", &request).expect_reply().status, 200);
        let check = stage.authz.check(&ask.tag);
        assert_eq!(check.header("x-twice").as_deref(), Some("a,b, c,d"));
        assert_eq!(check.header("x-bytes").as_deref(), Some("a!!b"));
        assert_eq!(check.header("x-utf8").as_deref(), Some("\u{e4}"));
        // The service gets what was sent.
        let requests = stage.spy.requests();
        let seen = requests.iter().find(|request| request.target == ask.path.as_bytes()).expect("it arrived");
        assert_eq!(seen.header("x-bytes"), Some(b"a\xff\xc3b".as_slice()));
        assert_eq!(seen.headers.iter().filter(|(name, _)| name == b"x-twice").count(), 3);
    }
}

#[test]
fn some_headers_are_joined_before_the_filter_and_an_empty_one_is_dropped() {
    const JOINED: [&str; 5] = ["authorization", "expect", "if-match", "if-none-match", "if-unmodified-since"];
    for stage in stages() {
        for (name, expected) in JOINED.map(|name| (name, "a,b")).into_iter().chain([("x-twice", "a")]) {
            let ask = Ask::get().script(&format!("head get {name}|head reply 422 -1 no"));
            let ask = ask.header(name, "a").header(name, "").header(name, "b");
            assert_eq!(stage.ask("rendered", &ask).status, 422, "{name}");
            let seen = stage.event(&ask.tag, &format!("head:get_{name} "));
            assert_eq!(seen, format!("status=0 value={expected}"), "{name} in {}", stage.target.name());
        }
    }
}

#[test]
fn what_the_connection_header_names_is_gone_before_the_filter_except_of_an_upgrade() {
    for stage in stages() {
        for (connection, upgrade, removed) in [
            ("keep-alive, X-Named", None, true),
            ("close, x-named", None, true),
            ("upgrade, x-named", Some("websocket"), false),
        ] {
            let ask = Ask::get().script("head get x-named|head get connection|head reply 422 -1 no");
            let ask = ask.header("x-named", "a").header("connection", connection);
            let ask = upgrade.into_iter().fold(ask, |ask, protocol| ask.header("upgrade", protocol));
            assert_eq!(stage.ask("upgrades", &ask).status, 422);
            let seen = |name: &str| stage.event(&ask.tag, &format!("head:get_{name} "));
            let (named, left) = if removed {
                ("status=1 value=".to_owned(), "status=1 value=".to_owned())
            } else {
                ("status=0 value=a".to_owned(), format!("status=0 value={connection}"))
            };
            assert_eq!(seen("x-named"), named, "{connection} in {}", stage.target.name());
            assert_eq!(seen("connection"), left, "{connection} in {}", stage.target.name());
        }
    }
}

/// The status and the events of a request without a tag. Only one test asks at each such listener.
fn untagged(stage: &Stage, label: &str, request: &str) -> (u16, Vec<String>) {
    let mark = format!("[{label}] - ");
    let before = stage.lines(&mark).len();
    let status = stage.send(label, request).expect_reply().status;
    let end = format!("{mark}log");
    let lines = eventually("the request is logged", SOON, || {
        let lines = stage.lines(&mark);
        lines[before..].iter().any(|line| line.contains(&end)).then_some(lines)
    });
    let event = |line: &String| line.split(&mark).nth(1).unwrap_or_default().to_owned();
    (status, lines[before..].iter().map(event).collect())
}

#[test]
fn raw_headers_in_a_check_are_what_istios_provider_cannot_turn_on() {
    for stage in stages() {
        let ask = Ask::get().header("x-twice", "a").header("x-twice", "b");
        let mut request = ask.head("").into_bytes();
        request.truncate(request.len() - 2);
        request.extend_from_slice(b"x-bytes: a\xffb\r\n\r\n");
        assert_eq!(stage.send("raw headers", &request).expect_reply().status, 200);
        let checks = stage.authz.checks(&ask.tag);
        let raw = |name: &str| -> Vec<Vec<u8>> {
            let headers = checks.iter().flat_map(|check| check.http().header_map).flat_map(|map| map.headers);
            headers.filter(|header| header.key == name).map(|header| header.raw_value).collect()
        };
        assert_eq!(raw("x-twice"), [b"a", b"b"]);
        assert_eq!(raw("x-bytes"), [b"a\xffb"]);
    }
}

#[test]
fn the_log_callback_comes_alone_where_envoy_refuses_before_the_chain() {
    for stage in stages() {
        for request in ["GET /nohost HTTP/1.1\r\n\r\n", "GET /a%2Fb HTTP/1.1\r\nhost: orders\r\n\r\n"] {
            assert_eq!(untagged(stage, "early", request), (400, vec!["log".to_owned()]));
        }
    }
}

#[test]
fn a_reply_of_a_filter_before_ours_shows_us_the_log_callback_and_nothing_else() {
    for stage in stages() {
        let request = "GET / HTTP/1.1\r\nhost: orders\r\nx-front: head reply 401 -1 no\r\n\r\n";
        assert_eq!(untagged(stage, "late", request), (401, vec!["log".to_owned()]));
    }
}

#[test]
fn without_a_route_the_chain_runs_and_the_router_answers_404() {
    for stage in stages() {
        for request in [
            "GET / HTTP/1.1\r\nhost: nobody.example\r\n\r\n",
            "CONNECT orders:80 HTTP/1.1\r\nhost: orders:80\r\n\r\n",
        ] {
            let (status, events) = untagged(stage, "routeless", request);
            assert_eq!(status, 404);
            assert!(events[0].starts_with("head ") && events[1].starts_with("rhead "), "{events:?}");
        }
    }
}

#[test]
fn an_error_of_ext_authz_is_a_403_by_default_and_what_is_configured_otherwise() {
    for stage in stages() {
        for (listener, status) in [("error", 403), ("down", 403), ("error 503", 503)] {
            let ask = Ask::get().answer("error");
            assert_eq!(stage.ask(listener, &ask).status, status, "{listener}");
            assert!(!stage.is_seen(&ask.tag));
        }
    }
}

#[test]
fn a_check_without_a_timeout_of_ours_ends_after_200_ms_and_its_call_is_dropped() {
    for stage in stages() {
        let ask = Ask::get().answer("hang");
        let start = Instant::now();
        assert_eq!(stage.ask("no timeout", &ask).status, 403);
        let took = start.elapsed();
        assert!(
            (Duration::from_millis(150)..Duration::from_millis(1_500)).contains(&took),
            "it took {took:?}"
        );
        assert!(stage.authz.abandoned_within(&ask.tag, SOON), "the future of the call is dropped");
        // As rendered it may take longer.
        let ask = Ask::get().answer("hang");
        let mut wire = Wire::open(stage.addr("rendered"));
        wire.write(ask.head(""));
        assert!(!wire.read_until("HTTP", Duration::from_millis(1_500)), "{}", wire.text());
        assert!(wire.read_until("HTTP/1.1 403", SOON), "{}", wire.text());
    }
}

/// As sent, and as a filter in Istio sees it. Our own Envoy changes nothing.
const PATHS: [(&str, &str); 11] = [
    ("/a/../b", "/b"),
    ("/a/./b", "/a/b"),
    ("/a/%2e%2e/b", "/b"),
    ("/%61", "/a"),
    ("/a\\b", "/a/b"),
    ("//a//b", "//a//b"),
    ("/a%2Fb", "/a%2Fb"),
    ("/a%5Cb", "/a%5Cb"),
    ("/a;x/b", "/a;x/b"),
    ("/A", "/A"),
    ("/a?x=/../y", "/a?x=/../y"),
];

#[test]
fn paths_are_normalised_before_the_filter_in_istio_and_not_in_our_own_envoy() {
    for (sent, normalised) in PATHS {
        for (stage, expected) in [(&*ENVOY, sent), (&*ISTIO, normalised)] {
            let ask = Ask::get().script("head get :path|head reply 422 -1 no").path(sent);
            assert_eq!(stage.ask("rendered", &ask).status, 422);
            let seen = stage.event(&ask.tag, "head:get_:path status=0 value=");
            assert_eq!(seen, expected.replace('\\', "\\\\"), "{sent} in {}", stage.target.name());
        }
    }
}

fn send_as(stage: &Stage, pki: &Pki, uris: &[&str], ask: &Ask) -> Reply {
    let identity = pki.client(&ask.tag, uris);
    let config = pki.client_config(Some(&identity));
    raw_client::send_tls(stage.addr("main"), &config, SERVER_NAME, ask.head("")).expect_reply()
}

static TLS: LazyLock<[(Stage, Pki); 2]> =
    LazyLock::new(|| Target::ALL.map(|target| Stage::start_tls("tls", target, |_| {})));

const ONE: &str = "spiffe://shop.example/ns/a/sa/one";
const TWO: &str = "spiffe://evil.example/ns/b/sa/two";

#[test]
fn the_principal_is_the_first_uri_of_the_certificate_and_without_one_its_subject() {
    for (stage, pki) in &*TLS {
        for (uris, principal) in [([ONE, TWO].as_slice(), ONE), (&[TWO, ONE], TWO), (&[ONE], ONE)] {
            let ask = Ask::get();
            assert_eq!(send_as(stage, pki, uris, &ask).status, 200);
            assert_eq!(stage.authz.check(&ask.tag).principal(), principal);
        }
        let ask = Ask::get();
        assert_eq!(send_as(stage, pki, &[], &ask).status, 200);
        assert_eq!(stage.authz.check(&ask.tag).principal(), format!("CN={}", ask.tag));
    }
}

#[test]
fn a_forged_element_of_forwarded_certificates_comes_first_in_istio_and_none_is_left_in_our_own_envoy() {
    const XFCC: &str = "x-forwarded-client-cert";
    for (stage, pki) in &*TLS {
        let forged = "By=spiffe://x;Hash=00;URI=spiffe://shop.example/ns/admin/sa/root";
        let ask = Ask::get().header(XFCC, forged);
        assert_eq!(send_as(stage, pki, &[ONE], &ask).status, 200);
        let forwarded = stage.authz.check(&ask.tag).header(XFCC);
        match stage.target {
            Target::Envoy => assert_eq!(forwarded, None),
            Target::Istio => {
                let forwarded = forwarded.expect("it is appended to");
                let (first, last) = forwarded.rsplit_once(',').expect("two elements");
                assert_eq!(first, forged);
                assert!(last.ends_with(&format!("URI={ONE}")) && last.contains("Hash="), "{last}");
            }
        }
        // Who is asked about is the peer, whatever it forwards.
        assert_eq!(stage.authz.check(&ask.tag).principal(), ONE);
    }
}
