use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{Client, connection::State};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::{task::coop, time::timeout};

use super::{
    signals::Signals,
    users::{Subscriptions, Users},
};
use crate::{Address, BusError, BusEvent, CallId, Kind, ServerInfo, Transmit, Undelivered, names};

/// What there is once the bus is connected, for whoever sends and for whoever takes in.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) client: Client,
    /// What the subject of an answer begins with; the call is the rest.
    pub(crate) inbox: String,
    pub(crate) signals: Arc<Signals>,
    own: Arc<ServerInfo>,
    users: Mutex<Users>,
    /// How many messages can wait for one user.
    limit: usize,
    _needed: Needed,
}

/// Dropped, lets the connection be.
#[derive(Debug)]
pub(crate) struct Needed(pub(crate) Arc<Signals>);

impl Drop for Needed {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// How long the server may take to hear of a subscription.
const SETTLE: Duration = Duration::from_secs(2);

impl Running {
    pub(crate) fn new(client: Client, inbox: String, needed: Needed, own: Arc<ServerInfo>, limit: usize) -> Self {
        Self { client, inbox, signals: Arc::clone(&needed.0), own, users: Mutex::default(), limit, _needed: needed }
    }

    pub(crate) fn send(&self, message: Transmit) -> Result<(), Transmit> {
        let sent = match subject(&message.to, message.kind) {
            Ok(subject) => self.publish(subject, message.call, message.payload.clone()),
            Err(text) => Some(Err(text)),
        };
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(text)) => {
                self.fail(message.call, text);
                Ok(())
            }
            None => Err(message),
        }
    }

    /// `None`: too much waits.
    fn publish(&self, subject: String, call: Option<CallId>, payload: Bytes) -> Option<Result<(), String>> {
        let sent = match call {
            Some(call) => {
                let reply = format!("{}{call}", self.inbox);
                // Without a budget, which would let it wait although there is room.
                coop::unconstrained(self.client.publish_with_reply(subject, reply, payload)).now_or_never()
            }
            None => coop::unconstrained(self.client.publish(subject, payload)).now_or_never(),
        };
        Some(sent?.map_err(|error| error.to_string()))
    }

    fn fail(&self, call: Option<CallId>, text: String) {
        match call {
            Some(call) => {
                let event = BusEvent::Reply { call, result: Err(Undelivered::Failed(text)) };
                self.signals.raise(|raised| raised.undelivered.push(event));
            }
            None => tracing::warn!(reason = text, "a message cannot be sent over NATS"),
        }
    }

    pub(crate) async fn subscribe(&self, uid: &str) -> Result<(), BusError> {
        if self.users().contains(uid) {
            return Ok(());
        }
        check_uid(uid).map_err(BusError::new)?;
        let failed = |error: &dyn ToString| BusError::new(format!("NATS takes no subscription: {}", error.to_string()));
        if self.signals.is_ended() {
            return Err(failed(&"the bus was stopped"));
        }
        let subscribe = async |subject| self.client.subscribe(subject).await.map_err(|error| failed(&error));
        let pushes = subscribe(names::push_subject(&self.own.server_type, uid)).await?;
        let kicks = subscribe(names::kick_subject(&self.own.server_type, uid)).await?;
        // Those that somebody else made meanwhile are as good; these are ended without the lock held.
        let inserted = self.users().insert(uid, Subscriptions { pushes, kicks }, &self.signals);
        drop(inserted);
        Ok(())
    }

    /// Waits until the server knows all subscriptions, so that what anybody sends from now on finds them. A server that
    /// is away learns of them when it is back.
    pub(crate) async fn settle(&self) {
        if self.client.connection_state() == State::Connected {
            let _ = timeout(SETTLE, round_trip(&self.client)).await;
        }
    }

    /// Never waits: a subscription whose end cannot be told to the server now is ended with its next message.
    pub(crate) fn unsubscribe(&self, uid: &str) {
        let removed = self.users().remove(uid);
        drop(removed);
    }

    /// Takes out what was sent to these users.
    pub(crate) fn drain(&self, slots: &mut Vec<u32>, out: &mut VecDeque<BusEvent>) {
        let mut users = self.users();
        slots.drain(..).for_each(|slot| users.drain(slot, self.limit, out));
    }

    /// Takes nothing in any more, and makes no connection again.
    pub(crate) fn let_go(&self) {
        self.signals.end();
        let users = mem::take(&mut *self.users());
        drop(users);
    }

    pub(crate) async fn stop(&self, limit: Duration) {
        // Without a connection nothing can be sent, and the cluster has not even tried.
        if self.client.connection_state() == State::Connected
            && !matches!(timeout(limit, self.drain_connection()).await, Ok(Some(())))
        {
            tracing::warn!(?limit, "not all that waited for NATS could be sent before the bus was stopped");
        }
        self.let_go();
    }

    async fn drain_connection(&self) -> Option<()> {
        // Draining alone would not wait until all is sent.
        round_trip(&self.client).await?;
        self.client.drain().await.ok()?;
        // It fails when the connection is closed, which is what is waited for.
        let _ = self.client.flush().await;
        Some(())
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        // Nothing panics with the lock held.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Done when the server has all that was sent before.
pub(crate) async fn round_trip(client: &Client) -> Option<()> {
    let subject = client.new_inbox();
    let mut subscriber = client.subscribe(subject.clone()).await.ok()?;
    client.publish(subject, Bytes::new()).await.ok()?;
    subscriber.next().await.map(|_| ())
}

fn subject(to: &Address, kind: Kind) -> Result<String, String> {
    Ok(match (to, kind) {
        (Address::Server(server), Kind::Call) => names::server_subject(&server.server_type, &server.id),
        (Address::User { frontend_type, uid }, Kind::Push) => {
            check_uid(uid)?;
            names::push_subject(frontend_type, uid)
        }
        (Address::User { frontend_type, uid }, Kind::Kick) => {
            check_uid(uid)?;
            names::kick_subject(frontend_type, uid)
        }
        (Address::Type(server_type), Kind::Bind) => names::bindings_subject(server_type),
        (Address::Reply(to), Kind::Reply) => to.as_str().to_owned(),
        _ => return Err(format!("NATS has no subject for a {kind:?} to such an address")),
    })
}

/// NATS servers close the connection of whoever sends a line of more than 4 KiB.
const MAX_UID: usize = 1024;

fn check_uid(uid: &str) -> Result<(), String> {
    if uid.len() > MAX_UID {
        return Err(format!("a uid of {} bytes is too long for NATS: up to {MAX_UID} are possible", uid.len()));
    }
    if !names::is_plain(uid) {
        return Err(format!("the uid `{uid}` cannot be part of a NATS subject: it has white space or wildcards"));
    }
    Ok(())
}
