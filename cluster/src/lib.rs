//! Who is out there, who answers, what is in flight. For now: the envelopes that servers exchange, [`protos`].

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
