//! A socket with a transport: packets in, packets out. What stands between a client and a server, or replays one.

use std::{collections::VecDeque, future::pending, io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use cereus_client::{Address, TlsClientConfig};
use cereus_core::packet::{MAX_BODY_LEN, Packet, PacketDecoder, PacketError, PacketType, encode};
use cereus_transports::{Raw, Tls, Transport, WebSocketClient, WebSocketClientConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time,
};

use crate::{connect::Trust, failure::Failure};

/// How many bytes may wait to be written before no more are taken.
const MAX_WAITING: usize = 1 << 20;

/// How many bytes are made ready for one write.
const CHUNK: usize = 64 << 10;

/// One whole packet with its header.
pub(crate) fn packet(kind: PacketType, body: &[u8]) -> Result<Bytes, PacketError> {
    let mut buf = BytesMut::new();
    encode(kind, body, &mut buf)?;
    Ok(buf.freeze())
}

/// Where a server is, and how it is reached.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: Address,
    headers: Vec<(String, String)>,
    tls: Option<TlsClientConfig>,
    patience: Duration,
}

impl Server {
    pub(crate) fn new(
        address: &str,
        trust: &Trust,
        headers: Vec<(String, String)>,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let address: Address = address.parse().map_err(|error| Failure::usage(format!("{error}")))?;
        let tls = trust.tls(address.scheme().is_encrypted())?;
        Ok(Self { address, headers, tls, patience })
    }

    /// The address without the path, in which there may be a secret.
    pub(crate) fn place(&self) -> String {
        let text = self.address.to_string();
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", &text));
        format!("{scheme}://{}", rest.split('/').next().unwrap_or(rest))
    }

    pub(crate) async fn connect(&self) -> Result<Link, String> {
        let (socket, transport) = self.open().await?;
        Link::new(socket, transport).map_err(|error| format!("{}: {error}", self.place()))
    }

    /// A socket, and what is spoken on it.
    pub(crate) async fn open(&self) -> Result<(TcpStream, Box<dyn Transport>), String> {
        let place = (self.address.host(), self.address.port());
        match time::timeout(self.patience, TcpStream::connect(place)).await {
            Ok(Ok(socket)) => Ok((socket, self.transport()?)),
            Ok(Err(error)) => Err(format!("{}: {error}", self.place())),
            Err(_) => Err(format!("{}: no connection within {:?}", self.place(), self.patience)),
        }
    }

    fn transport(&self) -> Result<Box<dyn Transport>, String> {
        let place = self.place();
        let host = place.split_once("://").map_or("", |(_, host)| host);
        let inner: Box<dyn Transport> = match self.address.scheme().is_websocket() {
            false => Box::new(Raw::default()),
            true => {
                let mut config = WebSocketClientConfig::default();
                config.path = self.address.path().to_owned();
                config.headers.clone_from(&self.headers);
                Box::new(WebSocketClient::new(Arc::new(config), host))
            }
        };
        match &self.tls {
            None => Ok(inner),
            Some(tls) => match Tls::client(tls, self.address.host(), inner) {
                Ok(tls) => Ok(Box::new(tls)),
                Err(error) => Err(format!("{place}: {error}")),
            },
        }
    }
}

/// What came in one turn.
#[derive(Debug, Default)]
pub(crate) struct Came {
    pub(crate) packets: Vec<Packet>,
    /// Why nothing more will come.
    pub(crate) over: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Link {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    transport: Box<dyn Transport>,
    decoder: PacketDecoder,
    input: Vec<u8>,
    /// Packets that the transport has not taken yet.
    waiting: VecDeque<Bytes>,
    waiting_len: usize,
    /// Bytes for the socket.
    out: BytesMut,
}

enum Moved {
    Read(io::Result<usize>),
    Wrote(io::Result<usize>),
}

impl Link {
    pub(crate) fn new(socket: TcpStream, transport: Box<dyn Transport>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let (reader, writer) = socket.into_split();
        Ok(Self {
            reader,
            writer,
            transport,
            decoder: PacketDecoder::new(MAX_BODY_LEN),
            input: vec![0; CHUNK],
            waiting: VecDeque::new(),
            waiting_len: 0,
            out: BytesMut::new(),
        })
    }

    /// A whole packet, which goes out in later turns.
    pub(crate) fn send(&mut self, packet: Bytes) {
        self.waiting_len += packet.len();
        self.waiting.push_back(packet);
    }

    /// Whether more may be sent without holding too much.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting_len + self.out.len() < MAX_WAITING
    }

    /// Reads or writes once, whatever is possible first. Nothing is lost when it is given up before its end.
    pub(crate) async fn turn(&mut self, may_read: bool) -> Came {
        self.encode();
        let Self { reader, writer, input, out, .. } = self;
        let moved = tokio::select! {
            read = reader.read(input), if may_read => Moved::Read(read),
            wrote = writer.write_buf(out), if !out.is_empty() => Moved::Wrote(wrote),
            else => pending().await,
        };
        match moved {
            Moved::Read(Ok(0)) => self.eof(),
            Moved::Read(Ok(read)) => self.decode(read),
            Moved::Wrote(Ok(_)) => Came::default(),
            Moved::Read(Err(error)) | Moved::Wrote(Err(error)) => {
                Came { over: Some(error.to_string()), ..Came::default() }
            }
        }
    }

    fn encode(&mut self) {
        let Self { waiting, waiting_len, out, .. } = self;
        let mut next = |buf: &mut BytesMut| {
            let packet = waiting.pop_front()?;
            *waiting_len -= packet.len();
            buf.extend_from_slice(&packet);
            Some(packet.len())
        };
        self.transport.encode(&mut next, out, CHUNK);
    }

    fn decode(&mut self, read: usize) -> Came {
        let Self { transport, decoder, input, .. } = self;
        let decoded = transport.decode(&input[..read], &mut |bytes| {
            decoder.push(bytes);
        });
        let mut came = Came { over: decoded.err().map(|error| error.to_string()), ..Came::default() };
        loop {
            match decoder.next_packet() {
                Ok(Some(packet)) => came.packets.push(packet),
                Ok(None) => return came,
                Err(error) => {
                    came.over = Some(error.to_string());
                    return came;
                }
            }
        }
    }

    fn eof(&mut self) -> Came {
        let why = match self.transport.handle_eof() {
            Ok(()) => match self.decoder.finish() {
                Ok(()) => "the connection was closed".to_owned(),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        Came { over: Some(why), ..Came::default() }
    }

    /// Writes what waits, says good-bye, and waits until the peer has read it, for no longer than this.
    pub(crate) async fn finish(mut self, patience: Duration) {
        let farewell = async {
            loop {
                self.encode();
                if self.waiting.is_empty() && self.out.is_empty() {
                    break;
                }
                // What cannot be written yet waits for what is to be read: a handshake of the transport.
                if self.turn(self.out.is_empty()).await.over.is_some() {
                    return;
                }
            }
            self.transport.close(&mut self.out);
            if self.writer.write_all_buf(&mut self.out).await.is_err() || self.writer.shutdown().await.is_err() {
                return;
            }
            // A socket that is closed with bytes unread would take back what was just sent.
            while matches!(self.reader.read(&mut self.input).await, Ok(1..)) {}
        };
        let _ = time::timeout(patience, farewell).await;
    }
}
