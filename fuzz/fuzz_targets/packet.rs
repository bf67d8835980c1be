//! Calls the property [`packet`](cereus_sim::props::packet).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cereus_sim::props::packet(bytes));
