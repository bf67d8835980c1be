//! Clients that do not behave. Each does one thing, again and again, and comes back when it was thrown out.

use std::{io::Write, sync::OnceLock, thread, time::Duration};

use cereus::core::{Message, MessageId, Route, packet::PacketType};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    time,
};

use crate::{
    healthy::{Connection, encode, encode_message},
    net::Stream,
    server::Endpoints,
    tls::Socket,
};

const TICK: Duration = Duration::from_millis(200);

/// What floods rest between two waves. A server that was not optimised has enough of fewer.
const REST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 50 } else { 5 });

/// What one of them does. It ends when the server has closed the connection, and is done again then.
enum Attack {
    /// Sends bytes one by one to one of the ports.
    Drip(fn(&Endpoints) -> &str, &'static [u8]),
    /// Shakes hands, sends this at once, and then one byte after the other.
    Announce(&'static [u8]),
    /// Half a handshake, and no more.
    HalfHandshake,
    /// Bodies that become a thousand times as long.
    Bomb,
    /// As many requests as go through, and reads the answers.
    Flood,
    /// Asks for much and reads nothing.
    NeverRead(&'static str),
    /// Comes and goes.
    Vanish,
    /// Bytes that mean nothing.
    Garbage,
    /// Pings without end, over WebSocket.
    Pings,
    /// Records that mean nothing, over TLS.
    TlsGarbage,
    /// A packet that never becomes whole, as fast as it goes.
    NeverWhole,
}

const HANDSHAKE: &[u8] = b"\x01\0\0\x02{}";
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const PROXY: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\n";
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

static ATTACKS: [Attack; 17] = [
    Attack::Drip(|to| &to.tcp, HANDSHAKE),
    Attack::Drip(|to| &to.websocket, UPGRADE),
    Attack::Drip(|to| &to.tls, CLIENT_HELLO),
    Attack::Drip(|to| &to.wss, CLIENT_HELLO),
    Attack::Drip(|to| &to.proxy, PROXY),
    Attack::HalfHandshake,
    // 16 MiB, of which one byte comes.
    Attack::Announce(b"\x04\xff\xff\xffx"),
    Attack::Announce(b"\x04\0\x10\0\0\x01\x09"),
    Attack::Bomb,
    Attack::Flood,
    Attack::NeverRead("room.large"),
    Attack::NeverRead("room.spam"),
    Attack::Vanish,
    Attack::Garbage,
    Attack::Pings,
    Attack::TlsGarbage,
    Attack::NeverWhole,
];

/// So many of them, in a thread of their own: those who behave are not to wait for them here. They end when this is dropped.
pub(crate) struct Horde(Option<Runtime>);

impl Horde {
    pub(crate) fn start(endpoints: &Endpoints, count: usize) -> Self {
        bomb();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        for attack in ATTACKS.iter().cycle().take(count) {
            runtime.spawn(attack.go_on(endpoints.clone()));
        }
        Self(Some(runtime))
    }
}

impl Drop for Horde {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Attack {
    async fn go_on(&self, endpoints: Endpoints) {
        loop {
            self.once(&endpoints).await;
            // Whoever comes back without a pause only measures how fast connections are made.
            time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until the server has had enough.
    async fn once(&self, endpoints: &Endpoints) -> Option<()> {
        match self {
            Self::Drip(port, bytes) => {
                let mut stream = TcpStream::connect(port(endpoints)).await.ok()?;
                drip(&mut stream, bytes).await
            }
            Self::HalfHandshake => {
                let mut stream = TcpStream::connect(&endpoints.tcp).await.ok()?;
                stream.write_all(HANDSHAKE).await.ok()?;
                read_to_end(&mut stream).await
            }
            Self::Announce(bytes) => {
                let mut connection = Connection::try_open(&endpoints.tcp).await?;
                connection.stream.write_all(bytes).await.ok()?;
                drip(&mut connection.stream, &[b'x'; 1000]).await
            }
            Self::Bomb => ask_again_and_again(endpoints, bomb(), true).await,
            Self::Flood => ask_again_and_again(endpoints, &request("room.echo").repeat(50), true).await,
            Self::NeverRead(route) => ask_again_and_again(endpoints, &request(route), false).await,
            Self::Vanish => {
                let stream = Connection::try_open(&endpoints.tcp).await?.stream;
                // It goes with a reset.
                stream.set_zero_linger().ok()
            }
            Self::Garbage => {
                let mut connection = Connection::try_open(&endpoints.tcp).await?;
                let garbage: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
                connection.stream.write_all(&garbage).await.ok()?;
                read_to_end(&mut connection.stream).await
            }
            Self::Pings => {
                let mut stream = TcpStream::connect(&endpoints.websocket).await.ok()?;
                stream.write_all(UPGRADE).await.ok()?;
                let pings = b"\x89\x85mask\0\0\0\0\0".repeat(100);
                loop {
                    stream.write_all(&pings).await.ok()?;
                    time::sleep(REST).await;
                }
            }
            Self::TlsGarbage => {
                let address = endpoints.tls.clone();
                tokio::task::spawn_blocking(move || tls_garbage(&address)).await.ok()?
            }
            Self::NeverWhole => {
                let mut connection = Connection::try_open(&endpoints.tcp).await?;
                connection.stream.write_all(b"\x04\xff\xff\xff").await.ok()?;
                for _ in 0..255 {
                    connection.stream.write_all(&[b'x'; 64 << 10]).await.ok()?;
                    time::sleep(REST).await;
                }
                read_to_end(&mut connection.stream).await
            }
        }
    }
}

/// A request of 4 KiB with a body of 4 MiB, as much as the server takes.
fn bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        let deflated = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; 4 << 20], 9);
        encode(PacketType::Data, &[b"\x10\x01\x09room.echo", &deflated[..]].concat()).to_vec()
    })
}

fn request(route: &'static str) -> Vec<u8> {
    encode_message(&Message::request(MessageId::new(1), Route::from_static(route), "x")).to_vec()
}

async fn drip(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    for byte in bytes {
        stream.write_all(std::slice::from_ref(byte)).await.ok()?;
        time::sleep(TICK).await;
    }
    read_to_end(stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> Option<()> {
    let mut buf = [0; 4096];
    while stream.read(&mut buf).await.ok()? > 0 {}
    Some(())
}

async fn ask_again_and_again(endpoints: &Endpoints, bytes: &[u8], reads: bool) -> Option<()> {
    let mut stream = Connection::try_open(&endpoints.tcp).await?.stream;
    let (mut reader, mut writer) = stream.split();
    let write = async {
        loop {
            writer.write_all(bytes).await.ok()?;
            time::sleep(REST).await;
        }
    };
    let read = async {
        let mut buf = [0; 64 << 10];
        while !reads || reader.read(&mut buf).await.ok()? > 0 {
            if !reads {
                time::sleep(TICK).await;
            }
        }
        Some(())
    };
    tokio::select! {
        ended = write => ended,
        ended = read => ended,
    }
}

/// Shakes hands as it should, and then sends records that were never encrypted: a renegotiation, an alert, anything.
fn tls_garbage(address: &str) -> Option<()> {
    let mut socket = Socket::new(&format!("tls://{address}"), Stream::connect(address.parse().unwrap()).ok()?);
    socket.write_all(HANDSHAKE).ok()?;
    socket.flush().ok()?;
    let Stream::Socket(wire) = socket.stream() else { unreachable!("there is no simulation here") };
    let mut wire = wire.try_clone().ok()?;
    for record in
        [&b"\x16\x03\x03\0\x04\x01\0\0\0"[..], b"\x15\x03\x03\0\x02\x01\0", b"\x17\x03\x03\xff\xff", b"\x99garbage"]
    {
        wire.write_all(record).ok()?;
        thread::sleep(Duration::from_millis(20));
    }
    Some(())
}
