//! Mixed clusters: a frontend of Go with a backend of Rust and the reverse, over NATS and over gRPC. One body of checks for
//! all four, as a client sees it.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "../../../support/client.rs"]
mod client;
#[path = "../../../support/net.rs"]
mod net;
#[path = "../cluster/support.rs"]
mod support;

mod bots;
mod calls;
mod cluster;
mod messages;
mod server;
mod users;

use cluster::{Front, Link, Mixed};

macro_rules! checks {
    ($($module:ident { $($check:ident)* })*) => {
        /// Every check, with its name.
        const CHECKS: &[(&str, fn(&Mixed))] = &[$($((concat!(stringify!($module), "::", stringify!($check)), $module::$check)),*),*];
    };
}

checks! {
    messages { requests_are_forwarded errors_keep_their_code errors_of_the_way notifies_are_forwarded timeouts metadata }
    calls { by_type_and_by_id_both_ways errors_with_metadata without_argument_and_unknown nonsense panics }
    users { bind_and_whoami data_to_the_front push_to_the_session kick_of_the_session unique_session_across_frontends
        push_to_users kick_of_users group_push }
    bots { specs_of_pitaya_bot }
}

/// One cluster serves all checks: to start servers of Go takes longer than the checks.
fn check(front: Front, link: Link) {
    let world = Mixed::start(front, link);
    for (name, check) in CHECKS {
        eprintln!("{front:?} frontend, {link:?}: {name}");
        check(&world);
    }
}

#[test]
fn go_frontend_and_rust_backend_over_nats() {
    check(Front::Go, Link::Nats);
}

#[test]
fn go_frontend_and_rust_backend_over_grpc() {
    check(Front::Go, Link::Grpc);
}

#[test]
fn rust_frontend_and_go_backend_over_nats() {
    check(Front::Rust, Link::Nats);
}

#[test]
fn rust_frontend_and_go_backend_over_grpc() {
    check(Front::Rust, Link::Grpc);
}
