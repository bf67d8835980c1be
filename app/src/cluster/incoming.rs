//! What other servers ask of this one (specification, sections 9.3, 9.4 and 12.3).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cereus_cluster::{
    Propagated, ReplyTo,
    names::ACK,
    protos::{BindMsg, KickAnswer, KickMsg, Msg, MsgType, Push, Request, Response, RpcType},
};
use cereus_core::{MessageId, Route, session::SessionData};
use cereus_transports::rt::Runtime;

use crate::{
    Context, Error, Server, Session,
    cluster::{
        Origin, Shared,
        call::refusal,
        lane::{Guard, Job, Lane, LaneKey, Lanes, RunningJob},
        sys::{self, Watched},
    },
    push::Content,
    remote::RemoteContext,
};

/// Requests of other servers that run or wait here, and the sessions elsewhere that are watched.
#[derive(Default)]
pub(crate) struct Incoming {
    pub(crate) lanes: Lanes,
    pub(crate) watched: Watched,
    requests: AtomicUsize,
}

impl Incoming {
    pub(crate) fn ended(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes in what comes over the bus. It never waits for any of it.
pub(crate) struct Intake<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) server: Server,
    pub(crate) shared: Arc<Shared>,
}

impl<R: Runtime> Intake<R> {
    /// A push to a user (section 9.4).
    pub(crate) fn push(&self, push: Push, reply: Option<ReplyTo>) {
        let content = Content::received(push.data.clone(), push.on_full());
        let pushed = self.session(&push.uid).and_then(|session| Ok(session.push(push.route, content)?));
        self.answer(reply, pushed.map(|()| Bytes::from_static(ACK)), "a push of another server was dropped");
    }

    /// A kick of a user.
    pub(crate) fn kick(&self, kick: &KickMsg, reply: Option<ReplyTo>) {
        let kicked = self.session(&kick.user_id).map(|session| session.kick(None));
        if let Err(error) = &kicked {
            tracing::debug!(uid = kick.user_id, %error, "a kick of another server found nobody");
        }
        if let Some(reply) = reply {
            self.shared.reply(reply, &KickAnswer { kicked: kicked.is_ok() });
        }
    }

    /// A user was bound on another server: here he is thrown out.
    pub(crate) fn bind(&self, bind: &BindMsg, reply: Option<ReplyTo>) {
        if self.shared.settings.unique_session
            && bind.fid != self.shared.own.id
            && let Ok(session) = self.session(&bind.uid)
        {
            session.kick(None);
        }
        self.answer(reply, Ok(Bytes::from_static(ACK)), "");
    }

    fn session(&self, uid: &str) -> Result<Session, Error> {
        self.server
            .sessions()
            .by_uid(uid)
            .ok_or_else(|| Error::new(Error::UNKNOWN, "session not found").with("uid", uid))
    }

    fn answer(&self, reply: Option<ReplyTo>, result: Result<Bytes, Error>, failed: &'static str) {
        let response = match result {
            Ok(data) => Response { data, error: None },
            Err(error) => {
                tracing::debug!(%error, "{failed}");
                refusal(&error)
            }
        };
        if let Some(reply) = reply {
            self.shared.reply(reply, &response);
        }
    }

    /// A message of a client, or a call of the application's.
    pub(crate) fn request(&self, request: Request, reply: Option<ReplyTo>) {
        let kind = request.r#type;
        let taken = match RpcType::try_from(kind) {
            Ok(RpcType::Sys) => self.message(request, reply.clone()),
            Ok(RpcType::User) => self.call(request, reply.clone()),
            Err(_) => Err(Error::new(Error::BAD_REQUEST, format!("there is no type of request {kind}"))
                .with("route", request.msg.map(|msg| msg.route).unwrap_or_default())),
        };
        if let Err(error) = taken {
            self.answer(reply, Err(error), "a request of another server was refused");
        }
    }

