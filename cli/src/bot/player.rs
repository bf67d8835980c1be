use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cereus_client::{Client, Disconnect, RequestError, State};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::sleep;

use super::{BotError, door::Door, inbox::Inbox, stats::Stats};
use crate::failure::Failure;

/// What a bot plays with: a connection whose requests are measured. It is connected when the bot starts.
///
/// Everything takes `&self`, so a bot may do several things at once, with `tokio::join!` for example.
#[derive(Debug)]
pub struct Player {
    number: u32,
    door: Arc<Door>,
    stats: Arc<Stats>,
    state: Mutex<Place>,
}

/// Where a player is.
#[derive(Debug)]
struct Place {
    host: String,
    connection: Option<Connection>,
}

#[derive(Clone, Debug)]
struct Connection {
    client: Client,
    inbox: Arc<Inbox>,
}

/// Who and where it is.
impl Player {
    pub(super) fn new(number: u32, door: Arc<Door>, stats: Arc<Stats>) -> Self {
        let state = Mutex::new(Place { host: door.home().to_owned(), connection: None });
        Self { number, door, stats, state }
    }

    /// Which of the instances it is, counted from 0.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.state().connection.as_ref().is_some_and(|connection| connection.client.state().is_open())
    }

    /// The connection itself, for what a player cannot do. What is sent with it is not measured.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn client(&self) -> Result<Client, BotError> {
        self.connection().map(|connection| connection.client)
    }

    /// Leaves the server where it is, if it is at one, and connects to this one: an address with a scheme, or `host:port`.
    ///
    /// # Errors
    ///
    /// There is no connection.
    pub async fn connect(&self, host: &str) -> Result<(), BotError> {
        self.disconnect().await;
        host.clone_into(&mut self.state().host);
        self.arrive().await.map_err(|failure| BotError::Connect(failure.to_string()))
    }

    /// Connects where it is to be.
    pub(super) async fn arrive(&self) -> Result<(), Failure> {
        let host = self.state().host.clone();
        let (client, inbox) = self.door.enter(&host).await?;
        self.state().connection = Some(Connection { client, inbox });
        Ok(())
    }

    /// Leaves the server and connects to it again.
    ///
    /// # Errors
    ///
    /// There is no connection.
    pub async fn reconnect(&self) -> Result<(), BotError> {
        let host = self.state().host.clone();
        self.connect(&host).await
    }

    /// Leaves the server once what was sent is on its way.
    pub async fn disconnect(&self) {
        let connection = self.state().connection.take();
        if let Some(Connection { client, inbox }) = connection {
            client.close().await;
            self.stats.dropped(self.number, inbox.dropped());
        }
    }

    fn connection(&self) -> Result<Connection, BotError> {
        let connection = self.state().connection.clone();
        connection.ok_or_else(|| BotError::Connect("there is no connection: the bot has disconnected".to_owned()))
    }

    fn state(&self) -> MutexGuard<'_, Place> {
        // Nothing panics with the lock held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it sends.
impl Player {
    /// A request whose body is JSON, as is its answer.
    ///
    /// # Errors
    ///
    /// [`BotError::Request`], [`BotError::Connect`].
    pub async fn request<T: DeserializeOwned>(&self, route: &str, body: &impl Serialize) -> Result<T, BotError> {
        let answer = self.request_raw(route, json(route, body)?).await?;
        serde_json::from_slice(&answer).map_err(|error| unexpected(route, &error.to_string()))
    }

    /// A request whose body is protobuf, as is its answer.
    ///
    /// # Errors
    ///
    /// [`BotError::Request`], [`BotError::Connect`].
    pub async fn request_protobuf<T: prost::Message + Default>(
        &self,
        route: &str,
        body: &impl prost::Message,
    ) -> Result<T, BotError> {
        let answer = self.request_raw(route, body.encode_to_vec()).await?;
        T::decode(answer).map_err(|error| unexpected(route, &error.to_string()))
    }

    /// A request whose body is whatever it is.
    ///
    /// # Errors
    ///
    /// [`BotError::Request`], [`BotError::Connect`].
    pub async fn request_raw(&self, route: &str, body: impl Into<Bytes>) -> Result<Bytes, BotError> {
        self.ask(route, body.into(), None).await?.map_err(|error| BotError::request(route, error))
    }

    /// The inner error is what the request ended with. `timeout`: another one than usual.
    pub(super) async fn ask(
        &self,
        route: &str,
        body: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Result<Bytes, RequestError>, BotError> {
        let client = self.connection()?.client;
        let request = client.request(route.to_owned(), body);
        let begin = Instant::now();
        let answer = match timeout {
            Some(timeout) => request.timeout(timeout).await,
            None => request.await,
        };
        self.stats.asked(self.number, route, begin.elapsed(), answer.as_ref().err());
        Ok(answer)
    }

    /// A notify whose body is JSON.
    ///
    /// # Errors
    ///
    /// [`BotError::Request`], [`BotError::Connect`]: it was not sent.
    pub fn notify(&self, route: &str, body: &impl Serialize) -> Result<(), BotError> {
        self.notify_raw(route, json(route, body)?)
    }

    /// A notify whose body is whatever it is.
    ///
    /// # Errors
    ///
    /// [`BotError::Request`], [`BotError::Connect`]: it was not sent.
    pub fn notify_raw(&self, route: &str, body: impl Into<Bytes>) -> Result<(), BotError> {
        let sent = self.connection()?.client.notify(route.to_owned(), body);
        sent.map_err(|error| BotError::request(route, error))?;
        self.stats.notified(self.number);
        Ok(())
    }
}

fn json(route: &str, body: &impl Serialize) -> Result<Bytes, BotError> {
    let written = serde_json::to_vec(body).map_err(|error| {
        BotError::request(route, RequestError::Body(format!("the body has no form in JSON: {error}")))
    });
    written.map(Into::into)
}

fn unexpected(route: &str, error: &str) -> BotError {
    BotError::request(route, RequestError::Body(format!("the answer is not what was expected: {error}")))
}

/// What it is told.
impl Player {
    /// The next push of a route that came on this connection and was not taken yet, as JSON. Waits for it no longer than this.
    ///
    /// # Errors
    ///
    /// [`BotError::Push`], [`BotError::Connect`].
    pub async fn push<T: DeserializeOwned>(&self, route: &str, within: Duration) -> Result<T, BotError> {
        let body = self.push_raw(route, within).await?;
        serde_json::from_slice(&body)
            .map_err(|error| BotError::push(route, format!("it is not what was expected: {error}")))
    }

    /// The same, whatever it is.
    ///
    /// # Errors
    ///
    /// [`BotError::Push`], [`BotError::Connect`].
    pub async fn push_raw(&self, route: &str, within: Duration) -> Result<Bytes, BotError> {
        let Connection { client, inbox } = self.connection()?;
        let reason = tokio::select! {
            // What came before the end counts.
            biased;
            body = inbox.take(route) => {
                self.stats.pushed(self.number);
                return Ok(body);
            }
            reason = closed(&client) => format!("none came, and the connection ended: {reason}"),
            () = sleep(within) => format!("none came within {within:?}"),
        };
        let dropped = match inbox.dropped() {
            0 => String::new(),
            count => format!("; {count} pushes were dropped because nobody listened"),
        };
        Err(BotError::push(route, format!("{reason}{dropped}")))
    }
}

async fn closed(client: &Client) -> Disconnect {
    let mut states = client.states();
    while let Some(state) = states.next().await {
        if let State::Closed(reason) = state {
            return reason;
        }
    }
    Disconnect::Local
}
