//! A filter that does what a test's script says and logs what it sees. It probes Envoy, so nothing but a test may run it.
//!
//! A script is a list of steps, `PHASE ACTION ARGUMENT…` with `|` between them: `end reply 422 -1 no` refuses a request
//! whose body has arrived. It comes with the request, in a header, or from the plugin's configuration.
//! INVARIANT: a status of the host is logged and never hidden, and nothing that a script does not ask for is changed.
#![expect(
    unsafe_code,
    reason = "hostcalls are foreign functions, and the SDK's wrappers hide the statuses that tests are about"
)]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::cell::Cell;
use std::ptr::null_mut;
use std::rc::Rc;
use std::time::Duration;

const OK: u32 = 0;

const BUFFER_REQUEST_BODY: u32 = 0;
const BUFFER_RESPONSE_BODY: u32 = 1;
const BUFFER_PLUGIN_CONFIGURATION: u32 = 7;
const MAP_REQUEST_HEADERS: u32 = 0;
const MAP_RESPONSE_HEADERS: u32 = 2;

/// Names the request in the log.
const TAG_HEADER: &str = "x-tag";

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, message_size: usize) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

thread_local! {
    /// Requests that this VM has seen: what a restart of the VM forgets.
    static SEEN: Cell<u64> = const { Cell::new(0) };
}

// The macro defines `_initialize`, which the host calls first.
proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// One configuration of one VM: lines of `NAME VALUE`.
#[derive(Default)]
struct Root {
    settings: Rc<Settings>,
}

struct Settings {
    /// The probe's name in the log.
    label: String,
    /// The request header that brings a script.
    script_header: String,
    /// The script of requests that bring none.
    script: String,
    /// A cluster to call at every tick.
    call: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            label: "probe".to_owned(),
            script_header: "x-probe".to_owned(),
            script: String::new(),
            call: None,
        }
    }
}

impl Context for Root {
    fn on_grpc_call_response(&mut self, _token: u32, status: u32, size: usize) {
        log(&self.settings.label, "-", &format!("answer status={status} size={size}"));
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, _size: usize) -> bool {
        let mut random = [0; 16];
        let drawn = getrandom::fill(&mut random).is_ok();
        log("vm", "-", &format!("start drawn={drawn} random={:032x}", u128::from_be_bytes(random)));
        true
    }

    fn on_configure(&mut self, size: usize) -> bool {
        let (_, text) = buffer(BUFFER_PLUGIN_CONFIGURATION, size);
        let text = String::from_utf8(text).unwrap_or_default();
        let mut settings = Settings::default();
        let mut accepted = true;
        for line in text.lines() {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            match name {
                "label" => settings.label = value.to_owned(),
                "script-header" => settings.script_header = value.to_owned(),
                "script" => settings.script = value.to_owned(),
                "call" => settings.call = Some(value.to_owned()),
                "tick-ms" => self.set_tick_period(Duration::from_millis(value.parse().unwrap_or(1000))),
                "refuse" => accepted = false,
                "log-env" => log(
                    &settings.label,
                    "-",
                    &format!("env {value}={}", std::env::var(value).unwrap_or_default()),
                ),
                "cas" => compare_and_swap(&settings.label, value),
                _ => log(&settings.label, "-", &format!("unknown setting {name}")),
            }
        }
        log(&settings.label, "-", &format!("configure accepted={accepted}"));
        self.settings = Rc::new(settings);
        accepted
    }

    fn on_tick(&mut self) {
        log(&self.settings.label, "-", "tick");
        if let Some(cluster) = &self.settings.call {
            let sent = proxy_wasm::hostcalls::dispatch_grpc_call(
                cluster,
                "envoy.service.auth.v3.Authorization",
                "Check",
                Vec::new(),
                None,
                Duration::from_secs(1),
            );
            log(&self.settings.label, "-", &format!("call sent={}", sent.is_ok()));
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http {
            settings: self.settings.clone(),
            script: self.settings.script.clone(),
            tag: "-".to_owned(),
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Swaps a key that nobody has set, with a number that nobody was given; then once more.
fn compare_and_swap(label: &str, key: &str) {
    for cas in [77, 78] {
        // SAFETY: the pointers and lengths are those of slices that outlive the call.
        let status = unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), b"x".as_ptr(), 1, cas) };
        log(label, "-", &format!("cas key={key} number={cas} status={status}"));
    }
}

struct Http {
    settings: Rc<Settings>,
    script: String,
    tag: String,
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, count: usize, end: bool) -> Action {
        if let (OK, tag) = header(MAP_REQUEST_HEADERS, TAG_HEADER) {
            self.tag = text(&tag);
        }
        if let (OK, script) = header(MAP_REQUEST_HEADERS, &self.settings.script_header) {
            self.script = text(&script);
        }
        let seen = SEEN.with(|seen| {
            seen.set(seen.get() + 1);
            seen.get()
        });
        self.say(&format!("head count={count} end={end} seen={seen}"));
        self.run("head")
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        self.say(&format!("body size={size} end={end}"));
        match (self.run("body"), end) {
            (Action::Continue, true) => self.run("end"),
            (Action::Continue, false) => self.hold("end"),
            _ => Action::Pause,
        }
    }

    fn on_http_request_trailers(&mut self, count: usize) -> Action {
        self.say(&format!("trailers count={count}"));
        match self.run("trailers") {
            Action::Continue => self.run("end"),
            _ => Action::Pause,
        }
    }

    fn on_http_response_headers(&mut self, count: usize, end: bool) -> Action {
        self.say(&format!("rhead count={count} end={end}"));
        self.run("rhead")
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        self.say(&format!("rbody size={size} end={end}"));
        match (self.run("rbody"), end) {
            (Action::Continue, true) => self.run("rend"),
            (Action::Continue, false) => self.hold("rend"),
            _ => Action::Pause,
        }
    }

