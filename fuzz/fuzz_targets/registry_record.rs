//! Calls the property [`registry_record`](cereus_sim::props::registry_record).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cereus_sim::props::registry_record(bytes));
