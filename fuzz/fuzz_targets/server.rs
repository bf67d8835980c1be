//! Calls the property [`server`](cereus_sim::props::server).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cereus_sim::props::server(bytes));
