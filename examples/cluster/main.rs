//! A connector, a room and a game server. In one process, with no service installed, and a client that plays:
//!
//! ```sh
//! cargo run --example cluster
//! cargo run --example cluster -- play            # in another terminal
//! ```
//!
//! The same as three processes over real servers (`cargo xtask services --run` starts them), or over gRPC with `--grpc`:
//!
//! ```sh
//! cargo run --example cluster --features nats,etcd -- --nats --etcd connector
//! cargo run --example cluster --features nats,etcd -- --nats --etcd room
//! cargo run --example cluster --features nats,etcd -- --nats --etcd game
//! ```
#![expect(clippy::print_stdout, reason = "to tell where it listens and what the client sees")]

mod arguments;
mod client;
mod meeting;
mod servers;

use tokio::task::JoinSet;

use crate::arguments::{Arguments, Command};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n\n{}", arguments::HELP);
            std::process::exit(2);
        }
    };
    match arguments.command {
        Command::Help => println!("{}", arguments::HELP),
        Command::Play => client::play(&arguments)?,
        Command::Serve => serve(&arguments)?,
    }
    Ok(())
}

/// Runs the servers side by side, until one fails or all have been told to end.
#[tokio::main]
async fn serve(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut serving = JoinSet::new();
    for (server, endpoints) in servers::build(arguments)? {
        serving.spawn(cereus::tokio::serve(server, endpoints));
    }
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    Ok(())
}
