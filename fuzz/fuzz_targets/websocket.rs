//! Calls the property [`websocket`](cereus_sim::props::websocket).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cereus_sim::props::websocket(bytes));
