//! The remotes that every server has (specification, section 12.2), and Cereus' own.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use cereus_cluster::{
    ServerInfo,
    names::{self, ACK},
    protos::{self, KickAnswer, KickMsg, Multicast, Response, Unreached},
};
use cereus_core::session::SessionId;
use hashbrown::HashMap;
use prost::Message;

use crate::{
    Error, Rpc, Server, Session,
    cluster::{Origin, Shared},
    handler::Reply,
    hook::{BoxFuture, catch_panic},
    push::Content,
};

type SysRemote = fn(Server, Bytes, Arc<Origin>) -> Reply;

/// The remote of a route, if it is one of these.
pub(crate) fn find(route: &str) -> Option<SysRemote> {
    Some(match route {
        names::sys::BIND_SESSION => |server, data, _| Box::pin(async move { bind_session(&server, data).await }),
        names::sys::PUSH_SESSION => |server, data, _| Box::pin(async move { push_session(&server, data) }),
        names::sys::KICK => |server, data, _| Box::pin(async move { kick(&server, data) }),
        names::sys::MULTICAST => |server, data, _| Box::pin(async move { multicast(&server, data).await }),
        names::sys::WATCH_SESSION => {
            |server, data, origin| Box::pin(async move { watch_session(&server, data, &origin) })
        }
        names::sys::SESSION_CLOSED => {
            |server, data, origin| Box::pin(async move { session_closed(&server, data, &origin).await })
        }
        _ => return None,
    })
}

fn decode<T: Message + Default>(data: Bytes) -> Result<T, Error> {
    T::decode(data).map_err(|error| Error::new(Error::BAD_REQUEST, error.to_string()))
}

fn local_session(server: &Server, id: i64) -> Result<Session, Error> {
    server.sessions().by_id(SessionId::new(id)).ok_or_else(|| Error::new(Error::UNKNOWN, "session not found"))
}

/// What others answer: an answer within the answer.
fn ack() -> Bytes {
    Response { data: Bytes::from_static(ACK), error: None }.encode_to_vec().into()
}

async fn bind_session(server: &Server, data: Bytes) -> Result<Bytes, Error> {
    let asked: protos::Session = decode(data)?;
    local_session(server, asked.id)?.bind(asked.uid).await?;
    Ok(ack())
}

fn push_session(server: &Server, data: Bytes) -> Result<Bytes, Error> {
    let asked: protos::Session = decode(data)?;
    local_session(server, asked.id)?.data(|data| data.replace(&asked.data))?;
    Ok(ack())
}

fn kick(server: &Server, data: Bytes) -> Result<Bytes, Error> {
    let asked: KickMsg = decode(data)?;
    let session = server.sessions().by_uid(&asked.user_id);
    session.ok_or_else(|| Error::new(Error::UNKNOWN, "session not found"))?.kick(None);
    Ok(KickAnswer { kicked: true }.encode_to_vec().into())
}

async fn multicast(server: &Server, data: Bytes) -> Result<Bytes, Error> {
    let asked: Multicast = decode(data)?;
    let content = Content::received(asked.data.clone(), asked.on_full());
    let uids = server.push_to_local_users(asked.uids.iter(), asked.route, content).await?;
    let uids = uids.iter().map(|uid| uid.to_string()).collect();
    Ok(Unreached { uids }.encode_to_vec().into())
}

fn watch_session(server: &Server, data: Bytes, origin: &Origin) -> Result<Bytes, Error> {
    let asked: protos::Session = decode(data)?;
    if !local_session(server, asked.id)?.add_watcher(&origin.propagated.peer_id) {
        return Err(Error::new(Error::UNKNOWN, "session not found"));
    }
    Ok(ack())
}

async fn session_closed(server: &Server, data: Bytes, origin: &Origin) -> Result<Bytes, Error> {
    let asked: protos::Session = decode(data)?;
    if let Some(shared) = server.shared() {
        shared.incoming.watched.ended(&origin.propagated.peer_id, asked.id).await;
    }
    Ok(ack())
}

type Callback = Box<dyn FnOnce() -> BoxFuture<()> + Send>;

/// Sessions of other servers whose end something here waits for.
#[derive(Default)]
pub(crate) struct Watched(Mutex<HashMap<Key, Vec<(Added, Callback)>>>);

/// A server and one of its sessions.
type Key = (String, i64);

/// One callback, told from all others.
type Added = Arc<()>;

