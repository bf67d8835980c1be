//! The protocol without any runtime: a thread for each client, blocking sockets, and the loop that every driver of
//! `cereus-core` has. `cargo run --example blocking [address]`, then ask it for `time.now`.
#![expect(clippy::print_stdout, reason = "to tell what happens")]

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use cereus::core::{Instant, ServerConfig, ServerConnection, ServerEvent};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3250".into());
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let config = Arc::new(ServerConfig::default());
    for stream in listener.incoming() {
        let (stream, config) = (stream?, Arc::clone(&config));
        thread::spawn(move || {
            let peer = stream.peer_addr();
            if let Err(error) = serve(stream, config) {
                eprintln!("{peer:?}: {error}");
            }
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let epoch = Clock::now();
    let now = || Instant::from_epoch(epoch.elapsed());
    let mut connection = ServerConnection::new(config, now());
    let (mut scratch, mut out) = ([0; 4096], BytesMut::new());
    loop {
        while let Some(event) = connection.poll_event() {
            act(event, &mut connection, now());
        }
        while connection.poll_transmit(&mut out).is_some() {}
        stream.write_all(&out)?;
        out.clear();
        if connection.is_closed() {
            return Ok(());
        }
        // A timeout of zero would mean none at all.
        let wait = connection.poll_timeout().map(|at| (at - now()).max(Duration::from_millis(1)));
        stream.set_read_timeout(wait)?;
        match stream.read(&mut scratch) {
            Ok(0) => connection.handle_eof(now()),
            Ok(len) => connection.handle_input(&scratch[..len], now()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                connection.handle_timeout(now());
            }
            Err(error) => return Err(error),
        }
    }
}

fn act(event: ServerEvent, connection: &mut ServerConnection, now: Instant) {
    let answered = match event {
        ServerEvent::Handshake(_) => {
            connection.accept(now);
            Ok(())
        }
        ServerEvent::Request { id, route, .. } if route == "time.now" => {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            connection.respond(id, time.as_secs().to_string())
        }
        ServerEvent::Request { id, .. } => connection.respond_error(id, r#"{"code":"PIT-404"}"#),
        event => {
            println!("{event:?}");
            Ok(())
        }
    };
    if let Err(error) = answered {
        eprintln!("{error}");
    }
}
