//! Bare tokio that sends back what it reads: no frames, no routes, no session, so that what Cereus costs on top shows.
//!
//! ```text
//! cereus-bench-baseline 127.0.0.1:0
//! ```
//!
//! It prints `listening on <address>` and runs until it is killed. `TOKIO_WORKER_THREADS` sets the threads.

use std::io::{self, Write};
use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One read takes at most this much.
const READ_BUFFER: usize = 16 * 1024;

fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: cereus-bench-baseline <address>, such as 127.0.0.1:0");
        return ExitCode::from(2);
    };
    match run(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cereus-bench-baseline: cannot serve {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build()?;
    // The listener too lives on a worker: the thread inside `block_on` is not one of them.
    runtime.block_on(async move {
        let listener = TcpListener::bind(address).await?;
        let mut stdout = io::stdout();
        writeln!(stdout, "listening on {}", listener.local_addr()?)?;
        stdout.flush()?;
        tokio::spawn(accept(listener)).await?
    })
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A peer that resets its connection ends its own task only.
        tokio::spawn(echo(stream));
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
