use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::mpsc, task::JoinSet};
use tonic::transport::Endpoint;

use crate::{
    BusEvent, CallId, Kind, ServerInfo, Servers, Transmit, Undelivered,
    grpc::{WINDOW, connection, one_task::OneTask, target::Target, tls::ClientTls},
    queue::Sender,
};

/// What all connections to other servers have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) region: String,
    pub(crate) max_calls: usize,
    pub(crate) max_message_size: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_call_time: Duration,
    pub(crate) lazy: bool,
    pub(crate) tls: Option<ClientTls>,
}

/// The connections to other servers: at most one to each.
#[derive(Debug)]
pub(crate) struct Client {
    settings: Arc<Settings>,
    queue: Sender<BusEvent>,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    peers: BTreeMap<String, Peer>,
    tasks: JoinSet<()>,
    stopped: bool,
}

/// Another server. Dropped, its connection goes when the calls that are on their way have ended.
#[derive(Debug)]
struct Peer {
    info: Arc<ServerInfo>,
    target: Target,
    inbox: mpsc::UnboundedSender<Outgoing>,
    calls: Arc<AtomicUsize>,
}

/// Something that is to be sent. As long as it is there, it counts.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) kind: Kind,
    pub(crate) call: Option<CallId>,
    pub(crate) payload: Bytes,
    /// The user whose lane it is in.
    pub(crate) user: Option<String>,
    _counted: Counted,
}

#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Client {
    pub(crate) fn new(settings: Settings, queue: Sender<BusEvent>, runtime: Handle) -> Self {
        Self { settings: Arc::new(settings), queue, runtime, state: Mutex::default() }
    }

    /// Calls a server. The message comes back if its failure cannot be told now.
    pub(crate) fn send(&self, to: &Arc<ServerInfo>, message: Transmit) -> Result<(), Transmit> {
        let mut state = self.lock();
        let failed = match self.peer(&mut state, to) {
            Ok(peer) if peer.calls.load(Ordering::Relaxed) < self.settings.max_calls => {
                peer.calls.fetch_add(1, Ordering::Relaxed);
                let Transmit { kind, call, payload, .. } = message;
                let outgoing = Outgoing { kind, call, payload, user: None, _counted: Counted(Arc::clone(&peer.calls)) };
                // The task ends after its inbox.
                let _ = peer.inbox.send(outgoing);
                return Ok(());
            }
            Ok(_) => format!("too many calls wait for server `{}`", to.id),
            Err(text) => text,
        };
        drop(state);
        self.fail(message, failed)
    }

    /// Tells that something cannot be sent.
    pub(crate) fn fail(&self, message: Transmit, text: String) -> Result<(), Transmit> {
        let Some(call) = message.call else {
            tracing::debug!(kind = ?message.kind, text, "something that nobody waits for was not sent");
            return Ok(());
        };
        let event = BusEvent::Reply { call, result: Err(Undelivered::Failed(text)) };
        self.queue.try_send(event).map_err(|_| message)
    }

    /// The connection to a server, which is made if there is none yet, or one to where the server was before.
    fn peer<'a>(&self, state: &'a mut State, info: &Arc<ServerInfo>) -> Result<&'a Peer, String> {
        let is_same = |peer: &Peer| Arc::ptr_eq(&peer.info, info);
        if !state.peers.get(&info.id).is_some_and(is_same) {
            let target = Target::of(info, &self.settings.region).ok_or_else(|| {
                state.peers.remove(&info.id);
                format!("no connection: the record of server `{}` does not say where it serves gRPC", info.id)
            })?;
            match state.peers.get_mut(&info.id) {
                Some(peer) if peer.target == target => peer.info = Arc::clone(info),
                _ => {
                    let peer = self.open(state, info, target)?;
                    state.peers.insert(info.id.clone(), peer);
                }
            }
        }
        state.peers.get(&info.id).ok_or_else(|| "no connection".to_owned())
    }

    fn open(&self, state: &mut State, info: &Arc<ServerInfo>, target: Target) -> Result<Peer, String> {
        if state.stopped {
            return Err("no connection: the bus has been stopped".to_owned());
        }
        let endpoint = self.endpoint(&target).map_err(|error| {
            let error = super::chain(&error);
            format!("no connection: the record of server `{}` says that it serves gRPC at `{target}`: {error}", info.id)
        })?;
        let (sender, inbox) = mpsc::unbounded_channel();
        let connection =
            connection::Connection::new(info.id.clone(), &target, endpoint, inbox, self.queue.clone(), &self.settings);
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn_on(connection.run(), &self.runtime);
        Ok(Peer { info: Arc::clone(info), target, inbox: sender, calls: Arc::default() })
    }

    fn endpoint(&self, target: &Target) -> Result<Endpoint, tonic::transport::Error> {
        let scheme = if self.settings.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{target}"))?
            .connect_timeout(self.settings.connect_timeout)
            .tcp_keepalive(Some(KEEP_ALIVE))
            .tcp_keepalive_interval(Some(KEEP_ALIVE_AGAIN))
            .tcp_keepalive_retries(Some(KEEP_ALIVE_RETRIES))
            // As many as there can be calls: they must not wait where they can overtake each other.
            .buffer_size(self.settings.max_calls)
            .initial_connection_window_size(WINDOW)
            .executor(OneTask::spawn(&self.runtime))
            // Answers to calls that were given up are no reason to give up the connection.
            .http2_max_local_error_reset_streams(None);
        match &self.settings.tls {
            Some(tls) => tls.apply(endpoint),
            None => Ok(endpoint),
        }
    }

    /// Lets go of servers that went or are somewhere else now.
    pub(crate) fn servers_changed(&self, servers: &Servers, own: &ServerInfo) {
        let mut state = self.lock();
        state.peers.retain(|id, peer| {
            let info = servers.by_id(id);
            info.is_some_and(|info| {
                Arc::ptr_eq(info, &peer.info) || Target::of(info, &self.settings.region).as_ref() == Some(&peer.target)
            })
        });
        if !self.settings.lazy {
            for info in servers.iter().filter(|info| info.id != own.id) {
                if let Err(text) = self.peer(&mut state, info) {
                    tracing::warn!(text);
                }
            }
        }
    }

    /// Sends what waits, and waits for the answers, which `patience` limits.
    pub(crate) async fn stop(&self, patience: Duration) {
        let mut tasks = {
            let mut state = self.lock();
            state.stopped = true;
            state.peers.clear();
            std::mem::take(&mut state.tasks)
        };
        let _ = tokio::time::timeout(patience, async { while tasks.join_next().await.is_some() {} }).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics with the lock held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a server is still there is found out after so long without a word. Servers of Go would take it amiss if they were
/// asked by HTTP/2.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_AGAIN: Duration = Duration::from_secs(10);
const KEEP_ALIVE_RETRIES: u32 = 3;
