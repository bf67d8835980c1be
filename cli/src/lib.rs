//! The command `cereus`: tools around servers of the Pitaya family. Its own use of this library is [`main`]; what others can use is
//! [`bot`].

mod body;
pub mod bot;
mod compare;
mod conform;
mod connect;
mod failure;
mod files;
mod link;
mod live;
mod load;
mod measure;
mod output;
mod path;
mod protobuf;
mod random;
mod reach;
mod record;
mod repl;
mod replay;
#[cfg(feature = "etcd")]
mod servers;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::failure::Failure;

/// Tools around servers of the Pitaya family: Cereus, Pitaya, nano, pomelo.
#[derive(Debug, Parser)]
#[command(name = "cereus", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send one request and print its answer.
    #[command(after_help = "Example:\n  cereus request tcp://localhost:3250 room.join '{\"name\": \"nina\"}'")]
    Request(Box<connect::Request>),
    #[command(
        after_help = "Example:\n  cereus load tcp://localhost:3250 --route room.echo --body hello --rate 5000 --connections 200 --html report.html"
    )]
    Load(Box<load::Load>),
    #[command(after_help = repl::EXAMPLES)]
    Repl(Box<repl::Repl>),
    /// Let bots play, as specs in JSON files say, and report how it went.
    #[command(subcommand)]
    Bot(bot::command::Command),
    /// Check whether a server keeps to the protocol, byte by byte.
    #[command(after_help = conform::AFTER_HELP)]
    Conform(Box<conform::Conform>),
    #[command(after_help = record::AFTER_HELP)]
    Record(Box<record::Record>),
    #[command(after_help = replay::AFTER_HELP)]
    Replay(Box<replay::Replay>),
    #[cfg(feature = "etcd")]
    #[command(after_help = servers::AFTER_HELP)]
    Servers(Box<servers::Servers>),
    /// Print what a shell needs to complete these commands.
    #[command(after_help = "Example:\n  cereus completions bash > ~/.local/share/bash-completion/completions/cereus")]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(failure) => {
            output::tell(&format!("cereus: {failure}"));
            failure.code()
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Request(request) => block_on(request.run()),
        Command::Load(load) => load.run(),
        Command::Repl(repl) => block_on(repl.run()),
        Command::Bot(bot) => bot.run(),
        Command::Conform(conform) => conform.run(),
        Command::Record(record) => block_on(record.run()),
        Command::Replay(replay) => block_on(replay.run()),
        #[cfg(feature = "etcd")]
        Command::Servers(servers) => block_on(servers.run()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "cereus", &mut script);
            output::print_line(String::from_utf8_lossy(&script).trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs a command on all cores.
fn block_on(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("threads cannot be started: {error}")))?.block_on(command)
}
