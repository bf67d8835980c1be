use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use etcd_client::{Client, Error, GetOptions, GetResponse, KvClient, PutOptions, Txn, TxnResponse};
use tokio::{
    sync::Mutex as AsyncMutex,
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    failure::{Failure, Kind, in_time, reason},
    settings::Settings,
};
use crate::{LeaseId, background::Background, names};

/// How long an answer may be. Go's client has the same limit; that of tonic is 4 MiB, which is the members of one large
/// group.
pub(super) const MAX_MESSAGE: usize = i32::MAX as usize;
/// Whoever gave up a request after so long without an answer leaves a connection behind that may be dead.
const DOUBTFUL: Duration = Duration::from_secs(1);

/// A connection to etcd, which is made when it is needed and made anew when it failed.
///
/// A channel of etcd-client over several endpoints would send every other request to an endpoint that is gone, and would
/// stay with one that accepts connections and answers nothing. So each channel here has one endpoint, which has answered,
/// and is given up when it does no longer.
#[derive(Clone)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    /// How long an answer may take.
    pub(super) timeout: Duration,
}

struct Shared {
    settings: Settings,
    background: Background,
    state: Mutex<State>,
    /// Held by who connects: all others wait for what comes of it.
    dialing: AsyncMutex<()>,
}

#[derive(Default)]
struct State {
    /// The one in use.
    client: Option<Client>,
    /// How often it was tried to connect, which is the number of the client.
    dials: u64,
    /// Why the last time was in vain.
    failure: Option<Failure>,
}

/// What comes of it when etcd does the same thing twice.
#[derive(Clone, Copy, Debug)]
pub(super) enum Again {
    /// Nothing: it is asked of another endpoint when the connection is lost.
    Harmless,
    /// The second answer is another one, so that only what was never sent is sent again.
    Differs,
}

impl Connection {
    pub(super) fn new(settings: Settings) -> Self {
        let timeout = settings.request_timeout;
        let (background, state, dialing) = Default::default();
        Self { shared: Arc::new(Shared { settings, background, state, dialing }), timeout }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) async fn get(&self, key: String, options: GetOptions) -> Result<GetResponse, Failure> {
        self.request(Again::Harmless, move |client| {
            let (key, options) = (key.clone(), options.clone());
            async move { kv(&client).get(key, Some(options)).await }
        })
        .await
    }

    pub(super) async fn put(&self, key: String, value: String, lease: LeaseId) -> Result<(), Failure> {
        self.request(Again::Harmless, move |client| {
            let (key, value, options) = (key.clone(), value.clone(), PutOptions::new().with_lease(lease.get()));
            async move { kv(&client).put(key, value, Some(options)).await.map(drop) }
        })
        .await
    }

    pub(super) async fn transact(&self, again: Again, txn: Txn) -> Result<TxnResponse, Failure> {
        self.request(again, move |client| {
            let txn = txn.clone();
            async move { kv(&client).txn(txn).await }
        })
        .await
    }

    /// Asks something and waits for the answer, for no longer than the dial timeout and the request timeout together.
    pub(super) async fn request<T, F>(
        &self,
        again: Again,
        request: impl Fn(Client) -> F + Send + Sync + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let (shared, timeout) = (Arc::clone(&self.shared), self.timeout);
        let task = async move {
            let attempts = async {
                let result = shared.attempt(timeout, &request).await;
                match (result.as_ref().map_err(|failure| failure.kind), again) {
                    // The endpoint in use is gone. There may be others.
                    (Err(Kind::Unsent), _) | (Err(Kind::Lost), Again::Harmless) => {
                        shared.attempt(timeout, &request).await
                    }
                    _ => result,
                }
            };
            let limit = shared.settings.dial_timeout.saturating_add(timeout);
            time::timeout(limit, attempts).await.unwrap_or_else(|_| Err(Failure::late(limit)))
        };
        let pending = Pending { shared: &self.shared, since: Instant::now(), is_over: false };
        let result = self.shared.background.run(task).await;
        pending.end();
        result.unwrap_or_else(|error| Err(no_runtime(&error)))
    }

    /// Does something that goes on until it fails.
    pub(super) async fn follow<F>(&self, follow: impl FnOnce(Client) -> F + Send + 'static) -> Failure
    where
        F: Future<Output = Failure> + Send,
    {
        let shared = Arc::clone(&self.shared);
        let task = async move {
            let (number, client) = match shared.client().await {
                Ok(client) => client,
                Err(failure) => return failure,
            };
            let failure = follow(client).await;
            shared.judge(number, failure.kind);
            failure
        };
        self.shared.background.run(task).await.unwrap_or_else(|error| no_runtime(&error))
    }
}

fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(MAX_MESSAGE)
}

