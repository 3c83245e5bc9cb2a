//! The host's calls, as functions that give bytes and errors where the SDK's panic.
//!
//! INVARIANT: the one module with `unsafe`. Each block passes pointers and lengths of slices that outlive the call, or
//! takes over a buffer that the host allocated through the SDK's `malloc` export with exactly that capacity.
#![expect(
    unsafe_code,
    reason = "hostcalls are foreign functions; the SDK's safe wrappers panic on hostile input"
)]

use crate::root::Root;
use proxy_wasm::hostcalls;
use proxy_wasm::types::LogLevel;
use std::ptr::null_mut;
use std::time::Duration;

/// A status of the host other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostError {
    pub(crate) status: u32,
}

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;

const BUFFER_REQUEST_BODY: u32 = 0;
const BUFFER_RESPONSE_BODY: u32 = 1;
const BUFFER_GRPC_ANSWER: u32 = 5;
const BUFFER_PLUGIN_CONFIGURATION: u32 = 7;
const MAP_REQUEST_HEADERS: u32 = 0;
const MAP_REQUEST_TRAILERS: u32 = 1;
const MAP_RESPONSE_HEADERS: u32 = 2;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, message_size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
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
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        version: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        data: *const u8,
        size: usize,
        version: u32,
    ) -> u32;
}

// The macro defines `_initialize`, which the host calls first.
proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// The header map in the host's own layout.
pub(crate) fn request_headers() -> Result<Vec<u8>, HostError> {
    header_map(MAP_REQUEST_HEADERS)
}

/// The same of the trailers.
pub(crate) fn request_trailers() -> Result<Vec<u8>, HostError> {
    header_map(MAP_REQUEST_TRAILERS)
}

/// The same of the response's head.
pub(crate) fn response_headers() -> Result<Vec<u8>, HostError> {
    header_map(MAP_RESPONSE_HEADERS)
}

fn header_map(map: u32) -> Result<Vec<u8>, HostError> {
    // SAFETY: see the module's invariant.
    owned(|data, size| unsafe { proxy_get_header_map_pairs(map, data, size) }).map(Option::unwrap_or_default)
}

/// One header of the response. `None`: it has none of this name.
pub(crate) fn response_header(name: &str) -> Result<Option<Vec<u8>>, HostError> {
    // SAFETY: see the module's invariant.
    owned(|data, size| unsafe {
        proxy_get_header_map_value(MAP_RESPONSE_HEADERS, name.as_ptr(), name.len(), data, size)
    })
}

/// Sets one response header, in place of all that have its name.
pub(crate) fn set_response_header(name: &str, value: &str) -> Result<(), HostError> {
    set_header(MAP_RESPONSE_HEADERS, name, value)
}

/// Sets one request header, in place of all that have its name.
pub(crate) fn set_request_header(name: &str, value: &str) -> Result<(), HostError> {
    set_header(MAP_REQUEST_HEADERS, name, value)
}

