//! Calls the property [`envelope`](cereus_sim::props::envelope).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cereus_sim::props::envelope(bytes));
