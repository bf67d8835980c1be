//! One connection to the server, packet by packet.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use cereus_core::{Message, MessageType, RouteDictionary, message::MessageError};

use super::{
    bytes::HEARTBEAT,
    trace::{Direction, Trace},
    verdict::{Stop, fail},
    websocket::{self, BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT},
    wire::{Got, Target, Wire},
};

/// No body of the server is longer once inflated.
const MAX_INFLATED: usize = 64 << 20;

/// A type, which may be any, and a body.
#[derive(Debug)]
pub(super) struct Packet(pub(super) u8, pub(super) Vec<u8>);

/// How a connection ended, if it did.
#[derive(Debug)]
pub(super) struct End {
    /// What came before, heartbeats aside.
    pub(super) packets: Vec<Packet>,
    pub(super) is_over: bool,
}

/// What came from the server.
#[derive(Debug)]
pub(super) enum Event {
    Packet(Packet),
    Pong(Vec<u8>),
    End(String),
    Nothing,
}

#[derive(Debug)]
pub(super) struct Peer {
    wire: Wire,
    is_websocket: bool,
    /// Bytes of the stream, or of the payloads of frames.
    buffer: Vec<u8>,
    frames: Vec<u8>,
    /// A message of which not all fragments are there.
    fragments: Option<Vec<u8>>,
    events: VecDeque<Event>,
    trace: Trace,
    number: u32,
    patience: Duration,
    /// How often the server is told that this side is alive, and when next.
    beat: Option<(Duration, Instant)>,
    dictionary: RouteDictionary,
}

impl Peer {
    pub(super) fn connect(target: &Target, path: &str, trace: Trace, number: u32) -> Result<Self, Stop> {
        let refused = |why: String| fail(format!("no connection could be made: {why}"));
        let wire = Wire::connect(target).map_err(refused)?;
        let mut peer = Self {
            wire,
            is_websocket: target.has_messages(),
            buffer: Vec::new(),
            frames: Vec::new(),
            fragments: None,
            events: VecDeque::new(),
            trace,
            number,
            patience: target.patience,
            beat: None,
            dictionary: RouteDictionary::default(),
        };
        if peer.is_websocket {
            let request = websocket::request(target, path);
            peer.send_bytes(request.as_bytes());
            let deadline = peer.deadline();
            let (head, rest) = websocket::head(&mut peer.wire, deadline).map_err(refused)?;
            peer.trace.bytes(number, Direction::Received, head.as_bytes());
            websocket::accepts(&head).map_err(refused)?;
            peer.take(rest)?;
        }
        Ok(peer)
    }

    /// From now on it keeps itself alive while it waits.
    pub(super) fn keep_alive(&mut self, heartbeat: Duration) {
        self.beat = (!heartbeat.is_zero()).then(|| (heartbeat, Instant::now() + heartbeat));
    }

    /// What route codes of the server mean.
    pub(super) fn set_dictionary(&mut self, dictionary: RouteDictionary) {
        self.dictionary = dictionary;
    }

