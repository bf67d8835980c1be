//! An app on the shipping driver in virtual time: each test is one sentence of what users are promised.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

mod app {
    mod cluster;
    mod ending;
    mod faults;
    mod limits;
    mod pushes;
    mod runtime;
    mod sessions;
    mod support;
    mod time;
}
