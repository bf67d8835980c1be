//! `cereus repl`: talk to a server by hand or by script.

mod above;
mod command;
mod complete;
mod expect;
mod inbox;
mod interactive;
mod known;
mod prompt;
mod screen;
mod script;
mod session;

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use self::{
    known::Known,
    screen::{Screen, Style},
    script::Source,
    session::Session,
};
use crate::{connect::Connect, failure::Failure, protobuf};

/// Talk to a server: by hand, or by a script with expectations.
#[derive(Args, Clone, Debug)]
pub(crate) struct Repl {
    /// Where to connect at once: tcp://, tls://, ws:// or wss://, or host:port, for which wss, ws, tls and tcp are tried.
    pub(crate) address: Option<String>,
    /// Run the commands in this file, then leave. `-` is standard input, as is anything but a terminal without this.
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,
    /// Write JSON with a line for each member. On a terminal this is so anyway.
    #[arg(short, long)]
    pretty: bool,
    /// Write one JSON object a line for each event, for machines.
    #[arg(long)]
    json: bool,
    /// Come back when the connection ends.
    #[arg(long)]
    reconnect: bool,
    #[command(flatten)]
    protobuf: protobuf::Options,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) const EXAMPLES: &str = r#"Examples:
  cereus repl tcp://localhost:3250
  cereus repl --docs room.room.docs ws://localhost:3251
  cereus repl --filename smoke.txt --json

A script is one command a line; `help` at the prompt lists them:
  connect ws://localhost:3251
  request room.join {"name": "nina"}
  expect code == 200
  expect push onMembers within 2 members contains "nina"
  request room.nothing
  expect error PIT-404

A path is `user.name`, `items.0.id`, `.` for everything, or a JSON pointer
`/a.b/c`. An answer that is an error ends a script unless the next command is
`expect error`.

Exit code: 0 all went well; 1 a command or an expectation failed, or there is
no server; 2 it was asked wrongly.

The history is in ~/.cereus_history, or where CEREUS_HISTORY or
PITAYACLI_HISTORY_PATH say. NO_COLOR turns colours off."#;

impl Repl {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let style = Style::new(self.json, self.pretty);
        let source = match self.filename.as_deref() {
            Some(path) if path == Path::new("-") => Source::stdin()?,
            Some(path) => Source::file(path)?,
            None if io::stdin().is_terminal() && io::stdout().is_terminal() => {
                return interactive::run(self, style).await.map(|()| ExitCode::SUCCESS);
            }
            None => Source::stdin()?,
        };
        let address = self.address.clone();
        let mut session = Session::new(self, Screen::Plain(style), Known::default())?;
        script::run(&mut session, address, source).await.map(|()| ExitCode::SUCCESS)
    }
}
