//! Calls the property [`client`](cereus_sim::props::client).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cereus_sim::props::client(bytes));
