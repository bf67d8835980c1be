use std::sync::Arc;

use bytes::Bytes;
use cereus_cluster::{
    Address, Addressing, CallError, Kind, ServerInfo, names,
    protos::{self, KickMsg, Push},
};
use cereus_core::{Route, SendError, session::SessionId};
use prost::Message;

use crate::{
    Error, Kicking, PushError, Rpc, Session,
    cluster::{Origin, Shared},
    push::Content,
    session::OnClose,
};

/// The session's other half: the client is connected to another server, which does what is asked here (specification,
/// sections 7 and 12.2).
pub(super) struct Remote {
    pub(super) frontend: Arc<str>,
    pub(super) session: SessionId,
    pub(super) origin: Arc<Origin>,
}

impl Remote {
    pub(super) async fn bind(&self, session: &Session, uid: &str) -> Result<(), Error> {
        let asked = protos::Session { id: self.session.get(), uid: uid.to_owned(), data: Bytes::new() };
        self.ask(session, names::sys::BIND_SESSION, &asked).await
    }

    pub(super) async fn push_data(&self, session: &Session) -> Result<(), Error> {
        let asked = protos::Session {
            id: self.session.get(),
            uid: session.uid().map(|uid| uid.to_string()).unwrap_or_default(),
            data: session.encoded_data(),
        };
        self.ask(session, names::sys::PUSH_SESSION, &asked).await
    }

    /// Waits for the frontend, and never for the message that the session is busy with: that one waits for this.
    async fn ask(&self, session: &Session, route: &str, asked: &impl Message) -> Result<(), Error> {
        let (_, frontend) = self.reach(session)?;
        self.rpc(session).call_raw(&frontend, route, asked.encode_to_vec().into())?.await.map(drop)
    }

    pub(super) fn kick(&self, session: &Session) -> Kicking {
        let kick = || {
            let uid = session.uid().ok_or(PushError::NoUser)?;
            let (_, frontend) = self.reach(session)?;
            let kick = KickMsg { user_id: uid.to_string() }.encode_to_vec();
            self.rpc(session).cast(&frontend, names::sys::KICK, kick.into())
        };
        match kick() {
            Ok(call) => Kicking::running(async move { call.await.map(drop) }),
            Err(error) => Kicking::failed(error),
        }
    }

    pub(super) async fn on_close(&self, session: &Session, callback: OnClose) -> Result<(), Error> {
        let (shared, _) = self.reach(session)?;
        shared.watch_session(&self.rpc(session), &self.frontend, self.session.get(), callback).await
    }

    pub(super) fn push(&self, session: &Session, route: &Route, push: Content) -> Result<(), PushError> {
        let (shared, frontend) = self.reach(session)?;
        let uid = session.uid().ok_or(PushError::NoUser)?;
        let route = route.as_str().ok_or_else(|| PushError::Body("the route is no text".to_owned()))?;
        let on_full = push.on_full();
        let push = Push { route: route.to_owned(), uid: uid.to_string(), data: push.body, on_full };
        let to = match shared.bus.addressing() {
            Addressing::Servers => Address::Server(frontend),
            _ => Address::User { frontend_type: frontend.server_type.as_str().into(), uid },
        };
        shared.send(to, Kind::Push, push.encode_to_vec().into()).map_err(|error| match error {
            CallError::TooLong { len, .. } => PushError::Send(SendError::TooLarge(len)),
            _ => PushError::Full,
        })
    }

    pub(super) async fn push_wait(&self, session: &Session, route: &Route, push: Content) -> Result<(), PushError> {
        let (shared, _) = self.reach(session)?;
        let attempt = || match self.push(session, route, push.clone()) {
            Err(PushError::Full) => None,
            result => Some(result),
        };
        shared.retry(attempt).await
    }

    fn rpc(&self, session: &Session) -> Rpc {
        Rpc::new(session.server().clone(), (*self.origin).clone())
    }

    fn reach<'a>(&self, session: &'a Session) -> Result<(&'a Arc<Shared>, Arc<ServerInfo>), PushError> {
        let shared = session.server().shared().ok_or(PushError::NoFrontend)?;
        let frontend = shared.servers().by_id(&self.frontend).cloned();
        Ok((shared, frontend.ok_or(PushError::NoFrontend)?))
    }
}
