//! Bots: many players in one process that do what you say, measured and counted.
//!
//! The command `cereus bot run` reads what they do from JSON files, as pitaya-bot does. Here it is code:
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
mod options;
mod play;
mod player;
mod report;
mod runner;
mod spec;
mod stats;

pub use self::{engine::Bot, error::BotError, player::Player, report::Report, runner::Runner};
