//! What a recording says is to be done, in its order.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::Value;

use crate::{
    failure::Failure,
    record::format::{Head, Kind, Line, MessageName, PacketName, Side, VERSION},
};

/// The longest head: what is longer is another file.
const MAX_HEAD: usize = 1 << 20;

/// The longest line: a body of 64 MiB of which JSON escapes all, and its packet.
const MAX_LINE: usize = 512 << 20;

/// A body as it was recorded.
#[derive(Clone, Debug, Default)]
pub(super) enum Body {
    #[default]
    Empty,
    Json(Value),
    Text(String),
    Bytes(Bytes),
    /// It is not there any more: why.
    Dropped(String),
}

/// What a client sent.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) session: u32,
    /// Which of its session's messages it is, from one on.
    pub(super) number: usize,
    /// The id, if it wants an answer.
    pub(super) id: Option<u64>,
    pub(super) is_request: bool,
    pub(super) route: String,
    pub(super) body: Body,
    /// The whole packet.
    pub(super) raw: Option<Bytes>,
    pub(super) answer: Option<Answer>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) error: bool,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum What {
    /// A session begins, with a handshake.
    Open,
    /// The message of this index.
    Send(usize),
    Close,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) us: u64,
    pub(super) session: u32,
    pub(super) what: What,
    /// How many of [`Plan::answers`] came before.
    pub(super) needs: usize,
}

/// One client's part.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) handshake: Body,
    /// The whole packet of the handshake.
    pub(super) raw: Option<Bytes>,
    /// What the server answered.
    pub(super) welcome: Option<Body>,
    /// By route, in their order.
    pub(super) pushes: BTreeMap<String, Vec<Body>>,
    pub(super) kick: Option<Body>,
    /// The server left, not the client.
    pub(super) is_left: bool,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) sessions: BTreeMap<u32, Session>,
    pub(super) messages: Vec<Message>,
    pub(super) steps: Vec<Step>,
    /// The messages that were answered, in the order of the answers.
    pub(super) answers: Vec<usize>,
    /// What of the recording cannot be played, and why.
    pub(super) skipped: Vec<String>,
}

impl Plan {
    /// Reads a recording, or one session of it.
    pub(super) fn read(file: &Path, only: Option<u32>) -> Result<Self, Failure> {
        let cannot = |error: io::Error| Failure::usage(format!("{} cannot be read: {error}", file.display()));
        let wrong = |number: usize, why: String| Failure::usage(format!("{}:{number}: {why}", file.display()));
        let mut lines = BufReader::new(File::open(file).map_err(cannot)?);
        match serde_json::from_slice::<Head>(&next_line(&mut lines, MAX_HEAD).map_err(cannot)?) {
            Ok(Head { version: VERSION, .. }) => {}
            Ok(Head { version, .. }) => {
                return Err(wrong(1, format!("this recording has version {version}, and only {VERSION} is known")));
            }
            Err(_) => return Err(wrong(1, "this is no recording of `cereus record`".to_owned())),
        }
        let mut reader = Reader::default();
        for number in 2.. {
            let text = next_line(&mut lines, MAX_LINE).map_err(cannot)?;
            if text.is_empty() {
                break;
            }
            let line = match serde_json::from_slice::<Line>(&text) {
                Ok(line) => line,
                // Whoever recorded was killed in the middle of it.
                Err(error) if error.is_eof() && !text.ends_with(b"\n") && text.len() < MAX_LINE => break,
                Err(error) => return Err(wrong(number, format!("this is no line of a recording: {error}"))),
            };
            if only.is_none_or(|only| only == line.session) {
                reader.take(line).map_err(|why| wrong(number, why))?;
            }
        }
        match reader.plan.steps.is_empty() {
            true if only.is_some() => Err(Failure::usage(format!("{} has no such session", file.display()))),
            true => Err(Failure::usage(format!("{} has no session with a handshake", file.display()))),
            false => Ok(reader.end()),
        }
    }
}

/// A line with its end, or as much of it as may be; nothing at the end of the file.
fn next_line(lines: &mut impl BufRead, max: usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    lines.take(max as u64).read_until(b'\n', &mut line)?;
    Ok(line)
}

#[derive(Default)]
struct Reader {
    plan: Plan,
    /// Requests by session and id that have no answer yet, and the number of messages of each session.
    pending: HashMap<(u32, u64), VecDeque<usize>>,
    counts: HashMap<u32, usize>,
    /// Sessions that are not over.
    open: BTreeMap<u32, u64>,
}

