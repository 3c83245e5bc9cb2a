//! Random calls to the operations of a bundle, decided as the server decides them.
//!
//! Most of them reach the policies, and near what these compare with. Values in masked fields are of a kind that is found
//! again wherever it is copied.

use crate::bundle::{Bundle, ContextField, ContextPart, ListStyle, ValueKind};
use crate::check::tests::{NOW_MS, certificate_of};
use crate::check::{Body, Call, Concluded, Decider, Given, sources};
use crate::digests::Digests;
use crate::identity::ApiKeys;
use crate::secrets::HandoffSecrets;
use crate::state::{Epoch, PreviousBundle};
use palisade_core::call_id::CallIdMint;
use palisade_core::contract::{BundleDigest, Matched};
use palisade_core::handoff::{Binding, Flags, HEADER, Handoff, Secret};
use palisade_core::routes::{OperationIndex, Segment};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A generator of numbers, the same ones for the same seed.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        // SplitMix64: each step of the counter is scrambled by itself.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn choose<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

pub(crate) struct Calls {
    pub(crate) decider: Decider,
    pub(crate) numbers: Numbers,
    mint: CallIdMint,
    /// What policies compare texts with, and a few more.
    words: Vec<String>,
    /// What they compare numbers with, what is beside it, and the ends.
    edges: Vec<i64>,
    clients: Vec<String>,
    /// Each with its certificate.
    workloads: Vec<(String, String)>,
    /// What the last call had in masked fields.
    pub(crate) secrets: Vec<String>,
}

/// A folder with a bundle that is another one with edits: a file, what stands in it once, and what then stands there. An
/// empty text stands at the end.
pub(crate) fn edited(base: &str, edits: &[(&str, &str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&workspace().join(base), folder.path());
    for (path, old, new) in edits {
        let path = folder.path().join(path);
        let text = fs::read_to_string(&path).unwrap();
        let edited = match old.is_empty() {
            true => text + new,
            false => {
                assert_eq!(text.matches(old).count(), 1, "`{old}` stands once in {}", path.display());
                text.replace(old, new)
            }
        };
        fs::write(path, edited).unwrap();
    }
    folder
}

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(from, to).unwrap()),
        }
    }
}

impl Calls {
    pub(crate) fn of(bundle: Bundle, seed: u64) -> Calls {
        let mut words: Vec<String> =
            ["a", "o-17", "night", "ü \"q\" \\", "line\nbreak"].map(str::to_owned).to_vec();
        let mut edges = vec![0, 1, -1, i64::MAX, i64::MIN];
        for policy in bundle.policies.all() {
            words.extend(policy.text.split('"').skip(1).step_by(2).map(str::to_owned));
            let numbers = policy.text.split(|letter: char| !letter.is_ascii_digit());
            for number in numbers.filter_map(|digits| digits.parse::<i64>().ok()) {
                edges.extend([number.saturating_sub(1), number, number.saturating_add(1)]);
            }
        }
        let clients: Vec<String> = bundle.entities.clients.keys().cloned().collect();
        let keys = clients.iter().map(|client| (client.as_str(), key_of(client)));
        let keys: Vec<(&str, String)> = keys.collect();
        let keys = ApiKeys::render(keys.iter().map(|(client, key)| (*client, key.as_str()))).unwrap();
        let strangers =
            bundle.palisade.trust_domains.iter().map(|domain| format!("spiffe://{}/x", domain.value));
        let workloads = bundle.entities.workloads.keys().cloned().chain(strangers);
        let workloads = workloads.map(|name| (name.clone(), certificate_of(&name))).collect();
        let given =
            Given { api_keys: Some(ApiKeys::parse(keys.as_bytes()).unwrap().into()), ..Given::default() };
        let identity = sources(&bundle, &given, None).unwrap();
        let decider = Decider {
            bundle: bundle.into(),
            secrets: HandoffSecrets::only(Secret::from_bytes([1; 32])),
            identity,
            given,
            epoch: Epoch { server: "test".to_owned(), counter: 1 },
            previous: vec![PreviousBundle { digest: BundleDigest([8; 32]), replaced_at_ms: NOW_MS - 1000 }],
            digests: Digests::new(&[5; 32]),
            candidate: None,
        };
        let (numbers, mint) = (Numbers(seed), CallIdMint::new([7; 16]));
        Calls { decider, numbers, mint, words, edges, clients, workloads, secrets: Vec::new() }
    }

