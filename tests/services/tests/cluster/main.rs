//! Whole servers of Cereus over a real NATS and a real etcd, which are killed and restarted in the middle of load.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "../../../support/client.rs"]
mod client;
mod ending;
mod load;
#[path = "../../../support/net.rs"]
mod net;
mod outage;
mod plain;
mod support;
mod visits;

use support::Services;
