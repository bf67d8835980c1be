//! The example `custom-transport`, by hand as its first lines say.
#![cfg(all(feature = "tokio", feature = "json"))]
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::server::{Running, Runtime};

#[path = "../examples/custom-transport.rs"]
#[expect(dead_code, reason = "its `main` is for itself")]
mod custom_transport;
#[path = "support/net.rs"]
mod net;
#[path = "support/server.rs"]
mod server;

const PATIENCE: Duration = Duration::from_secs(10);

fn connect(running: &Running) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(running.endpoint().trim_start_matches("hex://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

#[test]
fn lines_of_digits_are_packets() {
    let (server, endpoint) = custom_transport::build("127.0.0.1:0").unwrap();
    let running = Running::start(Runtime::Tokio, server, [endpoint]);
    let mut stream = connect(&running);
    let mut ask = |lines: &str| {
        stream.get_mut().write_all(lines.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).unwrap();
        answer
    };
    let welcome = ask("01000002 7b7d\n");
    assert!(welcome.starts_with("01") && welcome.ends_with("7d\n"), "{welcome}");
    assert_eq!(ask("02000000\n0400000d 00 05 08 6563686f2e726177 6869\n"), "0400000404056869\n");
    assert_eq!(ask("0400000D 00 06 08\r\n6563686F2E726177 6869\n"), "0400000404066869\n");

    // What is no digit ends its connection only.
    let mut other = connect(&running);
    other.get_mut().write_all(b"01000002 hello\n").unwrap();
    let mut nothing = Vec::new();
    let _ = other.read_to_end(&mut nothing);
    assert_eq!(nothing, b"");
    assert_eq!(ask("0400000d 00 07 08 6563686f2e726177 6869\n"), "0400000404076869\n");
}
