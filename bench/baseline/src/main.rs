//! Bare tokio that sends back what it reads: no frames, no routes, no session, so that what Cereus costs on top shows.
//!
//! ```text
//! cereus-bench-baseline 127.0.0.1:0
//! ```
//!
//! With `answers` before the address it answers requests instead: see the module of that name.
//!
//! It prints `listening on <address>` and runs until it is killed. `TOKIO_WORKER_THREADS` sets the threads.

mod answers;

use std::io::{self, Write};
use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One read takes at most this much.
const READ_BUFFER: usize = 16 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (address, answers) = match arguments[..] {
        [address] => (address, false),
        ["answers", address] => (address, true),
        _ => {
            eprintln!("usage: cereus-bench-baseline [answers] <address>, such as 127.0.0.1:0");
            return ExitCode::from(2);
        }
    };
    match run(address, answers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cereus-bench-baseline: cannot serve {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str, answers: bool) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build()?;
    // The listener too lives on a worker: the thread inside `block_on` is not one of them.
    runtime.block_on(async move {
        let listener = TcpListener::bind(address).await?;
        let mut stdout = io::stdout();
        writeln!(stdout, "listening on {}", listener.local_addr()?)?;
        stdout.flush()?;
        tokio::spawn(accept(listener, answers)).await?
    })
}

async fn accept(listener: TcpListener, answers: bool) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A peer that resets its connection ends its own task only.
        match answers {
            false => drop(tokio::spawn(echo(stream))),
            true => drop(tokio::spawn(answers::answer(stream))),
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length]).await?;
    }
}
