//! Bots: many players in one process that do what you say, measured and counted.
//!
//! The command `cereus bot run` reads what they do from JSON files, as pitaya-bot does. Here it is code.
//!
//! A [`Bot`] plays one run: what it remembers within the run are its fields. It is given a [`Player`] that is connected, and whose
//! requests are measured. The run has failed when it returns an error ([`BotError`]: texts become one with `?`, other errors with
//! [`BotError::other`]), and when it panics, which ends nobody else's run. A [`Runner`] lets as many play at once as you like, again
//! and again, and gives a [`Report`].
//!
//! ```no_run
//! use std::time::Duration;
//! use cereus_cli::bot::{Bot, BotError, Player, Runner};
//!
//! struct Chatter;
//!
//! impl Bot for Chatter {
//!     async fn run(&mut self, player: &mut Player) -> Result<(), BotError> {
//!         let name = format!("bot-{}", player.number());
//!         let _: serde_json::Value = player.request("room.join", &name).await?;
//!         let said: String = player.push("onMessage", Duration::from_secs(5)).await?;
//!         if said.is_empty() { Err("they say nothing")? }
//!         Ok(())
//!     }
//! }
//!
//! # async fn run() -> Result<(), BotError> {
//! let runner = Runner::new("ws://localhost:3251").instances(100).duration(Duration::from_secs(60));
//! let report = runner.run(|_number| Chatter).await?;
//! println!("{report}");
//! assert!(report.is_good());
//! # Ok(())
//! # }
//! ```
//!
//! Each instance is a task, and all of them share the threads of the runtime: a bot must not block. Nothing that is kept grows
//! without bound: pushes that were not asked for have [a bound for each bot](Runner::push_buffer), what is to be sent and the
//! requests on their way [those of the client](Runner::client), and the report tells errors apart only as far as that is useful.
//!
//! Bodies are JSON with [`request`](Player::request), [`notify`](Player::notify) and [`push`](Player::push); for all else there are
//! [`request_protobuf`](Player::request_protobuf), [`request_raw`](Player::request_raw), [`notify_raw`](Player::notify_raw) and
//! [`push_raw`](Player::push_raw).

pub(crate) mod command;
mod config;
mod door;
mod duration;
mod engine;
mod error;
mod familiar;
mod history;
mod http;
mod inbox;
mod interrupt;
mod live;
mod metrics;
mod near;
mod options;
mod play;
mod player;
mod report;
mod runner;
mod spec;
mod stats;

/// The library of the client, for [`Runner::client`] and for errors.
#[doc(no_inline)]
pub use cereus_client as client;

pub use self::{engine::Bot, error::BotError, player::Player, report::Report, runner::Runner};
