//! Calls the property [`message`](cereus_sim::props::message).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cereus_sim::props::message(bytes));