impl Watched {
    pub(crate) fn add(&self, frontend: &str, session: i64, callback: Callback, max: usize) -> Result<Added, Error> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (frontend.to_owned(), session);
        if watched.len() >= max && !watched.contains_key(&key) {
            return Err(Error::new(Error::INTERNAL, "too many sessions are watched"));
        }
        let added = Added::default();
        watched.entry(key).or_default().push((Arc::clone(&added), callback));
        Ok(added)
    }

    /// Forgets a callback that was added.
    pub(crate) fn take_back(&self, frontend: &str, session: i64, added: &Added) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (frontend.to_owned(), session);
        if let Some(callbacks) = watched.get_mut(&key) {
            callbacks.retain(|(other, _)| !Arc::ptr_eq(other, added));
            if callbacks.is_empty() {
                watched.remove(&key);
            }
        }
    }

    pub(crate) async fn ended(&self, frontend: &str, session: i64) {
        let key = (frontend.to_owned(), session);
        let callbacks = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        for (_, callback) in callbacks.into_iter().flatten() {
            catch_panic("a session's on-close callback", async move { callback().await }).await;
        }
    }

    /// The sessions of one server.
    pub(crate) fn of_server(&self, frontend: &str) -> Vec<i64> {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sessions: Vec<_> =
            watched.keys().filter(|(of, _)| of == frontend).map(|(_, session)| *session).collect();
        sessions.sort_unstable();
        sessions
    }
}

/// How often a server is told, or asked whether it is still there, and how long to wait in between.
const TRIES: u32 = 10;
const REST: Duration = Duration::from_secs(1);

/// Tells a server that asked that a session ended.
pub(crate) async fn tell_closed(server: Server, watcher: Arc<str>, session: i64) {
    let data: Bytes = protos::Session { id: session, ..protos::Session::default() }.encode_to_vec().into();
    let rpc = server.rpc();
    for _ in 0..TRIES {
        let Some(target) = rpc.servers().by_id(&watcher).cloned() else {
            return;
        };
        if let Ok(call) = rpc.call_raw(&target, names::sys::SESSION_CLOSED, data.clone())
            && call.await.is_ok()
        {
            return;
        }
        server.sleep(REST).await;
    }
    tracing::warn!(%watcher, session, "a server could not be told that a session ended");
}

/// Whether all sessions of a server that left the registry have ended: it may only be on its way out.
pub(crate) async fn probe(server: Server, gone: Arc<ServerInfo>) {
    let Some(shared) = server.shared().cloned() else {
        return;
    };
    let rpc = server.rpc();
    let mut silent = 0;
    loop {
        let Some(session) = shared.incoming.watched.of_server(&gone.id).first().copied() else {
            return;
        };
        let data = protos::Session { id: session, ..protos::Session::default() }.encode_to_vec();
        let asked = match rpc.call_raw(&gone, names::sys::WATCH_SESSION, data.into()) {
            Ok(call) => call.await,
            Err(error) => Err(error),
        };
        match asked {
            Ok(_) => silent = 0,
            // It is there and does not know this session.
            Err(error) if error.message() == "session not found" => {
                shared.incoming.watched.ended(&gone.id, session).await
            }
            Err(_) => silent += 1,
        }
        if silent >= 3 || shared.facts().ended {
            for session in shared.incoming.watched.of_server(&gone.id) {
                shared.incoming.watched.ended(&gone.id, session).await;
            }
            return;
        }
        server.sleep(REST).await;
    }
}

impl Shared {
    /// Asks the frontend to tell when a session ends.
    pub(crate) async fn watch_session(
        self: &Arc<Self>,
        rpc: &Rpc,
        frontend: &str,
        session: i64,
        callback: Callback,
    ) -> Result<(), Error> {
        let target = self.servers().by_id(frontend).cloned();
        let target = target.ok_or_else(|| Error::new(Error::UNKNOWN, "server not found").with("server", frontend))?;
        let added = self.incoming.watched.add(frontend, session, callback, self.settings.max_watched_sessions)?;
        let data = protos::Session { id: session, ..protos::Session::default() }.encode_to_vec();
        let asked = match rpc.call_raw(&target, names::sys::WATCH_SESSION, data.into()) {
            Ok(call) => call.await.map(drop),
            Err(error) => Err(error),
        };
        if asked.is_err() {
            self.incoming.watched.take_back(frontend, session, &added);
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_takes_back_takes_his_own() {
        let (watched, (told, tells)) = (Watched::default(), mpsc::channel());
        let callback = |name: &'static str| -> Callback {
            let told = told.clone();
            Box::new(move || Box::pin(async move { told.send(name).expect("the test goes on") }))
        };
        let refused = watched.add("gate", 7, callback("refused"), 1).expect("there is room");
        watched.add("gate", 7, callback("granted"), 1).expect("it is the same session");
        watched.add("gate", 8, callback("too many"), 1).expect_err("there is room for one");
        watched.take_back("gate", 7, &refused);
        futures_lite::future::block_on(watched.ended("gate", 7));
        futures_lite::future::block_on(watched.ended("gate", 7));
        assert_eq!(tells.try_iter().collect::<Vec<_>>(), ["granted"]);
    }
}
