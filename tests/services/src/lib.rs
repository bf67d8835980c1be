//! Servers for tests: each is a process of its own on ports of its own, and is gone when its value is dropped.
//!
//! `cargo xtask test` sets the variables that name the programs. All functions block, for less than a second as a rule,
//! and panic with the server's last words when it does not do as it is told.

mod etcd;
mod go;
mod nats;
mod port;
mod process;

use std::ffi::OsStr;

pub use crate::{etcd::Etcd, go::GoServer, nats::Nats, port::free_port};

/// Runs a program, which a variable names, to its end. It returns what it wrote.
///
/// # Panics
///
/// When it fails, and when it does not end in time.
pub fn run<S: AsRef<OsStr>>(variable: &str, arguments: impl IntoIterator<Item = S>) -> String {
    let mut process = process::Process::new(variable);
    process.arguments(arguments);
    process.start(|_| true);
    let status = process.wait();
    assert!(status.success(), "{process}: {status}. Its last words:\n{}", process.last_words());
    process.log()
}
