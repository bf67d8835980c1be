//! Clients that behave: each asks something twice a second and wants its own answer.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use cereus::core::{
    Message, MessageId, MessageType, Route, RouteDictionary,
    packet::{self, Packet, PacketDecoder, PacketType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time,
};

use crate::server::Endpoints;

const INTERVAL: Duration = Duration::from_millis(500);

/// All of them.
pub(crate) struct Crowd {
    clients: JoinSet<()>,
    seen: Arc<Mutex<Seen>>,
    count: usize,
}

#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    /// Who was answered since the last time that latencies were asked for.
    answered: BTreeSet<usize>,
}

impl Crowd {
    pub(crate) async fn connect(endpoints: &Endpoints, count: usize) -> Self {
        let (mut clients, seen) = (JoinSet::new(), Arc::default());
        for number in 0..count {
            let connection = Connection::open(&endpoints.tcp).await;
            clients.spawn(ask(connection, number, Arc::clone(&seen)));
        }
        Self { clients, seen, count }
    }

    /// How long the answers took since the last time this was asked.
    pub(crate) fn take_latencies(&self) -> Latencies {
        let mut seen = self.seen.lock().unwrap();
        seen.answered.clear();
        Latencies::new(std::mem::take(&mut seen.latencies))
    }

    /// Nobody was thrown out, and nobody is without an answer.
    pub(crate) fn assert_served(&self) {
        let seen = self.seen.lock().unwrap();
        assert_eq!((self.clients.len(), seen.answered.len()), (self.count, self.count));
    }
}

/// Asks again and again. Any answer but the right one is a panic, which ends the test.
async fn ask(mut connection: Connection, number: usize, seen: Arc<Mutex<Seen>>) {
    // Not all at once.
    time::sleep(INTERVAL * (number % 100) as u32 / 100).await;
    let mut ticks = time::interval(INTERVAL);
    for id in 1.. {
        ticks.tick().await;
        let body = format!("{number}.{id}");
        let start = Instant::now();
        connection.send(&Message::request(MessageId::new(id), Route::from_static("room.echo"), body.clone())).await;
        let answer = connection.message().await;
        let took = start.elapsed();
        let expected = (MessageType::Response, MessageId::new(id), false, Bytes::from(body));
        if (answer.kind, answer.id, answer.error, answer.body) != expected {
            eprintln!("client {number} was answered something else");
            std::process::exit(1);
        }
        let mut seen = seen.lock().unwrap();
        seen.latencies.push(took);
        seen.answered.insert(number);
    }
}

/// A client after its handshake.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    decoder: PacketDecoder,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Self {
        Self::try_open(address).await.unwrap_or_else(|| {
            eprintln!("a client that behaves was not let in");
            std::process::exit(1);
        })
    }

    /// `None`: it was not let in.
    pub(crate) async fn try_open(address: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let mut connection = Self { stream, decoder: PacketDecoder::new(packet::MAX_BODY_LEN) };
        connection.stream.write_all(&encode(PacketType::Handshake, b"{}")).await.ok()?;
        connection.packet().await.filter(|packet| packet.kind == PacketType::Handshake)?;
        connection.stream.write_all(&encode(PacketType::HandshakeAck, b"")).await.ok()?;
        Some(connection)
    }

    pub(crate) async fn send(&mut self, message: &Message) {
        // Whoever was thrown out is told by what it reads.
        let _ = self.stream.write_all(&encode_message(message)).await;
    }

    /// The next message.
    async fn message(&mut self) -> Message {
        loop {
            match self.packet().await {
                Some(Packet { kind: PacketType::Data, body, .. }) => {
                    return Message::decode(body, &RouteDictionary::default(), packet::MAX_BODY_LEN).unwrap();
                }
                Some(_) => {}
                None => {
                    eprintln!("a client that behaves was thrown out");
                    std::process::exit(1);
                }
            }
        }
    }

    async fn packet(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.next_packet().unwrap() {
                return Some(packet);
            }
            let mut buf = [0; 4096];
            match self.stream.read(&mut buf).await {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.decoder.push(&buf[..len]),
            };
        }
    }
}

pub(crate) fn encode(kind: PacketType, body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    packet::encode(kind, body, &mut bytes).unwrap();
    bytes
}

pub(crate) fn encode_message(message: &Message) -> BytesMut {
    let mut body = BytesMut::new();
    message.encode(&RouteDictionary::default(), false, &mut body).unwrap();
    encode(PacketType::Data, &body)
}

/// How long answers took, in order.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    fn new(mut latencies: Vec<Duration>) -> Self {
        assert!(!latencies.is_empty(), "nobody was answered");
        latencies.sort_unstable();
        Self(latencies)
    }

    fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    pub(crate) fn p99(&self) -> Duration {
        self.at(99)
    }

    pub(crate) fn text(latency: Duration) -> String {
        format!("{:.2} ms", latency.as_secs_f64() * 1000.0)
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, p99, most] = [50, 99, 100].map(|percent| Self::text(self.at(percent)));
        write!(f, "{} answers, p50 {half}, p99 {p99}, longest {most}", self.0.len())
    }
}
