//! Who is out there, who answers, what is in flight.
//!
//! [`ClusterNode`] is one server's view of the cluster, a machine without IO and clock. Two kinds of drivers move its bytes
//! and decide nothing: a [`Bus`] carries envelopes, a [`Registry`] holds the records of the servers. [`InProcess`] is both,
//! inside one process; `Nats`, `Grpc` and `Etcd` come with the features of their names.
#![forbid(unsafe_code)]

#[cfg(any(feature = "etcd", feature = "grpc", feature = "nats"))]
mod background;
mod bus;
mod calls;
#[cfg(loom)]
#[cfg(test)]
mod checks;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "grpc")]
mod grpc;
mod in_process;
pub mod names;
#[cfg(feature = "nats")]
mod nats;
mod node;
mod policy;
mod propagated;
mod queue;
mod registration;
mod registry;
mod server;
#[cfg(any(feature = "nats", all(test, loom)))]
mod signals;
mod storage;
mod sync;
mod table;

pub use bus::{
    Address, Addressing, Bus, BusError, BusEvent, BusEvents, BusSender, Kind, ReplyTo, Transmit, Undelivered, bus_queue,
};
pub use calls::{CallId, CallStats};
#[cfg(feature = "etcd")]
pub use etcd::{Etcd, EtcdBindings, EtcdGroups};
#[cfg(feature = "grpc")]
pub use grpc::Grpc;
pub use in_process::{InProcess, InProcessBus, InProcessRegistry};
#[cfg(feature = "nats")]
pub use nats::Nats;
pub use node::{CallError, ClusterEvent, ClusterNode, NodeConfig};
pub use policy::Policy;
pub use propagated::{Hop, Propagated, PropagatedError};
pub use registry::{
    Changes, ChangesReceiver, KeptAlive, LeaseId, Registry, RegistryCommand, RegistryError, RegistryEvent,
};
pub use server::{RecordError, ServerInfo};
pub use storage::{BindingStorage, GroupError, GroupStorage, StorageError};
pub use table::{Change, Servers};

/// The messages between servers: package `protos`, as Go's Pitaya has it (specification, section 8).
///
/// Generated from `proto/` by `cargo xtask proto`. Bodies are slices of the buffer that they were read from; maps are
/// ordered, so that the same value always has the same bytes.
///
/// ```
/// use cereus_cluster::protos::Session;
/// use prost::Message;
///
/// let session = Session { id: 1, uid: "u1".into(), ..Session::default() };
/// assert_eq!(session.encode_to_vec(), b"\x08\x01\x12\x02u1");
/// ```
#[allow(missing_docs, clippy::all, clippy::exhaustive_enums, clippy::exhaustive_structs, clippy::use_self)]
#[path = "generated/protos.rs"]
#[rustfmt::skip]
pub mod protos;
