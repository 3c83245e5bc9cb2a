//! The floor under every filter with our task: reads the header map, sets one header, reads one property. No more,
//! unless the VM's environment asks for the least that is done with a body: held to its end, and read once.
//!
//! The benches measure our filter against it. It is as cheap as it can be made: it looks at nothing of what it reads
//! and sets a fixed value, as long as a real handoff. INVARIANT: no decision is made here, so nothing may run it but a
//! bench.
#![expect(
    unsafe_code,
    reason = "hostcalls are foreign functions, and the SDK's wrappers would parse what they read"
)]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use std::ptr::null_mut;

/// The header that the filter sets, and a value of its length that carries a well-formed call id.
const HEADER: &str = "x-palisade-handoff";
const VALUE: &str = "AQAAAAAAAZqhT8BsewGP0g_7X0IKkQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The property that the filter reads on the response.
const DECISION_ID: &str = "metadata\0filter_metadata\0envoy.filters.http.ext_authz\0decision_id";

/// The one that it reads where the first is absent: only where the benches have no ext_authz, and only if the VM's
/// environment says so.
const RESPONSE_SOURCE: &str = "response\0code_details";
const TWICE_VARIABLE: &str = "FLOOR_READS_TWICE";

/// Whether bodies are held to their end and read once, without a look at them.
const HOLDS_VARIABLE: &str = "FLOOR_HOLDS_BODY";

const REQUEST_HEADERS: u32 = 0;
const REQUEST_BODY: u32 = 0;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        from: usize,
        bytes_max: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
}

// The macro defines `_initialize`, which the host calls first.
proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Floor {
        twice: std::env::var_os(TWICE_VARIABLE).is_some(),
        holds: std::env::var_os(HOLDS_VARIABLE).is_some(),
    }));
}}

struct Floor {
    twice: bool,
    holds: bool,
}

impl Context for Floor {}

impl RootContext for Floor {
    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Floor { twice: self.twice, holds: self.holds }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl HttpContext for Floor {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        // SAFETY: see `read`.
        read(|data, size| unsafe { proxy_get_header_map_pairs(REQUEST_HEADERS, data, size) });
        // SAFETY: the pointers and lengths are those of constants.
        unsafe {
            proxy_replace_header_map_value(
                REQUEST_HEADERS,
                HEADER.as_ptr(),
                HEADER.len(),
                VALUE.as_ptr(),
                VALUE.len(),
            );
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if !self.holds {
            return Action::Continue;
        }
        if !end_of_stream {
            return Action::Pause;
        }
        // SAFETY: see `read`.
        read(|data, read| unsafe { proxy_get_buffer_bytes(REQUEST_BODY, 0, size, data, read) });
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        if !read_property(DECISION_ID) && self.twice {
            read_property(RESPONSE_SOURCE);
        }
        Action::Continue
    }
}

fn read_property(path: &str) -> bool {
    // SAFETY: see `read`.
    read(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// Takes over what the host hands out, and frees it; says whether there was anything.
fn read(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> bool {
    let mut data: *mut u8 = null_mut();
    let mut size = 0_usize;
    if call(&mut data, &mut size) != 0 || data.is_null() {
        return false;
    }
    // SAFETY: the host allocated `size` bytes at `data` through the SDK's allocator, which makes a `Vec<u8>` of that
    // capacity and forgets it; nobody else frees it.
    drop(unsafe { Vec::from_raw_parts(data, size, size) });
    true
}
