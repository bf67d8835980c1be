//! Bare tokio that hands every message of a client on over NATS and the answer back: no sessions, no routes, no envelopes,
//! no order but that of the stream, so that what a forwarded request of Cereus costs on top shows.
//!
//! ```text
//! cereus-bench-proxy nats://127.0.0.1:4222 pitaya/servers/room/r1 127.0.0.1:0
//! ```
//!
//! It prints `listening on <address>` and runs until it is killed. `TOKIO_WORKER_THREADS` sets the threads.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use async_nats::{Client, Subject};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Packets.
const HANDSHAKE: u8 = 1;
const DATA: u8 = 4;
const HEAD: usize = 4;

/// The flags of a response.
const RESPONSE: u8 = 0x04;

/// A handshake is answered with this, whatever it says.
const HANDSHAKE_ANSWER: &[u8] = b"\x01\0\0\x23{\"code\":200,\"sys\":{\"heartbeat\":30}}";

/// How much room there is for a read.
const READ_BUFFER: usize = 16 * 1024;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [nats, subject, address] = &words[..] else {
        eprintln!("usage: cereus-bench-proxy <nats> <subject> <address>, such as 127.0.0.1:4222 room.r1 127.0.0.1:0");
        return ExitCode::from(2);
    };
    match run(nats, subject, address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cereus-bench-proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(nats: &str, subject: &str, address: &str) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let client = async_nats::connect(nats).await?;
        let subject = Subject::validated(subject)?;
        let listener = TcpListener::bind(address).await?;
        writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
        // The listener too lives on a worker: the thread inside `block_on` is not one of them.
        tokio::spawn(accept(listener, client, subject)).await??;
        Ok(())
    })
}

async fn accept(listener: TcpListener, client: Client, subject: Subject) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, subject) = (client.clone(), subject.clone());
        tokio::spawn(async move {
            if let Err(error) = proxy(stream, client, subject).await {
                eprintln!("cereus-bench-proxy: {error}");
            }
        });
    }
}

/// One client: its messages go one after the other, as those of a session do.
async fn proxy(mut stream: TcpStream, client: Client, subject: Subject) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut input = BytesMut::new();
    let mut output = Vec::new();
    loop {
        // Nothing is allocated as long as nobody holds what was split off before.
        input.reserve(READ_BUFFER);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        while let Some((kind, message)) = split_packet(&mut input) {
            match kind {
                HANDSHAKE => output.extend_from_slice(HANDSHAKE_ANSWER),
                DATA => {
                    let (id, id_len) = id(&message)?;
                    let answer = client.request(subject.clone(), message).await?;
                    put_response(&id[..id_len], &answer.payload, &mut output);
                }
                // Acknowledgements and heartbeats.
                _ => continue,
            }
            stream.write_all(&output).await?;
            output.clear();
        }
    }
}

/// A packet's type and its body, once it is whole.
fn split_packet(input: &mut BytesMut) -> Option<(u8, Bytes)> {
    let &[kind, high, middle, low] = input.first_chunk()?;
    let end = HEAD + u32::from_be_bytes([0, high, middle, low]) as usize;
    if input.len() < end {
        return None;
    }
    let mut packet = input.split_to(end).freeze();
    Some((kind, packet.split_off(HEAD)))
}

/// The id of a request, as it stands behind the flags, and its length. It is not read: the response has the same.
fn id(message: &[u8]) -> io::Result<([u8; 10], usize)> {
    let mut id = [0; 10];
    let bytes = message.get(1..).unwrap_or_default();
    let last = bytes.iter().take(id.len()).position(|byte| *byte < 0x80);
    let len = 1 + last.ok_or_else(|| io::Error::other("a message without an id"))?;
    id[..len].copy_from_slice(&bytes[..len]);
    Ok((id, len))
}

fn put_response(id: &[u8], answer: &[u8], output: &mut Vec<u8>) {
    let [_, high, middle, low] = ((1 + id.len() + answer.len()) as u32).to_be_bytes();
    output.extend_from_slice(&[DATA, high, middle, low, RESPONSE]);
    output.extend_from_slice(id);
    output.extend_from_slice(answer);
}