impl Reader {
    fn take(&mut self, line: Line) -> Result<(), String> {
        match (line.line, line.packet, line.from) {
            (Kind::Close, _, from) => {
                if let Some(session) = self.plan.sessions.get_mut(&line.session) {
                    session.is_left |= from == Some(Side::Server);
                }
                if self.open.remove(&line.session).is_some() {
                    self.step(line.us, line.session, What::Close);
                }
                Ok(())
            }
            (Kind::Packet, Some(packet), Some(Side::Client)) => self.client(packet, line),
            (Kind::Packet, Some(packet), Some(Side::Server)) => self.server(packet, line),
            _ => Ok(()),
        }
    }

    fn client(&mut self, packet: PacketName, line: Line) -> Result<(), String> {
        match packet {
            PacketName::Handshake if !self.plan.sessions.contains_key(&line.session) => {
                let (handshake, raw) = (body(&line)?, raw(&line)?);
                let session = Session { handshake, raw, ..Session::default() };
                self.plan.sessions.insert(line.session, session);
                self.open.insert(line.session, line.us);
                self.step(line.us, line.session, What::Open);
            }
            PacketName::Data => return self.message(line),
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, line: Line) -> Result<(), String> {
        let number = self.counts.entry(line.session).or_default();
        *number += 1;
        let (number, session) = (*number, line.session);
        let place = format!("session {session}, {number}");
        if !self.open.contains_key(&session) {
            self.plan.skipped.push(format!("{place}: its session has no handshake"));
            return Ok(());
        }
        let (Some(kind @ (MessageName::Request | MessageName::Notify)), Some(route)) = (line.message, &line.route)
        else {
            let why = line.why.as_deref().unwrap_or("clients do not send such messages");
            self.plan.skipped.push(format!("{place}: {why}"));
            return Ok(());
        };
        if let Some(why) = &line.dropped {
            self.plan.skipped.push(format!("{place} {route}: its body was left out of the recording: {why}"));
            return Ok(());
        }
        let (index, id) = (self.plan.messages.len(), line.id.filter(|id| *id != 0));
        if let Some(id) = id {
            self.pending.entry((session, id)).or_default().push_back(index);
        }
        self.plan.messages.push(Message {
            session,
            number,
            id: line.id,
            is_request: kind == MessageName::Request,
            route: route.clone(),
            body: body(&line)?,
            raw: raw(&line)?,
            answer: None,
        });
        self.step(line.us, session, What::Send(index));
        Ok(())
    }

    fn server(&mut self, packet: PacketName, line: Line) -> Result<(), String> {
        let body = body(&line)?;
        let Some(session) = self.plan.sessions.get_mut(&line.session) else { return Ok(()) };
        match (packet, line.message) {
            (PacketName::Handshake, _) => session.welcome = Some(body),
            (PacketName::Kick, _) => {
                // Who leaves first after that is left to chance.
                session.kick = Some(body);
                session.is_left = true;
            }
            (PacketName::Data, Some(MessageName::Push)) => {
                session.pushes.entry(line.route.unwrap_or_default()).or_default().push(body);
            }
            (PacketName::Data, Some(MessageName::Response)) => {
                let waiting = self.pending.get_mut(&(line.session, line.id.unwrap_or_default()));
                if let Some(index) = waiting.and_then(VecDeque::pop_front) {
                    self.plan.messages[index].answer = Some(Answer { error: line.error, body });
                    self.plan.answers.push(index);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, us: u64, session: u32, what: What) {
        self.plan.steps.push(Step { us, session, what, needs: self.plan.answers.len() });
    }

    /// Ends what was going on when the recording ended.
    fn end(mut self) -> Plan {
        let last = self.plan.steps.last().map_or(0, |step| step.us);
        for session in std::mem::take(&mut self.open).into_keys() {
            self.step(last, session, What::Close);
        }
        self.plan
    }
}

fn body(line: &Line) -> Result<Body, String> {
    Ok(match (&line.dropped, &line.body, &line.text, &line.base64) {
        (Some(why), ..) => Body::Dropped(why.clone()),
        (_, Some(json), ..) => Body::Json(serde_json::from_str(json.get()).map_err(|error| error.to_string())?),
        (_, _, Some(text), _) => Body::Text(text.clone()),
        (_, _, _, Some(base64)) => Body::Bytes(decode(base64)?),
        _ => Body::Empty,
    })
}

fn raw(line: &Line) -> Result<Option<Bytes>, String> {
    let raw = line.raw.as_deref().map(decode).transpose()?;
    match raw.as_ref().is_some_and(|raw| raw.len() < 4) {
        true => Err("`raw` is no packet".to_owned()),
        false => Ok(raw),
    }
}

fn decode(base64: &str) -> Result<Bytes, String> {
    BASE64_STANDARD.decode(base64).map(Bytes::from).map_err(|error| format!("this is no base64: {error}"))
}
