//! Requests that show what Palisade does: printed as curl lines to paste, or made by the tour itself.
//!
//! INVARIANT: both come from one list, so a line that is printed is a line that the tour proves.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use palisade_core::handoff;
use palisade_core::reason::Reason;
use serde_json::{Value, json};

use super::canary;
use super::http::{Body, Reply, Request, exchange, reachable};

const EXCHANGE: Duration = Duration::from_secs(10);

/// One request with what must come back, and what that shows.
#[derive(Debug, Clone)]
pub struct Scene {
    pub name: &'static str,
    pub shows: &'static str,
    pub request: Request,
    pub expect_status: u16,
    pub expect_reason: Option<&'static str>,
    /// The service that sees the request; none sees a refused one.
    reaches: Option<&'static str>,
}

/// A scene that was played, with what came back.
#[derive(Debug)]
pub struct Played<'a> {
    pub scene: &'a Scene,
    pub reply: io::Result<Reply>,
}

impl Scene {
    /// A line for a shell that makes this request of `listener`.
    pub fn curl(&self, listener: SocketAddr) -> String {
        let Request { method, target, host, headers, body } = &self.request;
        let mut line = "curl -sS -i --path-as-is".to_owned();
        let implied = if body.is_some() { "POST" } else { "GET" };
        if *method != implied {
            line.push_str(&format!(" -X {method}"));
        }
        line.push_str(&format!(" -H {}", quoted(&format!("host: {host}"))));
        for (name, value) in headers {
            line.push_str(&format!(" -H {}", quoted(&format!("{name}: {value}"))));
        }
        if let Some(Body { content_type, text }) = body {
            let header = quoted(&format!("content-type: {content_type}"));
            line.push_str(&format!(" -H {header} --data-raw {}", quoted(text)));
        }
        line.push_str(&format!(" {}", quoted(&format!("http://{}{target}", reachable(listener)))));
        line
    }

    /// For the ready object of `--json`.
    pub fn object(&self, listener: SocketAddr) -> Value {
        json!({"name": self.name, "shows": self.shows, "curl": self.curl(listener),
            "expect_status": self.expect_status, "expect_reason": self.expect_reason})
    }

    pub fn expected(&self) -> String {
        match self.expect_reason {
            Some(reason) => format!("{} {reason}", self.expect_status),
            None => self.expect_status.to_string(),
        }
    }
}

impl Played<'_> {
    pub fn is_as_expected(&self) -> bool {
        self.reply.as_ref().is_ok_and(|reply| {
            reply.status == self.scene.expect_status && reply.reason.as_deref() == self.scene.expect_reason
        })
    }

    pub fn got(&self) -> String {
        match &self.reply {
            Ok(reply) => reply.summary(),
            Err(error) => format!("no reply: {error}"),
        }
    }

    pub fn object(&self) -> Value {
        let decision_id = self.reply.as_ref().ok().and_then(|reply| reply.decision_id.as_deref());
        json!({"event": "tour", "name": self.scene.name, "shows": self.scene.shows,
            "expected": self.scene.expected(), "got": self.got(), "ok": self.is_as_expected(),
            "decision_id": decision_id})
    }
}

/// Makes a scene's request.
pub async fn play(scene: &Scene, listener: SocketAddr) -> Played<'_> {
    Played { scene, reply: exchange(listener, &scene.request, EXCHANGE).await }
}

