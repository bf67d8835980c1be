//! Calls the property [`inflate`](cereus_sim::props::inflate).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cereus_sim::props::inflate(bytes));
