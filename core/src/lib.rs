//! The Pitaya client protocol as a sans-IO state machine.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod packet;
mod route;
mod time;

pub use route::{MAX_ROUTE_LEN, Route, RouteError, RoutePath};
pub use time::Instant;
