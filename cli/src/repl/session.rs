//! What the commands do.

mod checks;
mod connection;
mod seen;

use std::time::{Duration, Instant};

use bytes::Bytes;
use cereus_client::{Client, Disconnect, HandshakeRequest, RequestError, ServerError, State};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::timeout_at;

use self::{connection::Connection, seen::Seen};
use super::{
    Repl,
    command::{COMMANDS, Command, Handshake},
    inbox::{Inbox, Incoming},
    known::Known,
    screen::{Event, Screen},
};
use crate::{
    body::Body,
    failure::Failure,
    protobuf::{RouteTypes, Schema, read_error},
};

/// No answer is waited for longer. The client itself is told this, for how long to wait can change while it is connected.
const LONGEST: Duration = Duration::from_secs(3600);

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    Continue,
    Leave,
}

/// The end of a request that the server answered.
#[derive(Debug)]
struct Answer {
    route: String,
    took: Duration,
    result: Result<Body, (Box<ServerError>, Body)>,
}

/// The end of a request.
#[derive(Debug)]
pub(super) struct Ended {
    number: u64,
    /// An error: there was no answer, or none that can be read.
    result: Result<(), Failure>,
}

/// One user of the REPL, or one script.
#[derive(Debug)]
pub(super) struct Session {
    options: Repl,
    pub(super) screen: Screen,
    known: Known,
    inbox: Inbox,
    schema: Schema,
    /// Where the schema was learned.
    learned_from: Option<String>,
    handshake: HandshakeRequest,
    timeout: Duration,
    connection: Connection,
    requests: u64,
    last: Option<Answer>,
    seen: Seen,
}

impl Session {
    pub(super) fn new(options: Repl, screen: Screen, known: Known) -> Result<Self, Failure> {
        let schema = options.protobuf.schema()?;
        known.add_types(schema.message_names());
        Ok(Self {
            screen,
            known,
            inbox: Inbox::default(),
            schema,
            learned_from: None,
            handshake: options.connect.handshake(),
            timeout: options.connect.timeout.min(LONGEST),
            connection: Connection::default(),
            requests: 0,
            last: None,
            seen: Seen::default(),
            options,
        })
    }

    /// What comes is to be handed to [`take`](Self::take).
    pub(super) fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// The address that `connect` without one takes.
    pub(super) fn last_address(&self) -> Option<&str> {
        self.connection.last_address()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connection.client().is_ok()
    }

    /// The error that the last request was answered with.
    pub(super) fn last_error(&self) -> Option<String> {
        let (error, _) = self.last.as_ref()?.result.as_ref().err()?;
        Some(error.to_string())
    }

    pub(super) async fn run(&mut self, command: Command) -> Result<Flow, Failure> {
        match command {
            Command::Connect(address) => self.connect(address).await?,
            Command::Disconnect => self.disconnect().await?,
            Command::Request { route, body } => self.request(route, &body).await?,
            Command::Notify { route, body } => self.notify(&route, &body)?,
            Command::SetHandshake(handshake) => self.set_handshake(handshake),
            Command::Type { route, input, output } => self.set_types(route, RouteTypes { input, output })?,
            Command::Push { route, type_name } => self.set_push(&route, &type_name)?,
            Command::Routes => self.screen.tell(&Event::Routes(self.known.routes()))?,
            Command::Expect(expectation) => self.expect(&expectation).await?,
            Command::Wait(time) => self.wait(time).await?,
            Command::Timeout(timeout) => self.set_timeout(timeout)?,
            Command::State => self.tell_state()?,
            Command::Last => self.tell_last()?,
            Command::Help => self.screen.tell(&Event::Text(&help()))?,
            Command::Clear => self.clear()?,
            Command::Exit => return Ok(Flow::Leave),
        }
        Ok(Flow::Continue)
    }

    /// Sends what is still to be sent, and shows what came.
    pub(super) async fn end(&mut self) -> Result<(), Failure> {
        self.connection.close().await;
        self.take_all()
    }
}

/// What is sent.
impl Session {
    async fn request(&mut self, route: String, body: &str) -> Result<(), Failure> {
        let (body, client) = (self.encode(&route, body)?, self.connection.client()?);
        self.requests += 1;
        let (number, inbox, sent, asked) = (self.requests, self.inbox.clone(), Instant::now(), route.clone());
        client.request(&*route, body).call(move |result| {
            inbox.put(Incoming::Answer { number, route: asked, took: sent.elapsed(), result });
        });
        let deadline = tokio::time::Instant::now() + self.timeout;
        loop {
            let Ok(incoming) = timeout_at(deadline, self.inbox.next()).await else {
                return Err(Failure::Failed(format!("{route}: no answer within {:?}", self.timeout)));
            };
            if let Some(ended) = self.take(incoming)?
                && ended.number == number
            {
                return ended.result;
            }
        }
    }

