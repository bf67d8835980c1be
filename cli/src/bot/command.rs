//! `cereus bot`.

use std::process::ExitCode;

use clap::Subcommand;

use super::{history::History, options::Run};
use crate::failure::Failure;

/// Let bots play: what they do is in JSON files, as for pitaya-bot.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(after_help = EXAMPLES)]
    Run(Box<Run>),
    #[command(
        alias = "parseHistory",
        after_help = "Example:\n  cereus bot history ~/.cereus_history > specs/played.json"
    )]
    History(History),
}

const EXAMPLES: &str = r#"Examples:
  cereus bot run --host localhost:3250 --duration 30s
  cereus bot run -d specs/ --config config/config.yaml --report-metrics
  cereus bot run --host wss://play.example.com --instances 500 specs/login.json

A spec is a JSON file:
  { "numberOfInstances": 10,
    "sequentialOperations": [
      {"type": "request", "uri": "room.join", "timeout": 2000,
       "args": {"name": {"type": "string", "value": "$util.uuid"}},
       "expect": {"$response.code": {"type": "int", "value": 200},
                  "$response.members": {"op": "exists"}},
       "store": {"id": {"type": "string", "value": "$response.user.id"}}},
      {"type": "notify", "uri": "room.say",
       "args": {"to": {"type": "string", "value": "$store.id"}}},
      {"type": "listen", "uri": "onMessage", "timeout": 1000},
      {"type": "function", "uri": "reconnect"},
      {"type": "loop", "times": 3, "operations": [{"type": "delay", "ms": 50}]} ] }

Exit code: 0 all runs went well; 1 a run failed, or there is no server; 2 it was
asked wrongly; 130 it was ended with Ctrl-C, or 143 with SIGTERM, and no run failed."#;

impl Command {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Run(run) => run.run(),
            Self::History(history) => history.run(),
        }
    }
}
