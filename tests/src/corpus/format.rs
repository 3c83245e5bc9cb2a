//! The file format of corpora: many cases a file, each readable without knowing this parser.
//!
//! ```text
//! # A comment.
//! case an encoded slash
//! needs grpc                        only where the profile has this feature; may be repeated
//! > GET {item_path_prefix}a%2fb HTTP/1.1      a line of the request, with CRLF
//! > host: {host}
//! >
//! >> {"a":1}                        bytes without CRLF
//! ~                                 the next line begins a new write
//! ~ wait                            ... when the peer has reacted, or after a short while
//! ~ finish                          no further byte comes
//! < 400 path_encoded_separator by filter      what the caller gets
//! <istio 400 by envoy               the same, where one target differs
//! twin                              the same shape without the defect
//! > GET {item_path_prefix}ab HTTP/1.1
//! > host: {host}
//! >
//! < accepted
//! = GET {item_path_prefix}ab at {service}     what the service sees: method, exact target, which service
//! =+ x-request-id: a                a header that it sees once, with this value; may be repeated
//! =- connection                     a header that it does not see; may be repeated
//! ```
//!
//! In HTTP/2 a message is `* name: value` (header fields, pseudo ones among them), `+ bytes` (a DATA frame; `+` alone is
//! an empty one), `- name: value` (trailers) and `~ open` (no frame ends the stream).
//!
//! Expectations: `accepted`; `STATUS REASON by filter|server`; `STATUS by envoy`; `closed by envoy`;
//! `grpc STATUS REASON by filter|server`; and `… by envoy or filter` where the reader of a target may be either.
//!
//! Invariant: a refusal has an accepted twin, so that no case can pass only because nothing ever passes.

use palisade_core::reason::Reason;

use super::template::Template;
use crate::raw_client::Then;
use crate::rig::Target;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub file: String,
    pub line: usize,
    pub name: String,
    pub needs: Vec<String>,
    pub subject: Exchange,
    /// There for every refusal.
    pub twin: Option<Exchange>,
}

/// One message and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub line: usize,
    pub message: Message,
    pub expected: Expectation,
    /// Where one target differs from `expected`.
    pub expected_of: Vec<(Target, Expectation)>,
    pub seen: Option<SeenLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Http1(Vec<Write>),
    Http2(Frames),
}

