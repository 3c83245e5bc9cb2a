//! What people write in `tests/**/*.yaml`: the keys, and the few values that have a short form.
//!
//! INVARIANT: what is read here is a request that HTTP can carry; what it means to the bundle is asked in `checked`.

use crate::bundle::Problem;
use crate::bundle::entities::Attributes;
use crate::bundle::record::{Named, Placed, Read, Reader, RecordKeys, choice, record};
use crate::bundle::yaml::{Node, Value};
use serde::de::IgnoredAny;

record! {
    /// `tests/**/*.yaml`: requests, and what the whole proxy must answer.
    pub struct CasesFile {
        /// The service that the file's requests go to, unless they name a service or a host themselves.
        optional service: Option<Placed<String>>,
        /// The cases, in the order in which they are reported.
        required cases: Vec<CaseRules>,
    }
}

record! {
    /// `cases[]`: every one of its callers makes every one of its requests, and all get the same answer.
    pub struct CaseRules {
        /// What the case shows. Unique in its file.
        required name: Placed<String>,
        /// Who calls. Give `caller` or `callers`.
        optional caller: Option<CallerRules>,
        /// Several callers.
        optional callers: Vec<CallerRules>,
        /// What is asked. Give `request` or `requests`.
        optional request: Option<RequestRules>,
        /// Several requests.
        optional requests: Vec<RequestRules>,
        /// What the proxy must answer.
        required expect: ExpectRules,
    }
}

record! {
    /// A caller with a credential: exactly one of `client`, `workload`, `user` and `stranger`.
    pub struct ProvenCaller {
        /// A client of the bundle, which shows its API key.
        optional client: Option<Placed<String>>,
        /// A workload of the bundle, by SPIFFE id, which shows its certificate.
        optional workload: Option<Placed<String>>,
        /// A workload by SPIFFE id that the bundle does not list, with a genuine certificate nevertheless.
        optional stranger: Option<Placed<String>>,
        /// A person, by issuer and subject, `corp/alice`, who shows a token.
        optional user: Option<Placed<String>>,
        /// With `user`: the groups that the token says.
        optional groups: Option<Placed<Vec<String>>>,
        /// With `user`: the roles that the token says.
        optional roles: Option<Placed<Vec<String>>>,
        /// With `user`: the attributes that the token says: texts, whole numbers, `true`, `false`, lists of texts.
        optional attributes: Option<Placed<Attributes>>,
        /// With `user` or `client`: what the token or the key is good for. Absent: it does not say.
        optional scopes: Option<Placed<Vec<String>>>,
        /// With `client` or `user`: the workload, by SPIFFE id, whose connection carries the call.
        optional through: Option<Placed<String>>,
    }
}

record! {
    /// A request. `GET /orders` is short for `{method: GET, path: /orders}`.
    pub struct RequestKeys {
        /// The method, as it is sent.
        required method: Placed<String>,
        /// The path with its query, as it is sent: nothing is encoded for you.
        required path: Placed<String>,
        /// The service, called by the first of its hosts. Absent: the file's.
        optional service: Option<Placed<String>>,
        /// The host, as it is sent. Not together with `service`.
        optional host: Option<Placed<String>>,
        /// Headers by name. A list of texts sends the header several times.
        optional headers: Named<HeaderTexts>,
        /// A text is sent as it is written. Anything else is sent as JSON, with that content type unless `headers`
        /// names another.
        optional body: Option<Placed<Body>>,
    }
}

record! {
    /// `expect`.
    pub struct ExpectRules {
        /// What the caller gets.
        required decision: Expected,
        /// The reason code of the denial. Absent: any.
        optional reason: Option<Placed<String>>,
        /// All policies that determine the decision, by `@id`, in any order; `[]`: none permits. Absent: any.
        optional policies: Option<Vec<Placed<String>>>,
        /// What would be decided if the shadow policies counted. Absent: not looked at.
        optional shadow: Option<Placed<ShadowRules>>,
    }
}

record! {
    /// `expect.shadow`.
    pub struct ShadowRules {
        /// What the caller would get.
        required decision: Expected,
        /// All policies that would determine it. Absent: any.
        optional policies: Option<Vec<Placed<String>>>,
    }
}

