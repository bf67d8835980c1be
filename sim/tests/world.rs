//! Whole worlds, with faults of all kinds: every invariant holds, whatever happens.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

mod world {
    mod chance;
    mod game;
    mod model;
    mod replay;
}
