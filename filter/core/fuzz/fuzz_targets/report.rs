//! Runs `report` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| palisade_core_fuzz::report(bytes));
