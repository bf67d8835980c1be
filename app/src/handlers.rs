use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use cereus_core::{CloseReason, HandshakeRequest, Instant, MessageId, Route, SendError, ServerConnection, ServerEvent};

use crate::{
    Context, Error, Session, cluster,
    handler::Reply,
    mailbox::Letter,
    router::{Router, Target},
    running::Running,
};

/// After how many events, and how many bytes of bodies, other tasks get their turn.
const MANY: usize = 64;
const LONG: usize = 256 << 10;

/// The messages of one session that are being handled, and which may be started next.
///
/// By default one after the other; messages to a service with a concurrency run beside the others.
pub(crate) struct Handlers {
    session: Session,
    running: Vec<Message>,
    /// A message that was polled and may not start yet, and its endpoint.
    held: Option<Box<(Target, ServerEvent)>>,
    /// How many messages there were.
    number: u64,
    /// How many events there were since the last [`rest`](Self::rest), and how long their bodies.
    lately: (usize, usize),
}

struct Message {
    running: Running,
    what: What,
    /// The length of the body, inflated, that the handler may still have.
    body_len: usize,
}

/// What to do with a result.
#[derive(Clone, Copy)]
enum What {
    Handshake,
    Message { target: Target, id: Option<MessageId> },
}

impl What {
    fn name(self, router: &Router) -> &str {
        match self {
            Self::Handshake => "the handshake",
            Self::Message { target: Target::Local(endpoint), .. } => &router.endpoint(endpoint).route,
            Self::Message { target: Target::Forward(_), .. } => "a forwarded message",
        }
    }
}

impl Handlers {
    pub(crate) const fn new(session: Session) -> Self {
        Self { session, running: Vec::new(), held: None, number: 0, lately: (0, 0) }
    }

    /// Whether nothing more is started: from the moment of the shutdown on, whoever has been told of it.
    pub(crate) fn is_draining(&self) -> bool {
        self.session.server().is_stopping()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// The bytes of the bodies that they were given.
    pub(crate) fn buffered(&self) -> usize {
        self.running.iter().map(|message| message.body_len).sum()
    }

    /// Whether other tasks should get their turn first: to inflate takes its time, and so does whatever reads long bodies.
    pub(crate) const fn is_tired(&self) -> bool {
        self.lately.0 >= MANY || self.lately.1 >= LONG
    }

    pub(crate) const fn rest(&mut self) {
        self.lately = (0, 0);
    }

    /// When the first of them is cut.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.running.iter().map(|message| message.running.deadline).min()
    }

    /// Gives memory back if nothing runs.
    pub(crate) fn release(&mut self) {
        if self.running.is_empty() {
            self.running = Vec::new();
        }
    }

    /// Lets those that run go on. Returns whether one ended.
    pub(crate) fn poll(&mut self, connection: &mut ServerConnection, cx: &mut TaskContext<'_>, now: Instant) -> bool {
        let mut progress = false;
        let mut index = 0;
        while let Some(Message { running, what, .. }) = self.running.get_mut(index) {
            match running.poll(what.name(self.session.server().router()), cx, now) {
                Poll::Pending => index += 1,
                Poll::Ready(result) => {
                    let Message { what, .. } = self.running.remove(index);
                    finish(&self.session, connection, what, result, now);
                    progress = true;
                }
            }
        }
        progress
    }

    /// Takes the next event and starts its handler. Returns whether there was one that could start; an error is the
    /// last event.
    pub(crate) fn start_next(
        &mut self,
        connection: &mut ServerConnection,
        cx: &mut TaskContext<'_>,
        now: Instant,
    ) -> Result<bool, CloseReason> {
        let waits = |held: &(Target, _)| !self.may_start(held.0);
        if self.held.as_deref().is_some_and(waits) {
            return Ok(false);
        }
        let held = self.held.take().map(|held| held.1);
        let Some(event) = held.or_else(|| connection.poll_event()) else {
            return Ok(false);
        };
        self.lately.0 += 1;
        Ok(match event {
            ServerEvent::Handshake(request) => self.start_handshake(request, connection, cx, now),
            ServerEvent::Request { id, route, body } => self.start_message(Some(id), route, body, connection, cx, now),
            ServerEvent::Notify { route, body } => self.start_message(None, route, body, connection, cx, now),
            ServerEvent::Limited { id, route } => {
                let error = Error::new(Error::TOO_MANY_REQUESTS, "too many messages: send fewer, or later");
                refuse(&self.session, connection, Some(id), &error.with("route", route));
                true
            }
            ServerEvent::Closed(reason) => return Err(reason),
            _ => true,
        })
    }

    fn start_handshake(
        &mut self,
        request: HandshakeRequest,
        connection: &mut ServerConnection,
        cx: &mut TaskContext<'_>,
        now: Instant,
    ) -> bool {
        let (server, session) = (self.session.server().clone(), self.session.clone());
        if server.callbacks().handshake.is_empty() {
            session.set_handshake(request);
            connection.accept(now);
            return true;
        }
        session.set_handshake(request.clone());
        let deadline = now + server.settings().handler_deadline;
        let future: Reply = Box::pin(async move {
            match server.validate(session, request).await {
                true => Ok(Bytes::new()),
                false => Err(Error::new(Error::BAD_REQUEST, "handshake refused")),
            }
        });
        let running = Running { future, deadline };
        self.run(Message { running, what: What::Handshake, body_len: 0 }, connection, cx, now);
        true
    }

