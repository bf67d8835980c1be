//! An app on the shipping driver in virtual time: each test is one sentence of what users are promised.

mod app {
    mod cluster;
    mod ending;
    mod pushes;
    mod runtime;
    mod sessions;
    mod support;
    mod time;
}
