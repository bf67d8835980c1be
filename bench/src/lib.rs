//! What the comparisons share: options, servers under test, the load, tables and bars.
#![expect(clippy::exhaustive_enums, clippy::exhaustive_structs, reason = "the programs of this package make them")]

pub mod comparison;
pub mod load;
pub mod nats;
pub mod options;
pub mod report;
pub mod servers;