    fn on_log(&mut self) {
        self.say("log");
        self.run("log");
    }
}

impl Http {
    fn say(&self, message: &str) {
        log(&self.settings.label, &self.tag, message);
    }

    /// A script that judges a whole body holds its pieces.
    fn hold(&self, phase: &str) -> Action {
        match steps(&self.script, phase).next() {
            Some(_) => Action::Pause,
            None => Action::Continue,
        }
    }

    fn run(&self, phase: &str) -> Action {
        let mut action = Action::Continue;
        for step in steps(&self.script, phase) {
            let words: Vec<&str> = step.split(' ').collect();
            let response = phase.starts_with('r') || phase == "log";
            let map = if response { MAP_RESPONSE_HEADERS } else { MAP_REQUEST_HEADERS };
            let (status, value) = match words.as_slice() {
                ["pause"] => {
                    action = Action::Pause;
                    continue;
                }
                ["reply", status, grpc_status, body, headers @ ..] => {
                    action = Action::Pause;
                    (reply(number(status), number(grpc_status), body, headers), Vec::new())
                }
                ["get", name] => header(map, name),
                ["get-request", name] => header(MAP_REQUEST_HEADERS, name),
                ["headers"] => pairs(map),
                ["headers-request"] => pairs(MAP_REQUEST_HEADERS),
                ["set", name, value] => (replace(map, name, value), Vec::new()),
                ["remove", name] => (remove(map, name), Vec::new()),
                ["read"] => {
                    let which = if response { BUFFER_RESPONSE_BODY } else { BUFFER_REQUEST_BODY };
                    let (status, body) = buffer(which, usize::MAX);
                    // A body may be large, and the log is for people, too.
                    (status, format!("{} bytes", body.len()).into_bytes())
                }
                ["property", path] => property(&path.replace('/', "\0")),
                ["state", name, value] => (set_property(name, value), Vec::new()),
                ["trap"] => std::process::abort(),
                _ => (u32::MAX, Vec::new()),
            };
            self.say(&format!("{phase}:{} status={status} value={}", words.join("_"), value.escape_ascii()));
        }
        action
    }
}

fn steps<'s>(script: &'s str, phase: &'s str) -> impl Iterator<Item = &'s str> {
    script.split('|').filter_map(move |step| step.trim().strip_prefix(phase)?.strip_prefix(' '))
}

fn number(text: &str) -> i32 {
    text.parse().unwrap_or(0)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn log(label: &str, tag: &str, message: &str) {
    let message = format!("[{label}] {tag} {message}");
    // SAFETY: the pointer and length are those of a string that outlives the call.
    let _status = unsafe { proxy_log(LogLevel::Warn as u32, message.as_ptr(), message.len()) };
}

fn buffer(buffer: u32, size: usize) -> (u32, Vec<u8>) {
    // SAFETY: see `owned`.
    owned(|data, found| unsafe { proxy_get_buffer_bytes(buffer, 0, size, data, found) })
}

fn header(map: u32, name: &str) -> (u32, Vec<u8>) {
    // SAFETY: see `owned`; the name outlives the call.
    owned(|data, size| unsafe { proxy_get_header_map_value(map, name.as_ptr(), name.len(), data, size) })
}

fn pairs(map: u32) -> (u32, Vec<u8>) {
    // SAFETY: see `owned`.
    owned(|data, size| unsafe { proxy_get_header_map_pairs(map, data, size) })
}

fn property(path: &str) -> (u32, Vec<u8>) {
    // SAFETY: see `owned`; the path outlives the call.
    owned(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

fn replace(map: u32, name: &str, value: &str) -> u32 {
    // SAFETY: the pointers and lengths are those of strings that outlive the call.
    unsafe { proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len()) }
}

fn remove(map: u32, name: &str) -> u32 {
    // SAFETY: the pointer and length are those of a string that outlives the call.
    unsafe { proxy_remove_header_map_value(map, name.as_ptr(), name.len()) }
}

fn set_property(name: &str, value: &str) -> u32 {
    // SAFETY: the pointers and lengths are those of strings that outlive the call.
    unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) }
}

/// A local reply with `details`; `headers` are words of the form `name=value`.
fn reply(status: i32, grpc_status: i32, body: &str, headers: &[&str]) -> u32 {
    let pairs: Vec<(&str, &str)> = headers.iter().filter_map(|header| header.split_once('=')).collect();
    let size = |text: &str| u32::try_from(text.len()).unwrap_or(0).to_le_bytes();
    let mut encoded = u32::try_from(pairs.len()).unwrap_or(0).to_le_bytes().to_vec();
    for (name, value) in &pairs {
        encoded.extend(size(name));
        encoded.extend(size(value));
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        encoded.extend(text.as_bytes());
        encoded.push(0);
    }
    let details = "probe_details";
    // SAFETY: the pointers and lengths are those of buffers that outlive the call.
    unsafe {
        proxy_send_local_response(
            u32::try_from(status).unwrap_or(500),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            encoded.as_ptr(),
            encoded.len(),
            grpc_status,
        )
    }
}

/// Takes over what the host hands out, with the host's status.
fn owned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> (u32, Vec<u8>) {
    let mut data: *mut u8 = null_mut();
    let mut size = 0_usize;
    let status = call(&mut data, &mut size);
    if status != OK || data.is_null() {
        return (status, Vec::new());
    }
    // SAFETY: the host allocated `size` bytes at `data` through the SDK's allocator, which makes a `Vec<u8>` of that
    // capacity and forgets it; nobody else frees it.
    (status, unsafe { Vec::from_raw_parts(data, size, size) })
}
