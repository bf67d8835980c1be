//! [`ClientConnection`](cereus_core::ClientConnection) as WebAssembly: a handful of functions over linear memory, which import
//! nothing. The TypeScript beside them brings the WebSocket, the clock and the timer.
//!
//! ```text
//!   JavaScript                     linear memory                        here
//!
//!   argument(n) ◄───────────────── where n bytes may be written
//!   write the bytes ─────────────► argument
//!   input(now), request(..), … ──────────────────────────────────────► reads the argument
//!   transmit() ◄────────────────── 1 packet waits at part(PACKET)
//!   event() ◄───────────────────── its kind; number(), part(TEXT), part(BODY) have the rest
//! ```
//!
//! One instance of the module serves one connection: whatever a connection held is given back with its instance, and a trap could
//! harm no other. Times are milliseconds of `performance.now()`. What a part points to holds until the next call that is not
//! `part`, `part_len` or `number`.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod bridge;
mod exports;
#[cfg(target_arch = "wasm32")]
mod runtime;

pub use bridge::{Bridge, EventKind, Refusal};
pub use exports::*;
