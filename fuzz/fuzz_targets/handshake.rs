//! Calls the property [`handshake`](cereus_sim::props::handshake).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cereus_sim::props::handshake(bytes));
