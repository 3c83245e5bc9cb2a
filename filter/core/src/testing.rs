//! Lets one test run natively and as wasm32-unknown-unknown under Node, where the core's arithmetic is 32 bits wide.

/// Declares a test for both worlds.
macro_rules! universal_test {
    (fn $name:ident() $body:block) => {
        #[cfg_attr(not(all(target_arch = "wasm32", target_os = "unknown")), test)]
        #[cfg_attr(all(target_arch = "wasm32", target_os = "unknown"), wasm_bindgen_test::wasm_bindgen_test)]
        fn $name() $body
    };
}
pub(crate) use universal_test;
