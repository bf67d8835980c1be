use std::{
    error::Error,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use crate::{
    Address, Addressing, Bus, BusError, BusEvent, BusEvents, ServerInfo, Servers, Transmit, background::Background,
    names::record,
};
use client::Client;
use intake::Intake;
use server::Serving;
use target::Advertised;
use tls::{ClientTls, Tls};

mod call;
mod client;
mod codec;
mod connection;
mod intake;
mod lanes;
mod line;
mod one_task;
mod server;
mod target;
mod tls;

/// Calls over gRPC, straight from server to server, as Go's Pitaya does it (specification, section 10).
///
/// Each server listens, and tells in its record where. Users are reached only through the server that has them, so a cluster
/// of several servers needs a storage of bindings.
///
/// ```no_run
/// use cereus_cluster::Grpc;
///
/// let bus = Grpc::bind("0.0.0.0:3434").region("eu").external_host("203.0.113.7");
/// ```
///
/// # Order
///
/// Servers of Cereus take in what one server sends them in the order in which it was sent, as long as the connection lasts.
/// Servers of Go handle what comes at the same time in any order: pushes to one user, and his kick, are sent to them one after
/// the other, and nothing else is ordered.
///
/// # A server that is gone
///
/// A connection is made when the first call needs it, and made again when it was lost. Calls that wait for it while it cannot
/// be made end with [`NoResponders`](crate::Undelivered::NoResponders), those that were on their way when it was lost with
/// [`Failed`](crate::Undelivered::Failed). Nothing is sent twice. A server whose record does not say where it listens is not
/// called: [`Failed`](crate::Undelivered::Failed) says so.
///
/// # Runtime
///
/// It runs on the tokio runtime that it is started on, or else on one thread of its own.
#[derive(Debug)]
#[must_use = "a bus does nothing until a cluster has it"]
pub struct Grpc {
    address: String,
    settings: Settings,
    background: Background,
    listening: Mutex<Listening>,
    running: OnceLock<Running>,
}

#[derive(Debug)]
struct Settings {
    advertised: Advertised,
    tls: Tls,
    limits: intake::Limits,
    max_calls: usize,
    max_message_size: usize,
    connect_timeout: Duration,
    max_call_time: Duration,
    drain_timeout: Duration,
    lazy: bool,
}

#[derive(Debug)]
enum Listening {
    NotYet,
    On(TcpListener, SocketAddr),
    Failed(String),
    Served,
}

#[derive(Debug)]
struct Running {
    own: Arc<ServerInfo>,
    client: Arc<Client>,
    intake: Arc<Intake>,
    serving: Mutex<Option<Serving>>,
}

/// How many bytes may be on their way on one connection. It also decides how many short messages may be: more than half as
/// many bytes, each message counted as 256, are taken for an attack.
const WINDOW: u32 = 64 << 20;

impl Grpc {
    /// A bus that will listen on an address, such as `0.0.0.0:3434`. With port 0 the system chooses the port, and the record
    /// has the chosen one. It listens from the moment the record is made; an address that cannot be had makes the start fail.
    pub fn bind(address: impl Into<String>) -> Self {
        let settings = Settings {
            advertised: Advertised::default(),
            tls: Tls::default(),
            limits: intake::Limits { calls: 65_536, events: 65_536, bytes: 64 << 20 },
            max_calls: 65_536,
            max_message_size: 4 << 20,
            connect_timeout: Duration::from_secs(5),
            max_call_time: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(5),
            lazy: true,
        };
        let (background, listening) = (Background::default(), Mutex::new(Listening::NotYet));
        Self { address: address.into(), settings, background, listening, running: OnceLock::new() }
    }

    /// The host at which servers of the same region, or all if there are no regions, reach this one. Default: the address it
    /// listens on. If that is every address of the machine: the one from which the machine reaches others, or 127.0.0.1 if
    /// there is none.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.settings.advertised.host = Some(host.into());
        self
    }

    /// The host at which servers of other regions reach this one; without a [`region`](Self::region), all servers. Default: as
    /// those of the same region do.
    pub fn external_host(mut self, host: impl Into<String>) -> Self {
        self.settings.advertised.external_host = Some(host.into());
        self
    }

    /// The port at the [`external_host`](Self::external_host). Default: the one it listens on.
    pub const fn external_port(mut self, port: u16) -> Self {
        self.settings.advertised.external_port = Some(port);
        self
    }

    /// Where this server is: servers of the same region call each other at their [`host`](Self::host). Default: nowhere.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.settings.advertised.region = Some(region.into());
        self
    }

    /// How many bytes an envelope may have, in either direction. Default: 4 MiB, as gRPC has it, and servers of Go.
    pub const fn max_message_size(mut self, bytes: usize) -> Self {
        self.settings.max_message_size = bytes;
        self
    }

    /// How many calls of others may wait for their answers. More are refused with the status `ResourceExhausted`. Default:
    /// 65,536.
    pub const fn max_incoming_calls(mut self, calls: usize) -> Self {
        self.settings.limits.calls = calls;
        self
    }

    /// How many calls may wait for the answers of one server. More fail at once. Default: 65,536.
    pub const fn max_calls_per_server(mut self, calls: usize) -> Self {
        self.settings.max_calls = calls;
        self
    }

    /// How many calls and answers may wait to be taken in. When there are more, calls are refused with the status
    /// `ResourceExhausted`, and answers wait. Default: 65,536.
    pub const fn queue_capacity(mut self, events: usize) -> Self {
        self.settings.limits.events = events;
        self
    }

    /// How many bytes of calls may wait to be taken in. More are refused with the status `ResourceExhausted`. Default: 64 MiB.
    pub const fn max_queued_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.bytes = bytes;
        self
    }

    /// How long an attempt to reach a server may take, from its name to the end of the TLS handshake. Default: 5 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long a call may take. It bounds what calls hold whose own deadlines have passed, and should be longer than those.
    /// Default: 60 s.
    pub const fn max_call_time(mut self, timeout: Duration) -> Self {
        self.settings.max_call_time = timeout;
        self
    }

    /// How long calls may take to end when the bus is stopped. Default: 5 s.
    pub const fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain_timeout = timeout;
        self
    }

    /// Whether a connection is made when the first call needs it, and not as soon as a server is known. Default: yes.
    pub const fn lazy_connection(mut self, lazy: bool) -> Self {
        self.settings.lazy = lazy;
        self
    }

    /// Encrypts what others call here. Takes PEM: the certificate of this server, followed by those that lead to the authority,
    /// and its key. It is also what this server shows to others that ask for a certificate. Default: calls are not encrypted.
    pub fn tls_identity(mut self, certificates: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.settings.tls.identity = Some((certificates.into(), key.into()));
        self
    }

    /// Calls others encrypted, if this authority, in PEM, has signed their certificates. Default: calls are not encrypted.
    pub fn tls_ca(mut self, certificates: impl Into<Vec<u8>>) -> Self {
        self.settings.tls.authority = Some(certificates.into());
        self
    }

    /// Takes calls only of those that show a certificate that this authority, in PEM, has signed. Default: of everybody.
    pub fn tls_client_ca(mut self, certificates: impl Into<Vec<u8>>) -> Self {
        self.settings.tls.client_authority = Some(certificates.into());
        self
    }

    /// The name that is in the certificates of all servers. Default: the host in the record of each.
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.settings.tls.name = Some(name.into());
        self
    }

    /// Listens, if it does not yet. Returns where.
    fn listen(&self) -> Result<SocketAddr, String> {
        let mut listening = lock(&self.listening);
        if let Listening::NotYet = *listening {
            let bound = TcpListener::bind(&*self.address).and_then(|listener| {
                let address = listener.local_addr()?;
                Ok(Listening::On(listener, address))
            });
            *listening = bound.unwrap_or_else(|error| {
                Listening::Failed(format!("cannot listen on `{}`: {error}: choose another address", self.address))
            });
        }
        match &*listening {
            Listening::On(_, address) => Ok(*address),
            Listening::Failed(text) => Err(text.clone()),
            Listening::NotYet | Listening::Served => Err("the bus was started before: make another".to_owned()),
        }
    }

    fn run(&self, own: Arc<ServerInfo>) -> Result<intake::Events, String> {
        self.listen()?;
        let Settings { tls, limits, max_message_size, connect_timeout, .. } = &self.settings;
        let (server_tls, client_tls) = (tls.server(*connect_timeout)?, tls.client(*connect_timeout)?);
        let runtime = self.background.handle().map_err(|error| format!("no thread can be started: {error}"))?;
        let Listening::On(listener, _) = std::mem::replace(&mut *lock(&self.listening), Listening::Served) else {
            return Err("the bus was started before: make another".to_owned());
        };

        let (intake, events) = intake::new(*limits);
        let _ = intake.queue().try_send(BusEvent::Up { max_payload: *max_message_size });
        let client = Client::new(self.client_settings(&own, client_tls), intake.queue().clone(), runtime.clone());
        let _runtime = runtime.enter();
        let serving = server::serve(listener, server_tls, Arc::clone(&intake), *max_message_size)?;
        let running = Running { own, client: Arc::new(client), intake, serving: Mutex::new(Some(serving)) };
        self.running.set(running).map_err(|_| "the bus was started before: make another".to_owned())?;
        Ok(events)
    }

    fn client_settings(&self, own: &ServerInfo, tls: Option<ClientTls>) -> client::Settings {
        let Settings { max_calls, max_message_size, connect_timeout, max_call_time, lazy, .. } = self.settings;
        let region = self.settings.advertised.region.as_ref().or_else(|| own.metadata.get(record::REGION));
        let region = region.cloned().unwrap_or_default();
        client::Settings { region, max_calls, max_message_size, connect_timeout, max_call_time, lazy, tls }
    }
}

