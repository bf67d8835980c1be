//! The names of what is true in every [`World`](super::World), as they are told when one does not hold.

/// A request is answered once, and nothing else is answered.
pub const ANSWER: &str = "one-answer";
/// The messages of a session are handled, and its requests answered, in the order in which they were sent.
pub const ORDER: &str = "order";
/// Nothing follows the end: no packet a kick, no handler a session that was closed.
pub const CLOSED: &str = "nothing-after-closed";
/// What a server sends are whole packets and messages.
pub const FRAMES: &str = "whole-frames";
/// A peer that is silent is given up after more than two heartbeats and at most three, unless nobody listened to it.
pub const HEARTBEAT: &str = "heartbeat";
/// No queue, buffer or table grows beyond its bound.
pub const BOUNDS: &str = "bounds";
/// Every call ends, once, at its deadline at the latest.
pub const CALLS: &str = "calls-end";
/// All servers know all others, once nothing fails any more.
pub const TABLES: &str = "tables-converge";
/// Nothing is logged as an error.
pub const LOG: &str = "no-error-log";
/// Servers that are shut down return in time, without an error, and leave no task behind.
pub const LEFTOVERS: &str = "nothing-is-left";
