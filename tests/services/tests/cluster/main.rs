//! Whole servers of Cereus over a real NATS and a real etcd, which are killed and restarted in the middle of load.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "../../../support/client.rs"]
mod client;
mod ending;
mod load;
mod outage;
mod plain;
mod support;

use cereus_service_tests::{Etcd, Nats};
use support::Meeting;

/// The services of one test.
struct Services {
    nats: Nats,
    etcd: Etcd,
}

impl Services {
    fn start() -> Self {
        Self { nats: Nats::start(), etcd: Etcd::start() }
    }

    fn over_nats(&self) -> Meeting {
        Meeting { nats: Some(self.nats.url()), ..self.over_grpc() }
    }

    fn over_grpc(&self) -> Meeting {
        Meeting { nats: None, etcd: self.etcd.url(), prefix: "test/".to_owned() }
    }
}
