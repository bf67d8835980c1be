//! A little server that speaks the protocol, but for one fault.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const HEARTBEAT: Duration = Duration::from_secs(1);
const REPLY: &[u8] = br#"{"code":200,"sys":{"dict":{},"heartbeat":1,"serializer":"json"}}"#;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    WantsWholePackets,
    NeverBeats,
    AnswersTwice,
    IgnoresRequests,
    /// All of it ends.
    DiesOfGarbage,
    /// All connections end, and new ones are served.
    DropsOthers,
}

pub(crate) struct Wrong {
    pub(crate) address: String,
}

impl Wrong {
    /// Serves until the test is over.
    pub(crate) fn start(fault: Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let dead = Arc::new(AtomicBool::new(false));
        let dropped = Arc::new(AtomicUsize::new(0));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if dead.load(Ordering::SeqCst) {
                    return;
                }
                let (dead, dropped) = (Arc::clone(&dead), Arc::clone(&dropped));
                let began = dropped.load(Ordering::SeqCst);
                let connection =
                    Connection { stream: stream.unwrap(), fault, dead, buffer: Vec::new(), dropped, began };
                thread::spawn(move || connection.run());
            }
        });
        Self { address }
    }
}

struct Connection {
    stream: TcpStream,
    fault: Option<Fault>,
    dead: Arc<AtomicBool>,
    buffer: Vec<u8>,
    /// How often all connections were ended, and when this one began.
    dropped: Arc<AtomicUsize>,
    began: usize,
}

impl Connection {
    /// Until the client leaves or breaks the rules.
    fn run(mut self) -> Option<()> {
        let mut scratch = [0; 4096];
        let mut beat = Instant::now() + HEARTBEAT;
        loop {
            let left = beat.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).ok()?;
            match self.stream.read(&mut scratch) {
                Ok(0) => return None,
                Ok(read) => self.buffer.extend(&scratch[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return None,
            }
            if self.dropped.load(Ordering::SeqCst) != self.began {
                return None;
            }
            if Instant::now() >= beat {
                beat += HEARTBEAT;
                if self.fault != Some(Fault::NeverBeats) {
                    self.send(3, b"")?;
                }
            }
            while let Some((kind, body)) = self.packet()? {
                self.handle(kind, &body)?;
            }
        }
    }

    /// The next whole packet. Nothing at all: the client broke the rules.
    fn packet(&mut self) -> Option<Option<(u8, Vec<u8>)>> {
        if self.buffer.first().is_some_and(|kind| !(1..=5).contains(kind)) {
            return self.broken();
        }
        let length = self.buffer.get(1..4).map_or(0, |length| u32::from_be_bytes([0, length[0], length[1], length[2]]));
        let end = 4 + length as usize;
        if self.buffer.len() < end {
            let is_wrong = self.fault == Some(Fault::WantsWholePackets) && !self.buffer.is_empty();
            return if is_wrong { None } else { Some(None) };
        }
        let packet: Vec<u8> = self.buffer.drain(..end).collect();
        Some(Some((packet[0], packet[4..].to_vec())))
    }

    fn broken<T>(&self) -> Option<T> {
        if self.fault == Some(Fault::DropsOthers) {
            self.dropped.fetch_add(1, Ordering::SeqCst);
        }
        self.dead.store(self.fault == Some(Fault::DiesOfGarbage), Ordering::SeqCst);
        None
    }

    fn handle(&mut self, kind: u8, body: &[u8]) -> Option<()> {
        match (kind, body) {
            (1, _) => self.send(1, REPLY),
            // A request: flags, an id of one byte, a route, the body.
            (4, [0, id, length, rest @ ..]) => {
                let answer = [&[4, *id], rest.get(usize::from(*length)..)?].concat();
                let times = match self.fault {
                    Some(Fault::IgnoresRequests) => 0,
                    Some(Fault::AnswersTwice) => 2,
                    _ => 1,
                };
                (0..times).try_for_each(|_| self.send(4, &answer))
            }
            (4, []) => self.broken(),
            _ => Some(()),
        }
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> Option<()> {
        let [_, length @ ..] = (body.len() as u32).to_be_bytes();
        self.stream.write_all(&[&[kind], &length[..], body].concat()).ok()
    }
}
