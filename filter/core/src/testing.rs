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

/// Declares properties for both worlds, with a bounded number of cases each.
macro_rules! universal_properties {
    ($(fn $name:ident($($argument:tt)*) $body:block)*) => {
        proptest::proptest! {
            #![proptest_config(proptest::test_runner::Config {
                cases: 512,
                failure_persistence: None,
                ..proptest::test_runner::Config::default()
            })]
            $(
                #[cfg_attr(not(all(target_arch = "wasm32", target_os = "unknown")), test)]
                #[cfg_attr(all(target_arch = "wasm32", target_os = "unknown"), wasm_bindgen_test::wasm_bindgen_test)]
                fn $name($($argument)*) $body
            )*
        }
    };
}
pub(crate) use universal_properties;
