//! Calls the property [`cluster_node`](cereus_sim::props::cluster_node).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cereus_sim::props::cluster_node(bytes));