impl Bus for Grpc {
    async fn start(&self, own: Arc<ServerInfo>) -> Result<Box<dyn BusEvents>, BusError> {
        Ok(Box::new(self.run(own).map_err(|text| BusError::new(format!("gRPC: {text}")))?))
    }

    fn send(&self, message: Transmit) -> Result<(), Transmit> {
        let Some(Running { client, intake, .. }) = self.running.get() else {
            return Err(message);
        };
        match &message.to {
            Address::Server(info) => client.send(&Arc::clone(info), message),
            Address::Reply(to) => {
                intake.answer(to, message.payload);
                Ok(())
            }
            _ => client.fail(message, "gRPC reaches servers only".to_owned()),
        }
    }

    /// Nothing is to be done: what is for a user comes to the server that has him.
    fn addressing(&self) -> Addressing {
        Addressing::Servers
    }

    /// Listens, so that the port is known. If that fails, the record says nothing, and the start fails.
    fn advertise(&self, own: &mut ServerInfo) {
        if let Ok(bound) = self.listen() {
            self.settings.advertised.write(bound, &mut own.metadata);
        }
    }

    fn servers_changed(&self, servers: &Servers) {
        if let Some(Running { own, client, .. }) = self.running.get() {
            client.servers_changed(servers, own);
        }
    }

    async fn stop(&self) {
        let Some(Running { client, intake, serving, .. }) = self.running.get() else {
            return;
        };
        let (client, intake, serving) = (Arc::clone(client), Arc::clone(intake), lock(serving).take());
        let patience = self.settings.drain_timeout;
        let stop = async move {
            let serving = async {
                if let Some(serving) = serving {
                    serving.stop(&intake, patience).await;
                }
            };
            futures_util::future::join(serving, client.stop(patience)).await;
        };
        // It fails only with the runtime, and nothing is left to stop then.
        let _ = self.background.run(stop).await;
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        if let Some(running) = self.running.get() {
            // Connections end when there is nothing left on them.
            running.intake.close();
        }
    }
}

/// An error with all that led to it.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics with the lock held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
