//! The bus over NATS, with a real nats-server.

#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

mod credentials;
mod order;
mod outage;
mod peer;
mod send;
mod start;
mod talk;
mod tls;