fn no_runtime(error: &std::io::Error) -> Failure {
    Failure::new(Kind::Broken, format!("etcd: the runtime ended, or cannot start: {error}"))
}

impl Shared {
    async fn attempt<T, F>(&self, timeout: Duration, request: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (number, client) = self.client().await?;
        let result = in_time(timeout, request(client)).await;
        if let Err(failure) = &result {
            self.judge(number, failure.kind);
        }
        result
    }

    /// The client in use, or a new one.
    async fn client(&self) -> Result<(u64, Client), Failure> {
        let dials = {
            let state = self.state();
            if let Some(client) = &state.client {
                return Ok((state.dials, client.clone()));
            }
            state.dials
        };
        let _turn = self.dialing.lock().await;
        {
            let state = self.state();
            if let Some(client) = &state.client {
                return Ok((state.dials, client.clone()));
            }
            if state.dials != dials
                && let Some(failure) = &state.failure
            {
                return Err(failure.clone());
            }
        }
        let dialed = self.dial().await;
        let mut state = self.state();
        state.dials += 1;
        state.failure = dialed.as_ref().err().cloned();
        state.client = dialed.as_ref().ok().cloned();
        Ok((state.dials, dialed?))
    }

    /// Takes the endpoint that answers first.
    async fn dial(&self) -> Result<Client, Failure> {
        self.settings.check().map_err(|wrong| Failure::new(Kind::Refused, wrong))?;
        let mut attempts = JoinSet::new();
        for endpoint in &self.settings.endpoints {
            attempts.spawn(reach(endpoint.clone(), self.settings.clone()));
        }
        let mut failures = Vec::new();
        while let Some(attempt) = attempts.join_next().await {
            match attempt {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(failure)) => failures.push(failure),
                Err(panic) => failures.push(panic.to_string()),
            }
        }
        Err(Failure::new(Kind::Broken, failures.join("; ")))
    }

    /// Gives up a client that may be of no use, unless there is another already.
    fn judge(&self, number: u64, kind: Kind) {
        let mut state = self.state();
        if matches!(kind, Kind::Broken | Kind::Lost | Kind::Unsent) && state.dials == number {
            state.client = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics with the lock held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to one endpoint and has it answer. The error names the endpoint.
async fn reach(endpoint: String, settings: Settings) -> Result<Client, String> {
    let timeout = settings.dial_timeout;
    match time::timeout(timeout, connect(&endpoint, &settings)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => {
            let reason = reason(&error);
            Err(format!("etcd at {endpoint}: {reason}{}", advice(&reason)))
        }
        Err(_) => Err(format!("etcd at {endpoint}: no answer within {timeout:?}")),
    }
}

async fn connect(endpoint: &str, settings: &Settings) -> Result<Client, Error> {
    let client = match Client::connect([endpoint], Some(settings.options(true))).await {
        // Go's client takes it the same way: so users can be set before etcd asks for them.
        Err(error) if says(&error, "authentication is not enabled") => {
            Client::connect([endpoint], Some(settings.options(false))).await?
        }
        client => client?,
    };
    match client.kv_client().get(names::health_key(&settings.prefix), None).await {
        // It answers, and a user need not be allowed to read this.
        Err(error) if says(&error, "permission denied") => Ok(client),
        Err(error) => Err(error),
        Ok(_) => Ok(client),
    }
}

fn says(error: &Error, text: &str) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().contains(text))
}

fn advice(reason: &str) -> &'static str {
    let says_any = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
    if reason.contains("user name is empty") {
        "; give it one with `Etcd::user`"
    } else if reason.contains("authentication failed") {
        "; see what `Etcd::user` is given"
    } else if says_any(&["connection closed", "broken pipe", "eof", "fatal alert", "reset"]) {
        "; should it be http or https, or have a client certificate?"
    } else {
        ""
    }
}

/// A request whose answer is waited for.
struct Pending<'a> {
    shared: &'a Shared,
    since: Instant,
    is_over: bool,
}

impl Pending<'_> {
    fn end(mut self) {
        self.is_over = true;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.is_over && self.since.elapsed() >= DOUBTFUL {
            self.shared.state().client = None;
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No passwords, no keys.
        let Settings { endpoints, prefix, .. } = self.settings();
        f.debug_struct("Connection").field("endpoints", endpoints).field("prefix", prefix).finish_non_exhaustive()
    }
}