/// Lines that are written at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub lines: Vec<Template>,
    pub then: Then,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frames {
    pub headers: Vec<(Template, Template)>,
    pub data: Vec<Template>,
    pub trailers: Vec<(Template, Template)>,
    pub open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenLine {
    pub method: Template,
    pub target: Template,
    /// The service of the profile, unless another is named.
    pub service: Option<Template>,
    /// Headers that it sees once with this value, or not at all.
    pub headers: Vec<(String, Option<Template>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    Accepted,
    Refused(Refusal),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub shape: Shape,
    /// There whenever Palisade may be the one who refuses.
    pub reason: Option<Reason>,
    pub by: Refuser,
}

/// What a refusal looks like to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Status(u16),
    GrpcStatus(u16),
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuser {
    /// Envoy itself, before any filter: no reason, no decision id.
    Envoy,
    /// The filter: a reason, a decision id, and no Check.
    Filter,
    /// The server: a reason, a decision id, and an entry in the ledger.
    Server,
    /// Whichever of the two comes first in a target.
    EnvoyOrFilter,
}

impl Exchange {
    /// What is expected in this target.
    pub fn expected_in(&self, target: Target) -> &Expectation {
        self.expected_of.iter().find(|(of, _)| *of == target).map_or(&self.expected, |(_, expected)| expected)
    }

    fn may_be_accepted(&self) -> bool {
        self.expected == Expectation::Accepted
            || self.expected_of.iter().any(|(_, expected)| *expected == Expectation::Accepted)
    }
}

/// Reads one file; the error is `file:line: what is wrong`.
pub fn parse(file: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    let mut current: Option<CaseDraft> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let at = |error: String| format!("{file}:{number}: {error}");
        if let Some(name) = line.strip_prefix("case ") {
            if let Some(draft) = current.take() {
                cases.push(draft.finish(file)?);
            }
            current = Some(CaseDraft::new(number, name.trim()));
        } else if line.trim().is_empty() || line.starts_with('#') {
            continue;
        } else {
            let draft = current.as_mut().ok_or_else(|| at("expected `case NAME` first".to_owned()))?;
            draft.take(number, line).map_err(at)?;
        }
    }
    if let Some(draft) = current {
        cases.push(draft.finish(file)?);
    }
    for (index, case) in cases.iter().enumerate() {
        if let Some(earlier) = cases[..index].iter().find(|earlier| earlier.name == case.name) {
            let (line, name, first) = (case.line, &case.name, earlier.line);
            return Err(format!("{file}:{line}: the case `{name}` is there already, at line {first}"));
        }
    }
    Ok(cases)
}

#[derive(Debug)]
struct CaseDraft {
    line: usize,
    name: String,
    needs: Vec<String>,
    exchanges: Vec<ExchangeDraft>,
}

#[derive(Debug, Default)]
struct ExchangeDraft {
    line: usize,
    writes: Vec<Write>,
    frames: Option<Frames>,
    expected: Option<Expectation>,
    expected_of: Vec<(Target, Expectation)>,
    seen: Option<SeenLine>,
}

impl CaseDraft {
    fn new(line: usize, name: &str) -> Self {
        let subject = ExchangeDraft { line, ..ExchangeDraft::default() };
        Self { line, name: name.to_owned(), needs: Vec::new(), exchanges: vec![subject] }
    }

    fn take(&mut self, number: usize, line: &str) -> Result<(), String> {
        if let Some(feature) = line.strip_prefix("needs ") {
            self.needs.push(feature.trim().to_owned());
            return Ok(());
        }
        if line == "twin" {
            if self.exchanges.len() == 2 {
                return Err("the case has a twin already".to_owned());
            }
            self.exchanges.push(ExchangeDraft { line: number, ..ExchangeDraft::default() });
            return Ok(());
        }
        let exchange = self.exchanges.last_mut().expect("a draft has its subject from the start");
        exchange.take(line)
    }

    fn finish(self, file: &str) -> Result<Case, String> {
        let mut exchanges = Vec::new();
        for draft in self.exchanges {
            let line = draft.line;
            exchanges.push(draft.finish().map_err(|error| format!("{file}:{line}: {error}"))?);
        }
        let twin = (exchanges.len() == 2).then(|| exchanges.remove(1));
        let subject = exchanges.remove(0);
        let at = |error: &str| Err(format!("{file}:{}: {error}", self.line));
        match (&subject.expected, &twin) {
            (Expectation::Refused(_), None) => at("a refusal needs a `twin` that is accepted"),
            (Expectation::Accepted, Some(_)) if subject.expected_of.is_empty() => {
                at("a case that is accepted needs no twin")
            }
            (_, Some(twin)) if twin.expected != Expectation::Accepted || !twin.expected_of.is_empty() => {
                at("the twin must be `accepted`, in every target")
            }
            _ => Ok(Case {
                file: file.to_owned(),
                line: self.line,
                name: self.name,
                needs: self.needs,
                subject,
                twin,
            }),
        }
    }
}

impl ExchangeDraft {
    fn take(&mut self, line: &str) -> Result<(), String> {
        let (marker, text) = line.split_once(' ').unwrap_or((line, ""));
        match marker {
            ">" => self.take_line(Template::parse(&format!("{text}\\r\\n"))?),
            ">>" => self.take_line(Template::parse(text)?),
            "~" => self.take_pause(text)?,
            "*" => self.frames().headers.push(parse_field(text)?),
            "+" => self.frames().data.push(Template::parse(text)?),
            "-" => self.frames().trailers.push(parse_field(text)?),
            "<" => {
                if self.expected.replace(parse_expectation(text)?).is_some() {
                    return Err("the message has an expectation already".to_owned());
                }
            }
            "=" => {
                if self.seen.replace(parse_seen(text)?).is_some() {
                    return Err("the message has a `=` line already".to_owned());
                }
            }
            "=+" | "=-" => {
                let seen = self.seen.as_mut().ok_or("a `=+` or `=-` line needs a `=` line before it")?;
                let (name, value) = text.split_once(": ").unwrap_or((text, ""));
                let value = (marker == "=+").then(|| Template::parse(value)).transpose()?;
                seen.headers.push((name.to_owned(), value));
            }
            _ => {
                let target = marker.strip_prefix('<').ok_or_else(|| {
                    format!("unknown line `{line}`: expected case, needs, twin, or a line that begins with > >> ~ * + - < = =+ =-")
                })?;
                self.expected_of.push((parse_target(target)?, parse_expectation(text)?));
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: Template) {
        match self.writes.last_mut() {
            Some(write) if write.then == Then::Continue && !write.is_closed() => write.lines.push(line),
            _ => self.writes.push(Write { lines: vec![line], then: Then::Continue }),
        }
    }

    fn take_pause(&mut self, kind: &str) -> Result<(), String> {
        if kind == "open" {
            self.frames().open = true;
            return Ok(());
        }
        let then = match kind {
            "" => Then::Continue,
            "wait" => Then::AwaitReaction,
            "finish" => Then::Finish,
            _ => {
                return Err(format!(
                    "unknown pause `~ {kind}`: expected `~`, `~ wait`, `~ finish` or `~ open`"
                ));
            }
        };
        let write = self.writes.last_mut().ok_or_else(|| "a pause needs a line before it".to_owned())?;
        write.then = then;
        if then == Then::Continue {
            // An empty write marks that the next line begins a new one.
            self.writes.push(Write { lines: Vec::new(), then: Then::Continue });
        }
        Ok(())
    }

    fn frames(&mut self) -> &mut Frames {
        self.frames.get_or_insert_default()
    }

    fn finish(self) -> Result<Exchange, String> {
        let message = match (self.writes.is_empty(), self.frames) {
            (false, None) => Message::Http1(self.writes),
            (true, Some(frames)) if !frames.headers.is_empty() => Message::Http2(frames),
            (true, Some(_)) => return Err("an HTTP/2 message needs `*` lines".to_owned()),
            (true, None) => return Err("the message has no lines".to_owned()),
            (false, Some(_)) => return Err("a message is either HTTP/1.1 (`>`) or HTTP/2 (`*`)".to_owned()),
        };
        let expected = self.expected.ok_or_else(|| "the message has no `<` line".to_owned())?;
        let exchange =
            Exchange { line: self.line, message, expected, expected_of: self.expected_of, seen: self.seen };
        match (exchange.may_be_accepted(), &exchange.seen) {
            (true, None) => Err("an accepted message needs a `=` line: what the service sees".to_owned()),
            (false, Some(_)) => Err("a refused message has no `=` line: the service sees nothing".to_owned()),
            _ => Ok(exchange),
        }
    }
}

impl Write {
    /// An empty write was begun by a pause and still takes lines.
    fn is_closed(&self) -> bool {
        self.then != Then::Continue
    }
}

fn parse_field(text: &str) -> Result<(Template, Template), String> {
    let template = Template::parse(text)?;
    // A pseudo header begins with a colon, which is not the one that ends its name.
    template.split_once(b": ", 1).ok_or_else(|| format!("expected `name: value`, found `{text}`"))
}

fn parse_target(name: &str) -> Result<Target, String> {
    match name {
        "envoy" => Ok(Target::Envoy),
        "istio" => Ok(Target::Istio),
        _ => Err(format!("unknown target `{name}`: expected envoy or istio")),
    }
}

fn parse_seen(text: &str) -> Result<SeenLine, String> {
    let words: Vec<&str> = text.split(' ').collect();
    let (method, target, service) = match words.as_slice() {
        [method, target] => (method, target, None),
        [method, target, "at", service] => (method, target, Some(Template::parse(service)?)),
        _ => {
            return Err(format!(
                "expected `= METHOD TARGET` or `= METHOD TARGET at SERVICE`, found `{text}`"
            ));
        }
    };
    let (method, target) = (Template::parse(method)?, Template::parse(target)?);
    Ok(SeenLine { method, target, service, headers: Vec::new() })
}

fn parse_expectation(text: &str) -> Result<Expectation, String> {
    if text == "accepted" {
        return Ok(Expectation::Accepted);
    }
    let (what, who) = text
        .split_once(" by ")
        .ok_or_else(|| format!("expected `accepted` or `… by envoy|filter|server`, found `{text}`"))?;
    let by = match who {
        "envoy" => Refuser::Envoy,
        "filter" => Refuser::Filter,
        "server" => Refuser::Server,
        "envoy or filter" => Refuser::EnvoyOrFilter,
        _ => {
            return Err(format!(
                "unknown refuser `{who}`: expected envoy, filter, server or `envoy or filter`"
            ));
        }
    };
    let mut words = what.split(' ');
    let first = words.next().unwrap_or_default();
    let shape = match first {
        "closed" => Shape::Closed,
        "grpc" => Shape::GrpcStatus(parse_number(words.next().unwrap_or_default())?),
        status => Shape::Status(parse_number(status)?),
    };
    let reason = words.next().map(|code| parse_reason(code, shape)).transpose()?;
    if words.next().is_some() {
        return Err(format!("expected `STATUS REASON` before `by`, found `{what}`"));
    }
    match (by, &reason) {
        (Refuser::Envoy, Some(_)) => Err("a refusal by envoy has no reason code".to_owned()),
        (Refuser::Filter | Refuser::Server | Refuser::EnvoyOrFilter, None) => {
            Err("a refusal by filter or server has a reason code".to_owned())
        }
        _ => Ok(Expectation::Refused(Refusal { shape, reason, by })),
    }
}

/// A reason of the core, whose own status must be the one that the corpus states.
fn parse_reason(code: &str, shape: Shape) -> Result<Reason, String> {
    let reason = Reason::from_code(code).ok_or_else(|| format!("unknown reason code `{code}`"))?;
    let (stated, defined) = match shape {
        Shape::Status(status) => (status, reason.status()),
        Shape::GrpcStatus(status) => (status, reason.grpc_status() as u16),
        Shape::Closed => return Err("a closed connection has no reason code".to_owned()),
    };
    if stated == defined { Ok(reason) } else { Err(format!("`{code}` has status {defined}, found {stated}")) }
}

fn parse_number(word: &str) -> Result<u16, String> {
    word.parse().map_err(|_| format!("expected a status, found `{word}`"))
}

#[cfg(test)]
mod tests;