    fn start_message(
        &mut self,
        id: Option<MessageId>,
        route: Route,
        body: Bytes,
        connection: &mut ServerConnection,
        cx: &mut TaskContext<'_>,
        now: Instant,
    ) -> bool {
        let target = match self.session.server().find_target(&route, id.is_some()) {
            Ok(target) => target,
            Err(error) => {
                refuse(&self.session, connection, id, &error);
                return true;
            }
        };
        if !self.may_start(target) {
            let event = match id {
                Some(id) => ServerEvent::Request { id, route, body },
                None => ServerEvent::Notify { route, body },
            };
            self.held = Some(Box::new((target, event)));
            return false;
        }
        self.number += 1;
        let server = self.session.server();
        let (deadline, body_len) = (now + server.target_deadline(target), body.len());
        self.lately.1 += body_len;
        let context = Context::new(self.session.clone(), route, id, body, self.number, deadline);
        let what = What::Message { target, id };
        let start = || match target {
            Target::Local(endpoint) => (server.router().endpoint(endpoint).handler)(context),
            Target::Forward(forward) => cluster::forward(context, forward, deadline),
        };
        let running = Running::start(what.name(server.router()), start, deadline);
        self.run(Message { running, what, body_len }, connection, cx, now);
        true
    }

    fn may_start(&self, target: Target) -> bool {
        if self.running.is_empty() {
            return true;
        }
        let server = self.session.server();
        let concurrency = server.target_concurrency(target);
        let beside = self.running.iter().filter(|message| match message.what {
            What::Handshake => true,
            What::Message { target: other, .. } => match concurrency {
                Some(_) => server.target_group(other) == server.target_group(target),
                None => server.target_concurrency(other).is_none(),
            },
        });
        beside.count() < concurrency.unwrap_or(1)
    }

    /// Polls a new one at once: most end there and then.
    fn run(&mut self, mut message: Message, connection: &mut ServerConnection, cx: &mut TaskContext<'_>, now: Instant) {
        match message.running.poll(message.what.name(self.session.server().router()), cx, now) {
            Poll::Ready(result) => finish(&self.session, connection, message.what, result, now),
            Poll::Pending => self.running.push(message),
        }
    }

    /// Lets those that run go on without their connection; their results go nowhere. The future is told the time, and
    /// to be polled again at [`deadline`](Self::deadline).
    pub(crate) fn poll_detached(&mut self, cx: &mut TaskContext<'_>, now: Instant) -> Poll<()> {
        let router = self.session.server().router();
        self.running.retain_mut(|Message { running, what, .. }| running.poll(what.name(router), cx, now).is_pending());
        if self.running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Makes the answer. What was pushed before goes out before it.
fn finish(
    session: &Session,
    connection: &mut ServerConnection,
    what: What,
    result: Result<Bytes, Error>,
    now: Instant,
) {
    // A handshake comes first of all.
    let pushes = match what {
        What::Handshake => None,
        What::Message { .. } => session.mailbox().take_pushes(session.server().budget()),
    };
    if let Some(pushes) = pushes {
        pushes.for_each(|push| send_push(session, connection, push));
    }
    match (what, result) {
        (What::Handshake, Ok(_)) => connection.accept(now),
        (What::Handshake, Err(_)) => connection.reject(now),
        (What::Message { id: Some(id), .. }, Ok(body)) if !id.is_none() => {
            if let Err(SendError::TooLarge(len)) = connection.respond(id, body) {
                let error = Error::new(Error::UNKNOWN, format!("a reply of {len} bytes is too long"));
                refuse(session, connection, Some(id), &error);
            }
        }
        (What::Message { .. }, Ok(_)) => {}
        (What::Message { id, .. }, Err(error)) => refuse(session, connection, id, &error),
    }
}

/// Hands a push over to the connection.
pub(crate) fn send_push(session: &Session, connection: &mut ServerConnection, push: Letter) {
    let sent = match push {
        Letter::Push(route, push) => connection.push_with_policy(&route, push.body, push.on_full),
        Letter::Encoded(push) => connection.push_encoded(push),
        Letter::Kick(_) | Letter::Close | Letter::Drain => Ok(()),
    };
    if let Err(error) = sent {
        tracing::debug!(session = %session.id(), %error, "a push was dropped");
    }
}

/// Answers with an error what can be answered, and logs the rest.
fn refuse(session: &Session, connection: &mut ServerConnection, id: Option<MessageId>, error: &Error) {
    match id {
        Some(id) if !id.is_none() => {
            // Fails when the connection has ended: then there is nobody to answer.
            let _ = connection.respond_error(id, session.server().error_body(error));
        }
        _ => tracing::debug!(session = %session.id(), %error, "a message that is not answered failed"),
    }
}
