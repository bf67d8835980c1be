//! Servers that `forward`, `in-process` and `stalled` of cereus-bench load.
//!
//! ```text
//! cereus-bench-servers frontend nats://127.0.0.1:4222 127.0.0.1:0
//! cereus-bench-servers responder pitaya/servers/room/r1 64 127.0.0.1:4222
//! cereus-bench-servers in-process 127.0.0.1:0
//! cereus-bench-servers pushing keep-latest 1024 127.0.0.1:0
//! ```
//!
//! Each prints `listening on <address>` and runs until it is killed. `TOKIO_WORKER_THREADS` sets the threads.

mod fixed;
mod frontend;
mod in_process;
mod pushing;
mod responder;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

type Done = Result<(), Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["frontend", nats, address] => frontend::serve(nats, address).await,
        ["responder", subject, bytes, nats] => responder::answer(subject, bytes, nats).await,
        ["in-process", address] => in_process::serve(address).await,
        ["pushing", policy, bytes, address] => pushing::serve(policy, bytes, address).await,
        _ => Err(
            "usage: frontend NATS ADDRESS, responder SUBJECT BYTES NATS, in-process ADDRESS, or pushing POLICY BYTES \
                  ADDRESS"
                .into(),
        ),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cereus-bench-servers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells whoever started this that it is up.
fn announce(address: impl Display) {
    // Whoever does not read it does not need it.
    let _ = writeln!(io::stdout(), "listening on {address}");
}
