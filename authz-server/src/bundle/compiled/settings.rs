//! What `service.yaml` says of how a contract is kept to.

use crate::bundle::format::{
    NumberRule, OnResponse, OperationRules, ReadOnly, ResponseSettings, ServiceFile,
};
use crate::bundle::problem::Problem;
use crate::bundle::record::{Placed, Reader};
use crate::bundle::schemas::Misdirected;
use palisade_core::contract::{Enforcement, OperationClass, Rule, Shadows};
use palisade_core::json::Numbers;
use palisade_core::limits::{BODY_BYTES_MAX, BODY_BYTES_MAX_DEFAULT, NEVER_MAX};

/// Where responses are only reported, one of so many is looked at: drift shows within minutes, and costs next to nothing.
const SAMPLE_DEFAULT: u32 = 16;

/// The settings of one service.
#[derive(Debug)]
pub(in crate::bundle) struct Terms {
    pub(in crate::bundle) misdirected: Misdirected,
    /// In the order of its operations.
    pub(in crate::bundle) operations: Vec<OperationTerms>,
}

/// The settings of one operation.
#[derive(Debug, Clone)]
pub(in crate::bundle) struct OperationTerms {
    pub(super) numbers: Numbers,
    pub(super) shadows: Shadows,
    pub(super) responses: Responses,
}

/// What becomes of an operation's responses.
#[derive(Debug, Clone)]
pub(super) struct Responses {
    pub(super) head: Enforcement,
    pub(super) body: Enforcement,
    pub(super) sample: u32,
    pub(super) bytes_max: u32,
    pub(super) never_headers: Vec<Box<str>>,
    pub(super) never_properties: Vec<Box<str>>,
}

impl Terms {
    /// Each operation's class, and its rules if it has some.
    pub(in crate::bundle) fn read<'r>(
        file: &ServiceFile,
        rules: impl Iterator<Item = (OperationClass, Option<&'r OperationRules>)>,
        reader: &mut Reader<'_>,
    ) -> Terms {
        let misdirected = match file.read_only {
            ReadOnly::Refuse => Misdirected::Refused,
            ReadOnly::Accept => Misdirected::Judged,
        };
        check(&file.responses, reader);
        let operations = rules.map(|(class, rules)| operation(file, class, rules, reader)).collect();
        Terms { misdirected, operations }
    }
}

fn operation(
    file: &ServiceFile,
    class: OperationClass,
    rules: Option<&OperationRules>,
    reader: &mut Reader<'_>,
) -> OperationTerms {
    let none = ResponseSettings::default();
    let own = rules.map_or(&none, |rules| &rules.responses);
    check(own, reader);
    let numbers = match rules.map(|rules| rules.numbers).unwrap_or_default() {
        NumberRule::Double => Numbers::Double,
        NumberRule::Any => Numbers::Any,
    };
    OperationTerms {
        numbers,
        shadows: rules.map(|rules| shadows(rules, reader)).unwrap_or_default(),
        responses: responses(class, own, &file.responses),
    }
}

fn shadows(rules: &OperationRules, reader: &mut Reader<'_>) -> Shadows {
    let mut found = Vec::new();
    for (key, day) in &rules.shadow.0 {
        match Rule::ALL.into_iter().find(|rule| word(*rule) == key.text) {
            Some(rule) => found.push((rule, day.value.0)),
            None => {
                let words = Rule::ALL.map(word);
                let shown: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                let message = format!("`{}` is no rule that can be in shadow", key.text);
                let problem = Problem::new(reader.place(key.at), message).suggest(&key.text, words);
                reader.push(problem.help(format!(
                    "there are {}; what makes a request ambiguous is always refused",
                    shown.join(", ")
                )));
            }
        }
    }
    Shadows::new(found)
}

/// A rule as `shadow` names it.
pub(in crate::bundle) const fn word(rule: Rule) -> &'static str {
    match rule {
        Rule::Path => "path",
        Rule::Query => "query",
        Rule::QueryNotDeclared => "query_not_declared",
        Rule::Header => "header",
        Rule::Cookie => "cookie",
        Rule::ContentType => "content_type",
        Rule::Body => "body",
    }
}

fn responses(class: OperationClass, own: &ResponseSettings, all: &ResponseSettings) -> Responses {
    let enforcement = |own: &Option<Placed<OnResponse>>, all: &Option<Placed<OnResponse>>| {
        let is_own = own.is_some();
        match own.as_ref().or(all.as_ref()).map(|written| written.value) {
            Some(OnResponse::Off) => Enforcement::Off,
            Some(OnResponse::Report) | None => Enforcement::Report,
            // Whoever changed something is told what became of it, unless somebody says otherwise of this very operation.
            Some(OnResponse::Enforce) if class != OperationClass::Read && !is_own => Enforcement::Report,
            Some(OnResponse::Enforce) => Enforcement::Enforce,
        }
    };
    let number = |own: &Option<Placed<u32>>, all: &Option<Placed<u32>>, default| {
        own.as_ref().or(all.as_ref()).map_or(default, |written| written.value)
    };
    // What must never leave is added up: an operation cannot take it back.
    let names = |own: &[Placed<String>], all: &[Placed<String>]| -> Vec<Box<str>> {
        let mut names: Vec<Box<str>> = own.iter().chain(all).map(|name| name.value.as_str().into()).collect();
        names.sort();
        names.dedup();
        names
    };
    Responses {
        head: enforcement(&own.head, &all.head),
        body: enforcement(&own.body, &all.body),
        sample: number(&own.sample, &all.sample, SAMPLE_DEFAULT),
        bytes_max: number(&own.body_bytes_max, &all.body_bytes_max, BODY_BYTES_MAX_DEFAULT),
        never_headers: names(&own.never.headers, &all.never.headers),
        never_properties: names(&own.never.properties, &all.never.properties),
    }
}

fn check(settings: &ResponseSettings, reader: &mut Reader<'_>) {
    if let Some(Placed { value: 0, at }) = settings.sample {
        reader.wrong(
            at,
            "`sample: 0` looks at no response",
            "write `1` for each, or `head: off` and `body: off`",
        );
    }
    if let Some(Placed { value: bytes_max, at }) = settings.body_bytes_max
        && bytes_max > BODY_BYTES_MAX
    {
        let message = format!("`body_bytes_max: {bytes_max}` is over the limit of {BODY_BYTES_MAX}");
        reader.wrong(at, message, "that is what a proxy can hold of a body");
    }
    for name in &settings.never.headers {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.value.is_empty() || !name.value.bytes().all(allowed) {
            let message = format!("`{}` is not the name of a header", name.value);
            reader.wrong(name.at, message, "expected it in lower case, such as `x-internal-trace`");
        }
    }
    let (headers, properties) = (&settings.never.headers, &settings.never.properties);
    for (names, what) in [(headers, "headers"), (properties, "properties")] {
        // Those of the service come on top.
        if let Some(beyond) = names.get(NEVER_MAX / 2) {
            reader.wrong(beyond.at, format!("more than {} {what} stand here", NEVER_MAX / 2), "name fewer");
        }
    }
}
