//! Ports that nobody listens on.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::{Ipv4Addr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// Below those that systems give to outgoing connections. A client that reconnects to a server which is down could
/// otherwise be given the very port that the server needs to come back.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// A port of 127.0.0.1 on which nobody listens; this process is never given it again.
///
/// # Panics
///
/// When there is none left.
pub fn free_port() -> u16 {
    /// Other processes that test at the same time start elsewhere.
    static START: LazyLock<u16> = LazyLock::new(|| (RandomState::new().hash_one(()) % u64::from(COUNT)) as u16);
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(given < COUNT, "every port was given or is taken");
        let port = FIRST + (*START + given) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