fn set_header(map: u32, name: &str, value: &str) -> Result<(), HostError> {
    // SAFETY: see the module's invariant.
    check(unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

pub(crate) fn remove_request_header(name: &str) -> Result<(), HostError> {
    // SAFETY: see the module's invariant.
    check(unsafe { proxy_remove_header_map_value(MAP_REQUEST_HEADERS, name.as_ptr(), name.len()) })
}

/// What is held of the request's body. `None`: nothing is held.
pub(crate) fn request_body(size_max: usize) -> Result<Option<Vec<u8>>, HostError> {
    // SAFETY: see the module's invariant.
    owned(|data, size| unsafe { proxy_get_buffer_bytes(BUFFER_REQUEST_BODY, 0, size_max, data, size) })
}

/// What is there of the response's body: all that is held, or the piece that goes on. `None`: nothing is.
pub(crate) fn response_body(size_max: usize) -> Result<Option<Vec<u8>>, HostError> {
    // SAFETY: see the module's invariant.
    owned(|data, size| unsafe { proxy_get_buffer_bytes(BUFFER_RESPONSE_BODY, 0, size_max, data, size) })
}

pub(crate) fn plugin_configuration(size: usize) -> Result<Vec<u8>, HostError> {
    // SAFETY: see the module's invariant.
    owned(|data, found| unsafe { proxy_get_buffer_bytes(BUFFER_PLUGIN_CONFIGURATION, 0, size, data, found) })
        .map(Option::unwrap_or_default)
}

/// A property, by the parts of its path with a zero byte between them.
pub(crate) fn property(path: &str) -> Result<Option<Vec<u8>>, HostError> {
    // SAFETY: see the module's invariant.
    owned(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// Sets filter state, which access logs read as `wasm.<path>`.
pub(crate) fn set_property(path: &str, value: &str) -> Result<(), HostError> {
    // SAFETY: see the module's invariant.
    check(unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
}

/// A reply of ours. Envoy itself chooses: `grpc_status` for callers that it counts as gRPC, else status and body.
pub(crate) fn send_local_reply(
    status: u16,
    grpc_status: u8,
    details: &str,
    headers: &[u8],
    body: &str,
) -> Result<(), HostError> {
    // SAFETY: see the module's invariant.
    check(unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            i32::from(grpc_status),
        )
    })
}

/// What a call was answered with. `None`: nothing.
pub(crate) fn grpc_answer(size: usize) -> Result<Option<Vec<u8>>, HostError> {
    // SAFETY: see the module's invariant.
    owned(|data, found| unsafe { proxy_get_buffer_bytes(BUFFER_GRPC_ANSWER, 0, size, data, found) })
}

/// What the workers of this proxy share under a key. `None`: nothing yet.
pub(crate) fn shared(key: &str) -> Result<Option<Vec<u8>>, HostError> {
    let mut version = 0;
    // SAFETY: see the module's invariant.
    owned(|data, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut version) })
}

/// Sets it, whatever stands there.
pub(crate) fn set_shared(key: &str, bytes: &[u8]) -> Result<(), HostError> {
    const ANY_VERSION: u32 = 0;
    // SAFETY: see the module's invariant.
    check(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), bytes.as_ptr(), bytes.len(), ANY_VERSION) })
}

/// When the root of this context ticks next, and then again and again.
pub(crate) fn set_tick_period_ms(period_ms: u32) -> Result<(), HostError> {
    // SAFETY: takes no pointer.
    check(unsafe { proxy_set_tick_period_milliseconds(period_ms) })
}

/// Begins a call whose answer comes to the context that began it: only ever a root, which outlives its calls.
///
/// The SDK's own wrapper, because nobody else can have it hand on the answer. It panics on a status that this call does
/// not have: an unknown cluster is a parse failure, a call that cannot begin an internal one, and other statuses are for
/// pointers outside of our memory.
pub(crate) fn begin_call(
    cluster: &str,
    service: &str,
    method: &str,
    message: &[u8],
    timeout_ms: u32,
) -> Result<u32, HostError> {
    let timeout = Duration::from_millis(u64::from(timeout_ms));
    hostcalls::dispatch_grpc_call(cluster, service, method, Vec::new(), Some(message), timeout)
        .map_err(|status| HostError { status: status as u32 })
}

/// Milliseconds since 1970. A host without a clock gives 0: the handoff is then stale, and the server denies.
pub(crate) fn now_ms() -> u64 {
    now_us() / 1_000
}

/// The same in microseconds.
pub(crate) fn now_us() -> u64 {
    let mut time_ns = 0;
    // SAFETY: see the module's invariant.
    match unsafe { proxy_get_current_time_nanoseconds(&mut time_ns) } {
        OK => time_ns / 1_000,
        _ => 0,
    }
}

pub(crate) fn log(level: LogLevel, message: &str) {
    // SAFETY: see the module's invariant. A log line that is lost changes nothing.
    let _status = unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) };
}

fn check(status: u32) -> Result<(), HostError> {
    if status == OK { Ok(()) } else { Err(HostError { status }) }
}

/// Takes over a buffer that the host filled.
fn owned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Option<Vec<u8>>, HostError> {
    let mut data: *mut u8 = null_mut();
    let mut size = 0_usize;
    match call(&mut data, &mut size) {
        OK if data.is_null() => Ok(None),
        // SAFETY: the host allocated `size` bytes at `data` through the SDK's allocator, which makes a `Vec<u8>` of
        // that capacity and forgets it; nobody else frees it.
        OK => Ok(Some(unsafe { Vec::from_raw_parts(data, size, size) })),
        NOT_FOUND => Ok(None),
        status => Err(HostError { status }),
    }
}
