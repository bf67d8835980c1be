//! The Pitaya client protocol as a sans-IO state machine.
#![cfg_attr(not(feature = "std"), no_std)]
