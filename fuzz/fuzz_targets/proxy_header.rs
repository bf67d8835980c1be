//! Calls the property [`proxy_header`](cereus_sim::props::proxy_header).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cereus_sim::props::proxy_header(bytes));
