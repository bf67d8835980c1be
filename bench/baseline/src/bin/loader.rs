//! The least that a loader on tokio can do: a task for each connection that asks, counts the answers, and asks as many times
//! again. What `cereus load` is measured against.
//!
//! ```text
//! cereus-bench-loader 127.0.0.1:3250 <connections> <in flight on each> <bytes of body> <seconds>
//! ```
//!
//! It prints how many answers came within the time. `TOKIO_WORKER_THREADS` sets the threads.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const READ_BUFFER: usize = 64 * 1024;
const ROUTE: &str = "room.room.echo";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, numbers @ ..] = arguments.as_slice() else { return usage() };
    let numbers: Result<Vec<u32>, _> = numbers.iter().map(|number| number.parse()).collect();
    let Ok([connections, depth, body, seconds]) = numbers.as_deref() else { return usage() };
    match run(address, *connections, *depth, *body as usize, *seconds) {
        Ok(answered) => {
            let written = writeln!(std::io::stdout(), "{answered}");
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("cereus-bench-loader: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: cereus-bench-loader <address> <connections> <in flight> <bytes of body> <seconds>");
    ExitCode::from(2)
}

fn run(address: &str, connections: u32, depth: u32, body: usize, seconds: u32) -> Result<u64, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let answered = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let answered = Arc::clone(&answered);
            tokio::spawn(async move { load(stream, depth, body, &answered).await });
        }
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
        Ok::<_, std::io::Error>(())
    })?;
    let answered = answered.load(Ordering::Relaxed);
    runtime.shutdown_background();
    if answered == 0 { Err("there was no answer".into()) } else { Ok(answered) }
}

async fn load(mut stream: TcpStream, depth: u32, body: usize, answered: &AtomicU64) -> std::io::Result<()> {
    stream.write_all(b"\x01\0\0\x02{}\x02\0\0\0").await?;
    let (mut buffer, mut held, mut out) = (vec![0; READ_BUFFER], 0, Vec::new());
    let tail = [&[ROUTE.len() as u8], ROUTE.as_bytes(), &vec![b'x'; body]].concat();
    let (mut next_id, mut to_ask) = (1, depth);
    loop {
        for _ in 0..to_ask {
            ask(next_id, &tail, &mut out);
            next_id += 1;
        }
        stream.write_all(&out).await?;
        out.clear();
        let read = stream.read(&mut buffer[held..]).await?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let mut begin = 0;
        to_ask = 0;
        while let Some((&[kind, high, middle, low], rest)) = buffer[begin..held].split_first_chunk() {
            let Some(body) = rest.get(..u32::from_be_bytes([0, high, middle, low]) as usize) else { break };
            to_ask += u32::from(kind == 4);
            begin += 4 + body.len();
        }
        buffer.copy_within(begin..held, 0);
        held -= begin;
        answered.fetch_add(to_ask.into(), Ordering::Relaxed);
    }
}

fn ask(mut id: u32, tail: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&[4, 0, 0, 0, 0]);
    while id >= 0x80 {
        out.push(id as u8 | 0x80);
        id >>= 7;
    }
    out.push(id as u8);
    out.extend_from_slice(tail);
    let [_, high, middle, low] = ((out.len() - begin - 4) as u32).to_be_bytes();
    out[begin + 1..begin + 4].copy_from_slice(&[high, middle, low]);
}