    fn notify(&self, route: &str, body: &str) -> Result<(), Failure> {
        let body = self.encode(route, body)?;
        self.connection.client()?.notify(route, body)?;
        self.known.add_route(route);
        Ok(())
    }

    fn encode(&self, route: &str, body: &str) -> Result<Bytes, Failure> {
        if let Some(encoded) = self.schema.encode(route, body)? {
            return Ok(encoded);
        }
        if !body.is_empty() && self.options.protobuf.are_given() && self.schema.route(route).is_none() {
            let text = format!("the types of {route} are not known: tell them with `type {route} INPUT OUTPUT`");
            return Err(Failure::Usage(text));
        }
        Ok(body.to_owned().into())
    }

    /// Shows what comes meanwhile.
    async fn wait(&mut self, time: Duration) -> Result<(), Failure> {
        let end = tokio::time::Instant::now() + time;
        while let Ok(incoming) = timeout_at(end, self.inbox.next()).await {
            self.take(incoming)?;
        }
        Ok(())
    }
}

/// What comes.
impl Session {
    /// Shows it and keeps what is to be kept.
    pub(super) fn take(&mut self, (at, incoming): (Timestamp, Incoming)) -> Result<Option<Ended>, Failure> {
        match incoming {
            Incoming::Push(push) => {
                let route = push.route.to_string();
                let body = match self.schema.decode_push(&route, &push.body) {
                    Ok(Some(json)) => Body::Json(json),
                    Ok(None) => Body::guess(push.body),
                    Err(failure) => {
                        self.screen.tell_at(at, &Event::Failure(&failure.at(format_args!("push {route}"))))?;
                        Body::guess(push.body)
                    }
                };
                self.known.add_route(&route);
                self.screen.tell_at(at, &Event::Push { route: &route, body: &body })?;
                self.seen.add(route, body, self.inbox.take_dropped());
            }
            Incoming::State { connection, state } if self.connection.is_number(connection) => {
                self.take_state(at, state)?
            }
            Incoming::State { .. } => {}
            Incoming::Answer { number, route, took, result } => {
                let result = self.take_answer(at, route, took, result)?;
                return Ok(Some(Ended { number, result }));
            }
        }
        Ok(None)
    }

    /// The inner error is that there is no answer, or none that can be read.
    fn take_answer(
        &mut self,
        at: Timestamp,
        route: String,
        took: Duration,
        result: Result<Bytes, RequestError>,
    ) -> Result<Result<(), Failure>, Failure> {
        let mut outcome = Ok(());
        let result = match result {
            Ok(bytes) => Ok(match self.schema.decode_answer(&route, &bytes) {
                Ok(Some(json)) => Body::Json(json),
                Ok(None) => Body::guess(bytes),
                Err(failure) => {
                    outcome = Err(failure.at(&route));
                    Body::guess(bytes)
                }
            }),
            Err(RequestError::Server(error)) => {
                let better = read_error(&error.body).filter(|_| error.code.is_empty());
                let error = better.map_or(error, Box::new);
                let body = Body::guess(error.body.clone());
                Err((error, body))
            }
            Err(error) => return Ok(Err(Failure::from(error).at(&route))),
        };
        self.known.add_route(&route);
        let answer = Answer { route, took, result };
        self.screen.tell_at(at, &answer.event())?;
        self.last = Some(answer);
        Ok(outcome)
    }

    fn take_state(&mut self, at: Timestamp, state: State) -> Result<(), Failure> {
        let event = match &state {
            State::Closed(Disconnect::Kicked { reason }) => Some(Event::Kick { reason: reason.as_deref() }),
            State::Closed(Disconnect::Local) | State::Connecting => None,
            State::Closed(reason) => {
                let text = format!("the connection ended: {reason}");
                Some(Event::State { state: "disconnected", text, more: json!({ "reason": reason.to_string() }) })
            }
            State::Reconnecting { attempt, delay, reason } => {
                let text = format!("the connection ended: {reason}; attempt {attempt} to come back in {delay:.1?}");
                let more = json!({ "reason": reason.to_string(), "attempt": attempt });
                Some(Event::State { state: "reconnecting", text, more })
            }
            State::Open if self.connection.was_away() => {
                Some(Event::State { state: "connected", text: "connected again".to_owned(), more: json!({}) })
            }
            _ => None,
        };
        if let Some(event) = event {
            self.screen.tell_at(at, &event)?;
        }
        self.connection.note(&state);
        Ok(())
    }

