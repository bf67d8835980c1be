//! A transport of one's own: packets as lines of hexadecimal digits, to talk to a server by hand.
//!
//! ```sh
//! cargo run --example custom-transport [address]
//! (echo 01000002 7b7d; echo 02000000; echo 0400000d 00 05 08 6563686f2e726177 6869; sleep 1) | nc 127.0.0.1 3250
//! ```
//!
//! A handshake, its acknowledgement, and a request with the id 5 for `echo.raw`: the line `0400000404056869` answers it.
#![expect(clippy::print_stdout, reason = "to tell where it listens")]

use std::fmt::Write;

use bytes::BytesMut;
use cereus::transports::{Transport, TransportError};
use cereus::{App, BuildErrors, Endpoint, Raw, Server, Service};

/// Space between digits means nothing. All it holds is the first digit of a byte.
#[derive(Debug, Default)]
struct Hex(Option<u32>);

impl Transport for Hex {
    fn decode(&mut self, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError> {
        let mut packets = Vec::with_capacity(wire.len() / 2 + 1);
        for byte in wire.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            let digit = char::from(*byte).to_digit(16).ok_or_else(|| TransportError::Protocol("no digit".into()))?;
            match self.0.take() {
                None => self.0 = Some(digit),
                Some(high) => packets.push((high << 4 | digit) as u8),
            }
        }
        sink(&packets);
        Ok(())
    }

    fn encode(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize) {
        let mut packet = BytesMut::new();
        while wire.len() < limit && next(&mut packet).is_some() {
            packet.split().iter().for_each(|byte| write!(wire, "{byte:02x}").expect("a buffer grows"));
            wire.extend_from_slice(b"\n");
        }
    }

    fn handle_eof(&mut self) -> Result<(), TransportError> {
        self.0.map_or(Ok(()), |_| Err(TransportError::Protocol("half a byte".into())))
    }

    fn close(&mut self, _: &mut BytesMut) {}
}

pub(crate) fn build(address: &str) -> Result<(Server, Endpoint), BuildErrors> {
    let app = App::new(()).service(Service::new("echo").request("raw", async |body: Raw| body));
    let server = app.on_listening(|at| println!("listening on {}", at[0])).build()?;
    Ok((server, Endpoint::custom("hex", address, || Box::new(Hex::default()))))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (server, endpoint) = build(&std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3250".into()))?;
    Ok(cereus::tokio::serve(server, [endpoint]).await?)
}