    /// Sends bytes as they are. What cannot be sent is noticed when something is waited for.
    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        self.trace.bytes(self.number, Direction::Sent, bytes);
        if let Err(error) = self.wire.send(bytes) {
            self.trace.note(self.number, format!("could not be sent: {error}"));
        }
    }

    /// Sends a packet, or what stands in its place.
    pub(super) fn send(&mut self, packet: &[u8]) {
        self.send_all(&[packet]);
    }

    /// Sends packets in one write.
    pub(super) fn send_all<P: AsRef<[u8]>>(&mut self, packets: &[P]) {
        let bytes = self.wrapped(packets);
        self.send_bytes(&bytes);
    }

    /// Packets as they are on the wire.
    pub(super) fn wrapped<P: AsRef<[u8]>>(&self, packets: &[P]) -> Vec<u8> {
        let wrap = |packet: &P| match self.is_websocket {
            true => websocket::frame(BINARY, packet.as_ref()),
            false => packet.as_ref().to_vec(),
        };
        packets.iter().flat_map(wrap).collect()
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&mut self) {
        self.trace.note(self.number, "the kit ends its direction");
        self.wire.finish();
    }

    /// The next thing that comes, heartbeats included.
    pub(super) fn next(&mut self, until: Instant) -> Result<Event, Stop> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let mut wake = until;
            if let Some((every, due)) = self.beat {
                if due <= Instant::now() {
                    self.send(HEARTBEAT);
                    self.beat = Some((every, Instant::now() + every));
                    continue;
                }
                wake = wake.min(due);
            }
            match self.wire.receive(wake) {
                Got::Bytes(bytes) => {
                    if !bytes.is_empty() {
                        self.trace.bytes(self.number, Direction::Received, &bytes);
                    }
                    self.take(bytes)?;
                }
                Got::End(why) => {
                    self.trace.note(self.number, why.clone());
                    self.events.push_back(Event::End(why));
                }
                Got::Nothing => {}
            }
            if self.events.is_empty() && Instant::now() >= until {
                return Ok(Event::Nothing);
            }
        }
    }

    fn take(&mut self, bytes: Vec<u8>) -> Result<(), Stop> {
        if !self.is_websocket {
            self.buffer.extend(bytes);
            while let Some(packet) = first_packet(&mut self.buffer) {
                self.events.push_back(Event::Packet(packet));
            }
            return Ok(());
        }
        self.frames.extend(bytes);
        while let Some(frame) = websocket::next(&mut self.frames).map_err(fail)? {
            match frame.opcode {
                PING => self.send_bytes(&websocket::frame(PONG, &frame.payload)),
                PONG => self.events.push_back(Event::Pong(frame.payload)),
                CLOSE => self.events.push_back(Event::End("the server closed the WebSocket".into())),
                BINARY | CONTINUATION => {
                    let mut message = self.fragments.take().unwrap_or_default();
                    message.extend(frame.payload);
                    match frame.is_last {
                        true => self.take_message(message)?,
                        false => self.fragments = Some(message),
                    }
                }
                TEXT => return Err(fail("the server sent a text message: packets are sent in binary messages")),
                other => return Err(fail(format!("the server sent a frame with the reserved opcode {other}"))),
            }
        }
        Ok(())
    }

    fn take_message(&mut self, mut message: Vec<u8>) -> Result<(), Stop> {
        let length = message.len();
        match first_packet(&mut message) {
            Some(packet) if message.is_empty() => self.events.push_back(Event::Packet(packet)),
            Some(_) => return Err(fail("the server sent more than one packet in one WebSocket message")),
            None => {
                return Err(fail(format!("the server sent a WebSocket message of {length} bytes that is no packet")));
            }
        }
        Ok(())
    }

    /// The next packet that is no heartbeat.
    pub(super) fn packet(&mut self, awaited: &str) -> Result<Packet, Stop> {
        let until = self.deadline();
        loop {
            match self.next(until)? {
                Event::Packet(Packet(3, _)) | Event::Pong(_) => {}
                Event::Packet(packet) => return Ok(packet),
                Event::End(why) => return Err(fail(format!("{awaited} did not come: {why}"))),
                Event::Nothing => {
                    return Err(fail(format!("{awaited} did not come within {:?}", self.patience)));
                }
            }
        }
    }

    /// The next message.
    pub(super) fn message(&mut self, awaited: &str) -> Result<Received, Stop> {
        let Packet(kind, body) = self.packet(awaited)?;
        if kind != 4 {
            return Err(fail(format!("{awaited} did not come: a packet of type {kind:#04x} came instead")));
        }
        self.read(body)
    }

    fn read(&self, body: Vec<u8>) -> Result<Received, Stop> {
        let flags = body.first().copied().unwrap_or_default();
        let message = Message::decode(body.into(), &self.dictionary, MAX_INFLATED);
        let wrong = |error: MessageError| fail(format!("the server sent a message that cannot be read: {error}"));
        Ok(Received { flags, message: message.map_err(wrong)? })
    }

    /// The answer to the request with this id. Pushes may come first, other answers may not.
    pub(super) fn answer(&mut self, id: u64) -> Result<Received, Stop> {
        let awaited = format!("the answer to request {id}");
        loop {
            let received = self.message(&awaited)?;
            match received.message.kind {
                MessageType::Response if received.message.id.get() == id => return Ok(received),
                MessageType::Response => {
                    let other = received.message.id;
                    return Err(fail(format!("{awaited} did not come: an answer to {other} came instead")));
                }
                MessageType::Push => {}
                other => return Err(fail(format!("the server sent a {other:?}, which only clients send"))),
            }
        }
    }

    /// Everything but heartbeats that comes within a time, as far as the end.
    pub(super) fn within(&mut self, time: Duration) -> Result<Vec<Event>, Stop> {
        let until = Instant::now() + time;
        let mut events = Vec::new();
        loop {
            match self.next(until)? {
                Event::Packet(Packet(3, _)) => {}
                Event::Nothing => return Ok(events),
                event => {
                    let is_over = matches!(event, Event::End(_));
                    events.push(event);
                    if is_over {
                        return Ok(events);
                    }
                }
            }
        }
    }

    /// What else is answered within a time.
    pub(super) fn messages_within(&mut self, time: Duration) -> Result<Vec<Received>, Stop> {
        let mut messages = Vec::new();
        for event in self.within(time)? {
            match event {
                Event::Packet(Packet(4, body)) => messages.push(self.read(body)?),
                Event::Packet(Packet(kind, _)) => {
                    return Err(fail(format!("a packet of type {kind:#04x} came unexpectedly")));
                }
                Event::End(why) => return Err(fail(format!("the connection ended: {why}"))),
                Event::Pong(_) | Event::Nothing => {}
            }
        }
        Ok(messages)
    }

    /// Waits for the end.
    pub(super) fn end(&mut self, within: Duration) -> Result<End, Stop> {
        let until = Instant::now() + within;
        let mut packets = Vec::new();
        loop {
            match self.next(until)? {
                Event::Packet(Packet(3, _)) | Event::Pong(_) => {}
                Event::Packet(packet) => packets.push(packet),
                Event::End(_) => return Ok(End { packets, is_over: true }),
                Event::Nothing => return Ok(End { packets, is_over: false }),
            }
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }
}

/// A message, and the flags it came with.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) flags: u8,
    pub(super) message: Message,
}

/// Takes the first packet of a stream, whatever its type, if it is whole.
fn first_packet(buffer: &mut Vec<u8>) -> Option<Packet> {
    let &[kind, high, middle, low, ..] = &buffer[..] else { return None };
    let end = 4 + u32::from_be_bytes([0, high, middle, low]) as usize;
    let body = buffer.get(4..end)?.to_vec();
    buffer.drain(..end);
    Some(Packet(kind, body))
}