choice! {
    /// A decision as it is written.
    pub enum Expected: "`allow` or `deny`" {
        Allow = "allow",
        Deny = "deny",
    }
}

record! {
    /// A file for `palisade explain`: one request, as a case of a test describes it.
    pub struct RequestFile {
        /// The service that the request goes to, unless it names a service or a host itself.
        optional service: Option<Placed<String>>,
        /// Who calls.
        required caller: CallerRules,
        /// What is asked.
        required request: RequestRules,
    }
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum CallerRules {
    Anonymous,
    Proven(Box<Placed<ProvenCaller>>),
}

impl Read for CallerRules {
    const EXPECTED: &'static str = "`anonymous` or a map";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "anonymous" => Some(CallerRules::Anonymous),
            Value::Text(text) => {
                let problem = Problem::new(
                    reader.place(node.at),
                    format!("expected {}, found `{text}`", Self::EXPECTED),
                );
                let help = "a caller is `anonymous`, `{client: name}`, `{user: issuer/name}`, `{workload: spiffe://…}` or `{stranger: spiffe://…}`";
                reader.push(problem.suggest(text, ["anonymous"]).help(help));
                None
            }
            _ => Placed::read(node, reader).map(Box::new).map(CallerRules::Proven),
        }
    }

    fn record() -> Option<&'static RecordKeys> {
        Some(&ProvenCaller::KEYS)
    }
}

/// What is asked, with the place of all of it.
#[derive(Debug, Clone)]
pub struct RequestRules(pub(super) RequestKeys);

impl Read for RequestRules {
    const EXPECTED: &'static str = "a text such as `GET /orders`, or a map";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Text(line) = &node.value else {
            return RequestKeys::read(node, reader).map(RequestRules);
        };
        let Some((method, path)) = line.split_once(' ') else {
            let help = "the short form is a method, a space and a path: `GET /orders?limit=1`";
            reader.wrong(node.at, format!("expected a request, found `{line}`"), help);
            return None;
        };
        let placed = |text: &str| Placed { value: text.to_owned(), at: node.at };
        Some(RequestRules(RequestKeys {
            method: placed(method),
            path: placed(path),
            service: None,
            host: None,
            headers: Named::default(),
            body: None,
        }))
    }

    fn record() -> Option<&'static RecordKeys> {
        Some(&RequestKeys::KEYS)
    }
}

/// One header's values.
#[derive(Debug, Clone)]
pub struct HeaderTexts(pub(super) Vec<Placed<String>>);

impl Read for HeaderTexts {
    const EXPECTED: &'static str = "a text or a list of texts";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::read(node, reader).map(HeaderTexts),
            _ => Placed::read(node, reader).map(|text| HeaderTexts(vec![text])),
        }
    }
}

/// The bytes of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// As it was written.
    Text(String),
    /// JSON made from the value.
    Json(String),
}

impl Read for Body {
    const EXPECTED: &'static str =
        "a text, which is sent as it is, or any other value, which is sent as JSON";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(Body::Text(text.clone())),
            Value::Null => {
                let help = "leave `body` out where there is none; for the JSON value write `body: \"null\"` and its content type";
                reader.wrong(node.at, "the body is empty", help);
                None
            }
            _ => {
                let mut json = String::new();
                write_json(node, &mut json, reader)?;
                Some(Body::Json(json))
            }
        }
    }
}

fn write_json(node: &Node, out: &mut String, reader: &mut Reader<'_>) -> Option<()> {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(written) => {
            if serde_json::from_str::<IgnoredAny>(written).is_err() {
                let help = "write it as JSON has it: decimal, no sign `+`, digits on both sides of the point";
                reader.wrong(node.at, format!("`{written}` is not a number in JSON"), help);
                return None;
            }
            out.push_str(written);
        }
        Value::Text(text) => out.push_str(&quoted(text)),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write_json(item, out, reader)?;
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                out.push_str(&quoted(&key.text));
                out.push(':');
                write_json(value, out, reader)?;
            }
            out.push('}');
        }
    }
    Some(())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