    fn message(&self, request: Request, reply: Option<ReplyTo>) -> Result<(), Error> {
        let Request { session, msg, frontend_id, metadata, .. } = request;
        let (msg, propagated) = (take_msg(msg)?, take_metadata(&metadata)?);
        let route = Route::from(msg.route.as_str());
        let (index, endpoint) = self.server.router().find_forwarded(&route)?;
        let asks = msg.r#type == MsgType::MsgRequest as i32;
        if asks && !endpoint.answers {
            return Err(Error::new(Error::BAD_REQUEST, format!("`{}` is not answered: send a notify", endpoint.route)));
        }
        let session = session.unwrap_or_default();
        let mut data = SessionData::default();
        data.replace(&session.data).map_err(|error| Error::new(Error::INTERNAL, error.to_string()))?;
        let key = LaneKey {
            frontend: frontend_id.clone(),
            session: session.id,
            group: endpoint.concurrency.map_or(0, |_| endpoint.service + 1),
        };

        let now = self.runtime.now();
        let answer_by = propagated.timeout.map(|timeout| now + timeout);
        let origin = Arc::new(Origin { propagated, deadline: answer_by });
        let session = Session::backend(self.server.clone(), &session, data, frontend_id, Arc::clone(&origin));
        let id = asks.then(|| MessageId::new(msg.id));
        let (server, deadline, concurrency) = (self.server.clone(), endpoint.deadline, endpoint.concurrency);
        let job = Job {
            name: Arc::clone(&endpoint.route),
            start: Box::new(move || {
                let cut = server.now() + deadline;
                let context = Context::forwarded(session, route, id, msg.data, cut, origin);
                (server.router().endpoint(index).handler)(context)
            }),
            reply,
            ack: !asks,
            answer_by,
            deadline,
            guard: self.guard()?,
        };
        self.run_in_lane(key, job, concurrency.unwrap_or(1));
        Ok(())
    }

    fn run_in_lane(&self, key: LaneKey, job: Job, concurrency: usize) {
        let incoming = &self.shared.incoming;
        let Some(queue) = incoming.lanes.push(&key, job) else {
            return;
        };
        self.runtime.spawn(Lane {
            lanes: Arc::clone(incoming),
            key,
            queue,
            concurrency,
            running: Vec::new(),
            runtime: self.runtime.clone(),
            server: self.server.clone(),
        });
    }

    fn call(&self, request: Request, reply: Option<ReplyTo>) -> Result<(), Error> {
        let Request { msg, metadata, .. } = request;
        let (msg, propagated) = (take_msg(msg)?, take_metadata(&metadata)?);
        let now = self.runtime.now();
        let answer_by = propagated.timeout.map(|timeout| now + timeout);
        let short = short_route(&msg.route)?;
        let origin = Arc::new(Origin { propagated, deadline: answer_by });
        let Msg { route, data, .. } = msg.clone();
        let (name, start, deadline): (Arc<str>, Box<dyn FnOnce() -> crate::handler::Reply + Send>, Duration) =
            if let Some(remote) = sys::find(short) {
                let (server, deadline) = (self.server.clone(), self.server.settings().handler_deadline);
                (short.into(), Box::new(move || remote(server, data, origin)), deadline)
            } else {
                let Some((index, remote)) = self.server.remotes().find(short) else {
                    return Err(Error::new(Error::NOT_FOUND, "route not found").with("route", short));
                };
                let (server, deadline) = (self.server.clone(), remote.deadline);
                let start = move || {
                    let cut = server.now() + deadline;
                    let context = RemoteContext::new(server.clone(), route.into(), data, cut, origin);
                    (server.remotes().get(index).handler)(context)
                };
                (Arc::clone(&remote.route), Box::new(start), deadline)
            };
        let job = Job { name, start, reply, ack: false, answer_by, deadline, guard: self.guard()? };
        self.runtime.spawn(RunningJob::new(self.runtime.clone(), self.server.clone(), job));
        Ok(())
    }

    /// Counts a request, or refuses it when there are too many.
    fn guard(&self) -> Result<Guard, Error> {
        let incoming = Arc::clone(&self.shared.incoming);
        let count = incoming.requests.fetch_add(1, Ordering::Relaxed);
        let guard = Guard { incoming, _task: self.server.task() };
        if count >= self.shared.settings.max_requests {
            return Err(Error::new(Error::INTERNAL, "this server has too many requests already"));
        }
        Ok(guard)
    }
}

fn take_msg(msg: Option<Msg>) -> Result<Msg, Error> {
    msg.ok_or_else(|| Error::new(Error::BAD_REQUEST, "a request without a message"))
}

/// Without metadata there is no request (section 9.3).
fn take_metadata(metadata: &[u8]) -> Result<Propagated, Error> {
    Propagated::parse(metadata).map_err(|error| Error::new(Error::INTERNAL, error.to_string()))
}

/// `service.method` of a route of two or three parts.
fn short_route(route: &str) -> Result<&str, Error> {
    let refuse = |text: String| Error::new(Error::BAD_REQUEST, text).with("route", route);
    let parsed = Route::from(route);
    let path = parsed.path().map_err(|error| refuse(error.to_string()))?;
    Ok(match path.server_type {
        Some(server_type) => &route[server_type.len() + 1..],
        None => route,
    })
}
