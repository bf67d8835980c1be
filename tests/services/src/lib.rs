//! Servers for tests: each is a process of its own on ports of its own, and is gone when its value is dropped.
//!
//! `cargo xtask test` sets the variables that name the programs. All functions block, for less than a second as a rule,
//! and panic with the server's last words when it does not do as it is told.

mod etcd;
mod go;
mod nats;
mod port;
mod process;

pub use crate::{etcd::Etcd, go::GoServer, nats::Nats, port::free_port};
