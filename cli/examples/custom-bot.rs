//! A bot of one's own: it joins a room, says hello and waits until it hears itself. Ten of them, each once; then the report.
//! Ctrl-C ends them before.
//!
//! `cargo run -p cereus-cli --example custom-bot -- tcp://localhost:3250`

use std::{process::ExitCode, time::Duration};

use cereus_cli::bot::{Bot, BotError, Player, Runner};
use serde_json::{Value, json};

struct Greeter;

impl Bot for Greeter {
    async fn run(&mut self, player: &mut Player) -> Result<(), BotError> {
        let name = format!("bot-{}", player.number());
        let joined: Value = player.request("room.join", &json!({ "name": name })).await?;
        if joined["code"] != 200 {
            Err(format!("the room does not want {name}: {joined}"))?;
        }
        player.notify("room.say", &json!({ "text": "hello" }))?;
        let heard: Value = player.push("onMessage", Duration::from_secs(5)).await?;
        if heard["text"] == "hello" { Ok(()) } else { Err("nobody says hello")? }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "tcp://localhost:3250".to_owned());
    // Let them play for a while with `duration`.
    let runner = Runner::new(address).instances(10).name("greeter").max_sleep(Duration::from_millis(100));
    match runner.run_until(|_| Greeter, tokio::signal::ctrl_c()).await {
        Ok(report) => {
            eprintln!("{report}");
            if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