    /// Decides one call.
    pub(crate) fn next(&mut self) -> Concluded {
        self.secrets.clear();
        let bundle = self.decider.bundle.clone();
        let count = bundle.contexts.len() + 2;
        let index = OperationIndex(u32::try_from(self.numbers.below(count)).unwrap());
        // Past the last ones are those of the canary.
        let matched = bundle.contract.operation(index).unwrap();
        let fields: &[ContextField] = bundle
            .contexts
            .get(index.0 as usize)
            .map(|context| context.fields.as_slice())
            .unwrap_or_default();
        let mut host = self.numbers.choose(&matched.service.hosts).to_string();
        if self.numbers.one_in(4) {
            host.push_str(":8080");
        }
        let target = self.target(matched, fields);
        let (headers, body) = (self.headers(&bundle, index, fields), self.body(fields));
        let handoff = self.handoff(matched, &host, &target, body.is_some());
        let mut pairs: Vec<(&[u8], &[u8])> = vec![
            (b":method", matched.operation.method.as_str().as_bytes()),
            (b":path", target.as_bytes()),
            (b":authority", host.as_bytes()),
            (b":scheme", b"http"),
        ];
        pairs.extend(headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        if let Some(handoff) = &handoff {
            pairs.push((HEADER.as_bytes(), handoff.as_bytes()));
        }
        if body.is_some() {
            pairs.push((b"content-type", b"application/json"));
        }
        let (key, workload) = self.caller();
        let header = bundle.palisade.identity.api_keys.as_ref().map(|keys| keys.header.value.clone());
        if let (Some(key), Some(header)) = (&key, &header) {
            pairs.push((header.as_bytes(), key.as_bytes()));
        }
        let (peer, peer_certificate) =
            workload.as_ref().map_or(("", ""), |(name, certificate)| (name.as_str(), certificate.as_str()));
        let body = body.as_ref().map_or(Body::None, |body| Body::Whole(body.as_bytes()));
        let fallback = self.mint.mint(NOW_MS);
        self.decider.decide(Call { pairs: &pairs, peer, peer_certificate, body }, NOW_MS, fallback)
    }

    fn caller(&mut self) -> (Option<String>, Option<(String, String)>) {
        let workload = (!self.workloads.is_empty()).then(|| self.numbers.choose(&self.workloads).clone());
        let client = match self.clients.is_empty() {
            true => None,
            false => Some(key_of(self.numbers.choose(&self.clients).as_str())),
        };
        match self.numbers.below(16) {
            0 => (None, None),
            1 => (Some("no key of ours".to_owned()), None),
            2..6 => (client, workload),
            6..11 => (None, workload),
            _ => (client, None),
        }
    }

    fn handoff(&mut self, matched: Matched<'_>, host: &str, target: &str, has_body: bool) -> Option<String> {
        let mut handoff = Handoff {
            bundle: self.decider.bundle.digest,
            operation: matched.index,
            flags: if has_body { Flags::BODY_JUDGED } else { Flags::default() },
            call_id: self.mint.mint(NOW_MS),
        };
        let mut secret = [1; 32];
        match self.numbers.below(48) {
            0 => return None,
            1 => return Some("forged".to_owned()),
            2 => secret = [9; 32],
            3 => handoff.operation = OperationIndex(handoff.operation.0 ^ 1),
            4 => handoff.bundle = BundleDigest([9; 32]),
            5 => handoff.bundle = BundleDigest([8; 32]),
            6 => handoff.flags = handoff.flags.with(Flags::GRPC).with(Flags::UPGRADE),
            _ => {}
        }
        let binding = Binding { method: matched.operation.method.as_str(), authority: host, target };
        Some(handoff.encode(&Secret::from_bytes(secret), binding))
    }

    fn target(&mut self, matched: Matched<'_>, fields: &[ContextField]) -> String {
        let mut target = String::new();
        for segment in &matched.operation.template {
            target.push('/');
            match segment {
                Segment::Literal(text) => target.push_str(text),
                Segment::Parameter(name) => {
                    let field = fields
                        .iter()
                        .find(|field| field.part == ContextPart::Path && field.keys == [&**name]);
                    let text = field.map_or_else(|| "x".to_owned(), |field| self.written(field).concat());
                    target.push_str(&if text.is_empty() { "x".to_owned() } else { escaped(&text) });
                }
            }
        }
        if self.numbers.one_in(64) {
            target.push_str("/../x");
        }
        let mut separator = '?';
        for field in fields.iter().filter(|field| field.part == ContextPart::Query) {
            if !field.required && self.numbers.one_in(3) {
                continue;
            }
            for text in self.written(field) {
                target.push_str(&format!("{separator}{}={}", field.keys[0], escaped(&text)));
                separator = '&';
            }
        }
        target
    }

    fn headers(
        &mut self,
        bundle: &Bundle,
        index: OperationIndex,
        fields: &[ContextField],
    ) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        let request_id = format!("request-{:016x}", self.numbers.next());
        if bundle.recordings.operation(Some(index)).request_id.is_some() {
            self.secrets.push(request_id.clone());
        }
        headers.push(("x-request-id".to_owned(), request_id));
        if self.numbers.one_in(2) {
            let attempt = self.numbers.choose(&["1", "2", "7", "0", "-1", "01", "x", "4294967296"]);
            headers.push(("x-envoy-attempt-count".to_owned(), (*attempt).to_owned()));
        }
        for field in fields.iter().filter(|field| field.part == ContextPart::Header) {
            if field.required || !self.numbers.one_in(3) {
                let text = self.written(field).join(",").replace(['\n', '\r'], " ");
                headers.push((field.keys[0].clone(), text));
            }
        }
        headers
    }