    fn take_all(&mut self) -> Result<(), Failure> {
        while let Some(incoming) = self.inbox.try_next() {
            self.take(incoming)?;
        }
        Ok(())
    }
}

impl Answer {
    fn event(&self) -> Event<'_> {
        let Self { route, took, result } = self;
        match result {
            Ok(body) => Event::Response { route, body, took: *took },
            Err((error, body)) => Event::Error { route, error, body, took: *took },
        }
    }
}

/// Settings and facts.
impl Session {
    fn set_handshake(&mut self, handshake: Handshake) {
        match handshake {
            Handshake::All(request) => self.handshake = *request,
            Handshake::Platform(platform) => self.handshake.platform = platform,
            Handshake::Version(version) => self.handshake.client_version = version,
            Handshake::BuildNumber(number) => self.handshake.client_build_number = number,
        }
    }

    fn set_types(&mut self, route: String, types: RouteTypes) -> Result<(), Failure> {
        for name in types.input.iter().chain(&types.output) {
            self.check_type(name)?;
        }
        self.known.add_route(&route);
        self.schema.set_route(route, types);
        Ok(())
    }

    fn set_push(&mut self, route: &str, type_name: &str) -> Result<(), Failure> {
        self.check_type(type_name)?;
        self.known.add_route(route);
        self.schema.set_push(route, type_name);
        Ok(())
    }

    /// Types that are still to be learned cannot be checked yet.
    fn check_type(&self, name: &str) -> Result<(), Failure> {
        match (self.options.protobuf.are_given(), self.schema.is_empty()) {
            (false, _) => Err(Failure::usage(
                "only for protobuf: start with --docs ROUTE, --descriptors FILE or --proto FILE, which know the types",
            )),
            (true, true) => Ok(()),
            (true, false) => self.schema.check_type(name),
        }
    }

    fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Failure> {
        match timeout {
            None => self.screen.tell(&Event::Text(&format!("an answer may take {:?}", self.timeout))),
            Some(timeout) if timeout > LONGEST => Err(Failure::usage("an answer may take an hour, no longer")),
            Some(timeout) => {
                self.timeout = timeout;
                Ok(())
            }
        }
    }

    fn tell_state(&mut self) -> Result<(), Failure> {
        let event = match self.connection.client() {
            Ok(client) => state_of(client, self.connection.last_address().unwrap_or_default()),
            Err(failure) => Event::State { state: "disconnected", text: failure.to_string(), more: json!({}) },
        };
        self.screen.tell(&event)
    }

    fn tell_last(&mut self) -> Result<(), Failure> {
        let last = self.last.as_ref().ok_or_else(|| Failure::usage("nothing was answered yet"))?;
        self.screen.tell(&last.event())
    }

    fn clear(&mut self) -> Result<(), Failure> {
        if self.screen.is_terminal() { self.screen.write("\x1b[2J\x1b[H") } else { Ok(()) }
    }
}

fn state_of(client: &Client, address: &str) -> Event<'static> {
    let mut text = format!("connected to {address}");
    let mut more = json!({ "address": address });
    if let Some(handshake) = client.handshake() {
        text += &format!("\n  heartbeat every {:?}, bodies in {}", handshake.heartbeat, named(&handshake.serializer));
        more["heartbeat"] = handshake.heartbeat.as_secs_f64().into();
        more["serializer"] = handshake.serializer.clone().into();
    }
    if let Some(times) = client.round_trip() {
        let (last, smoothed, shortest) = (times.last, times.smoothed, times.shortest);
        text += &format!("\n  answers take {smoothed:.1?}; the last one {last:.1?}, the shortest {shortest:.1?}");
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        more["round_trip_ms"] = json!({ "last": ms(last), "smoothed": ms(smoothed), "shortest": ms(shortest) });
    }
    Event::State { state: "connected", text, more }
}

fn named(serializer: &str) -> &str {
    if serializer.is_empty() { "the server does not say what" } else { serializer }
}

fn help() -> String {
    let mut text = String::new();
    for (name, arguments, what) in COMMANDS {
        let usage = format!("{name} {arguments}");
        text += &match usage.len() {
            ..=33 => format!("  {usage:<33} {what}\n"),
            _ => format!("  {usage}\n  {:<33} {what}\n", ""),
        };
    }
    text.truncate(text.trim_end().len());
    text
}