/// The scenes that hold for the demo bundle when `upstreams` have taken the place of some of its services.
pub fn of_demo<'a>(
    api_key_header: &str,
    keys: &BTreeMap<String, String>,
    persons: Vec<Scene>,
    replaced: impl Fn(&str) -> bool + 'a,
) -> Vec<Scene> {
    let key = |client: &str| {
        let key = keys.get(client).cloned().unwrap_or_default();
        vec![(api_key_header.to_owned(), key)]
    };
    let web = |request: Request| Request { headers: key("web"), ..request };
    let support = |request: Request| Request { headers: key("support-tool"), ..request };

    let mut scenes = vec![
        passed("read", 200, "orders", "a permitted read reaches the service", web(get("/orders"))),
        passed("write", 201, "orders", "a permitted write, after its whole body was judged", web(post(LAMP))),
        passed("pay", 201, "payments", "another service behind the same listener, chosen by host", {
            let payment = r#"{"order_id":"o-1","amount_cents":1999}"#;
            web(Request::post_json("payments", "/payments", payment))
        }),
        passed("refund", 200, "payments", "another client, with other permissions", {
            support(Request::post_json("payments", "/payments/p-1/refund", r#"{"amount_cents":1}"#))
        }),
        passed("forged-handoff", 200, "orders", "a client's own handoff is thrown away", {
            let mut request = web(get("/orders/o-1"));
            request.headers.push((handoff::HEADER.to_owned(), "forged".to_owned()));
            request
        }),
    ];
    let refusals = [
        ("policy-denial", Reason::PolicyDenied, "a valid request of a known caller, and no permission", {
            web(Request { method: "DELETE", ..get("/orders/o-1") })
        }),
        ("refund-limit", Reason::PolicyDenied, "more than this caller may refund, by a field of the body", {
            support(Request::post_json("payments", "/payments/p-1/refund", r#"{"amount_cents":10001}"#))
        }),
        ("nobody", Reason::PolicyDenied, "without a credential there is no permission", get("/orders")),
        ("wrong-key", Reason::IdentityInvalid, "a credential that does not hold is not \"nobody\"", {
            Request { headers: vec![(api_key_header.to_owned(), "wrong".to_owned())], ..get("/orders") }
        }),
        ("malformed-body", Reason::JsonSyntax, "validation: the body is cut off", {
            web(post(r#"{"item":"lamp","quantity":"#))
        }),
        ("duplicate-key", Reason::JsonDuplicateKey, "validation: two answers to one question", {
            web(post(r#"{"item":"lamp","quantity":1,"quantity":1000}"#))
        }),
        (
            "off-contract",
            Reason::SchemaUndeclared,
            "validation: a property that the contract does not have",
            { web(post(r#"{"item":"lamp","quantity":1,"price":0}"#)) },
        ),
        (
            "parameter",
            Reason::SchemaNumber,
            "validation: a number out of its range",
            web(get("/orders?limit=0")),
        ),
        (
            "unknown-query",
            Reason::QueryNotDeclared,
            "what the contract does not declare is not asked for",
            web(get("/orders?sort=price")),
        ),
        ("content-type", Reason::ContentTypeNotDeclared, "validation: not what the contract accepts", {
            let body = Some(Body { content_type: "text/plain", text: "lamp".to_owned() });
            web(Request { body, ..post("") })
        }),
        (
            "unknown-path",
            Reason::OperationUnknown,
            "what the contract does not know does not exist",
            web(get("/orders/o-1/notes")),
        ),
        ("unknown-method", Reason::MethodNotDeclared, "a known path under an undeclared method", {
            web(Request { method: "PATCH", ..get("/orders/o-1") })
        }),
        (
            "encoded-slash",
            Reason::PathEncodedSeparator,
            "two readings of one path are refused",
            web(get("/orders/o-1%2Fnotes")),
        ),
    ];
    scenes.extend(refusals.map(refused));
    scenes.extend(persons);
    scenes.retain(|scene| !scene.reaches.is_some_and(&replaced));
    scenes.extend(of_any_bundle());
    scenes
}

/// The scenes that hold for every bundle, because no service sees them.
pub fn of_any_bundle() -> Vec<Scene> {
    let [unknown, known, malformed] = canary::requests();
    let refusals = [
        (
            "unknown-host",
            Reason::HostUnknown,
            "no service of the bundle has this name",
            Request::get("nobody.invalid", "/"),
        ),
        ("canary-unknown", Reason::OperationUnknown, "the filter refuses what no contract knows", unknown),
        ("canary-body", Reason::JsonSyntax, "the gate holds a write until its body was judged", malformed),
        ("canary-decision", Reason::Canary, "the server was asked, and believed the filter", known),
    ];
    refusals.map(refused).into()
}

const LAMP: &str = r#"{"item":"lamp","quantity":2}"#;

fn get(target: &str) -> Request {
    Request::get("orders", target)
}

fn post(text: &str) -> Request {
    Request::post_json("orders", "/orders", text)
}

pub(super) fn passed(
    name: &'static str,
    expect_status: u16,
    service: &'static str,
    shows: &'static str,
    request: Request,
) -> Scene {
    Scene { name, shows, request, expect_status, expect_reason: None, reaches: Some(service) }
}

pub(super) fn refused(
    (name, reason, shows, request): (&'static str, Reason, &'static str, Request),
) -> Scene {
    let (expect_status, expect_reason) = (reason.status(), Some(reason.code()));
    Scene { name, shows, request, expect_status, expect_reason, reaches: None }
}

/// What was played, as a table for people.
pub fn table(played: &[Played<'_>]) -> String {
    let header = ["", "scene", "host", "request", "expected", "got", "shows"].map(str::to_owned);
    let rows = played.iter().map(|played| {
        let Scene { name, shows, request, .. } = played.scene;
        let mark = if played.is_as_expected() { "✓" } else { "✗" };
        let asked = format!("{} {}", request.method, request.target);
        let (expected, got) = (played.scene.expected(), played.got());
        let (mark, name, shows) = (mark.to_owned(), (*name).to_owned(), (*shows).to_owned());
        [mark, name, request.host.clone(), asked, expected, got, shows]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A word that every POSIX shell reads as `text`.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::process::Command;

    fn keys() -> BTreeMap<String, String> {
        BTreeMap::from([
            ("web".to_owned(), "k-web".to_owned()),
            ("support-tool".to_owned(), "k-sup".to_owned()),
        ])
    }

    #[test]
    fn names_are_unique_and_every_refusal_has_a_reason() {
        let scenes = of_demo("x-api-key", &keys(), Vec::new(), |_| false);
        let names: BTreeSet<_> = scenes.iter().map(|scene| scene.name).collect();
        assert_eq!(names.len(), scenes.len());
        for scene in &scenes {
            assert_eq!(scene.expect_reason.is_some(), scene.expect_status >= 400, "{}", scene.name);
        }
    }

    #[test]
    fn a_replaced_service_is_not_called_but_its_refusals_stay() {
        let scenes = of_demo("x-api-key", &keys(), Vec::new(), |service| service == "orders");
        assert!(scenes.iter().all(|scene| scene.reaches != Some("orders")));
        assert!(scenes.iter().any(|scene| scene.name == "policy-denial"));
        assert!(scenes.iter().any(|scene| scene.name == "pay"));
    }

    #[test]
    fn the_key_of_the_client_goes_along_in_the_bundles_header() {
        let scenes = of_demo("x-shop-key", &keys(), Vec::new(), |_| false);
        let refund = scenes.iter().find(|scene| scene.name == "refund").unwrap();
        assert_eq!(refund.request.headers, [("x-shop-key".to_owned(), "k-sup".to_owned())]);
    }

    #[test]
    fn a_curl_line_is_read_back_by_a_shell_as_it_was_meant() {
        let scenes = of_demo("x-api-key", &keys(), Vec::new(), |_| false);
        let scene = scenes.iter().find(|scene| scene.name == "malformed-body").unwrap();
        let line = scene.curl("127.0.0.1:10000".parse().unwrap());
        let printed =
            Command::new("sh").args(["-c", &line.replacen("curl", "printf '%s\\n'", 1)]).output().unwrap();
        let words: Vec<_> = str::from_utf8(&printed.stdout).unwrap().lines().collect();
        assert_eq!(
            words,
            [
                "-sS",
                "-i",
                "--path-as-is",
                "-H",
                "host: orders",
                "-H",
                "x-api-key: k-web",
                "-H",
                "content-type: application/json",
                "--data-raw",
                r#"{"item":"lamp","quantity":"#,
                "http://127.0.0.1:10000/orders"
            ]
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn the_table_is_aligned_and_marks_differences() {
        let scenes = of_any_bundle();
        let reply =
            |reason: &str| Ok(Reply { status: 404, reason: Some(reason.to_owned()), decision_id: None });
        let played = [
            Played { scene: &scenes[0], reply: reply("host_unknown") },
            Played { scene: &scenes[1], reply: reply("host_unknown") },
            Played { scene: &scenes[2], reply: Err(io::ErrorKind::ConnectionRefused.into()) },
        ];
        assert_eq!(played.each_ref().map(Played::is_as_expected), [true, false, false]);
        let text = table(&played);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("✓  unknown-host"));
        assert!(lines[2].starts_with("✗  canary-unknown"));
        let column = |line: &str, of: &str| line.split_once(of).unwrap().0.chars().count();
        assert_eq!(column(lines[1], "404"), column(lines[2], "404"));
        assert_eq!(column(lines[0], "shows"), column(lines[1], "no service"));
    }
}