    fn body(&mut self, fields: &[ContextField]) -> Option<String> {
        let fields: Vec<&ContextField> =
            fields.iter().filter(|field| field.part == ContextPart::Body).collect();
        if fields.is_empty() || self.numbers.one_in(32) {
            return None;
        }
        let mut body = serde_json::json!({"beside": "what nobody asks for"});
        for field in fields {
            if !field.required && self.numbers.one_in(3) {
                continue;
            }
            let mut at = &mut body;
            for key in &field.keys {
                at = &mut at[key.as_str()];
            }
            *at = self.json(&field.kind, field.mask.is_some());
        }
        Some(if self.numbers.one_in(64) { body.to_string() + "}" } else { body.to_string() })
    }

    fn json(&mut self, kind: &ValueKind, is_masked: bool) -> serde_json::Value {
        match kind {
            ValueKind::Set(element) => {
                (0..self.numbers.below(4)).map(|_| self.json(element, is_masked)).collect()
            }
            ValueKind::String | ValueKind::Ip => self.scalar(kind, is_masked).into(),
            ValueKind::Long | ValueKind::Bool | ValueKind::Decimal => {
                let text = self.scalar(kind, is_masked);
                serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
            }
        }
    }

    /// The texts of a parameter: more than one where its list is written as repetition.
    fn written(&mut self, field: &ContextField) -> Vec<String> {
        let is_masked = field.mask.is_some();
        let ValueKind::Set(element) = &field.kind else { return vec![self.scalar(&field.kind, is_masked)] };
        let items: Vec<String> =
            (0..1 + self.numbers.below(3)).map(|_| self.scalar(element, is_masked)).collect();
        match field.list {
            ListStyle::Repeated => items,
            ListStyle::Commas => vec![items.join(",")],
            ListStyle::Spaces => vec![items.join(" ")],
            ListStyle::Pipes => vec![items.join("|")],
        }
    }

    fn scalar(&mut self, kind: &ValueKind, is_masked: bool) -> String {
        if self.numbers.one_in(64) {
            return "not of its kind".to_owned();
        }
        if is_masked && !self.numbers.one_in(3) {
            return self.secret(kind);
        }
        match kind {
            ValueKind::Long if !self.numbers.one_in(8) => self.numbers.choose(&self.edges).to_string(),
            ValueKind::Long => (self.numbers.next() as i64).to_string(),
            ValueKind::Bool => (*self.numbers.choose(&["true", "false"])).to_owned(),
            ValueKind::Decimal => format!("{}.{}", self.numbers.below(100), self.numbers.below(10)),
            ValueKind::Ip => format!("10.0.{}.{}", self.numbers.below(256), self.numbers.below(256)),
            // Longer than what an entry takes.
            ValueKind::String if self.numbers.one_in(128) => "long ".repeat(1500),
            ValueKind::String | ValueKind::Set(_) => self.numbers.choose(&self.words).clone(),
        }
    }

    /// A value that stands nowhere else.
    fn secret(&mut self, kind: &ValueKind) -> String {
        let secret = match kind {
            ValueKind::Long => (self.numbers.next() as i64 | 1 << 62).to_string(),
            ValueKind::Bool => return "true".to_owned(),
            ValueKind::Decimal => {
                format!("{}.5", self.numbers.next() % 100_000_000_000_000 + 100_000_000_000_000)
            }
            ValueKind::Ip => {
                let [a, b, c, d, ..] = self.numbers.next().to_be_bytes();
                format!(
                    "2001:db8::{:x}:{:x}",
                    u16::from_be_bytes([a | 16, b]),
                    u16::from_be_bytes([c | 16, d])
                )
            }
            ValueKind::String | ValueKind::Set(_) => format!("secret{:016x}", self.numbers.next()),
        };
        self.secrets.push(secret.trim_start_matches('-').to_owned());
        secret
    }
}

fn key_of(client: &str) -> String {
    format!("key-of-{client}-that-nobody-guesses")
}

fn escaped(text: &str) -> String {
    // Letters, digits, hyphen, underscore and tilde may not be escaped in a path; a dot alone could mean the folder above.
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~').remove(b'.').remove(b',');
    percent_encoding::utf8_percent_encode(text, KEPT).to_string()
}
