//! The bus over gRPC: no service is needed.

#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

mod calls;
mod limits;
mod loss;
mod peer;
mod plain;
mod tls;
