//! States of bots in Redis, by scripts that run there.

use redis::{AsyncConnectionConfig, Client, Value, aio::MultiplexedConnection};
use tokio::{sync::Mutex, time::timeout};

use super::hooks::RedisPlace;

/// Moves any one member of the set `name:available` to `name:used`, and gives it back.
pub(super) const BEFORE: &str = "\
if redis.replicate_commands then redis.replicate_commands() end
local state = redis.call('SPOP', KEYS[1] .. ':available')
if state then redis.call('SADD', KEYS[1] .. ':used', state) end
return state
";

/// Adds the state to the set `name:available`.
pub(super) const AFTER: &str = "\
if redis.replicate_commands then redis.replicate_commands() end
redis.call('SADD', KEYS[1] .. ':available', ARGV[1])
return '1'
";

/// One Redis and the script that it runs. It is connected to when it is needed first, once for all bots.
#[derive(Debug)]
pub(super) struct Redis {
    place: RedisPlace,
    script: String,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Redis {
    pub(super) fn new(place: RedisPlace, default: &str) -> Self {
        let script = place.script.clone().unwrap_or_else(|| default.to_owned());
        Self { place, script, connection: Mutex::const_new(None) }
    }

    /// The state that the script gives back, if it gives one.
    pub(super) async fn take(&self, name: &str) -> Result<Option<String>, String> {
        match self.run(name, None).await? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => {
                String::from_utf8(bytes).map(Some).map_err(|_| "the script gave back what is no text".to_owned())
            }
            Value::SimpleString(text) => Ok(Some(text)),
            other => Err(format!("the script gave back what is no text: {other:?}")),
        }
    }

    /// Whatever the script gives back, this state is its.
    pub(super) async fn put(&self, name: &str, state: String) -> Result<(), String> {
        self.run(name, Some(state)).await.map(drop)
    }

    async fn run(&self, name: &str, state: Option<String>) -> Result<Value, String> {
        let mut connection = self.connection().await?;
        let mut command = redis::cmd("EVAL");
        command.arg(&self.script).arg(1).arg(name).arg(state);
        match command.query_async(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let error: redis::RedisError = error;
                if error.is_unrecoverable_error() {
                    *self.connection.lock().await = None;
                }
                Err(format!("{}: {error}", self.name()))
            }
        }
    }

    /// Gives up in time: all bots may wait for one that connects.
    async fn connection(&self) -> Result<MultiplexedConnection, String> {
        let patience = self.place.connection_timeout;
        let connected = timeout(patience, self.connected()).await;
        connected.unwrap_or_else(|_| Err(format!("{}: no connection within {patience:?}", self.name())))
    }

    async fn connected(&self) -> Result<MultiplexedConnection, String> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let timeout = self.place.connection_timeout;
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout));
        let client = Client::open(&*self.place.url).map_err(|error| format!("{}: {error}", self.name()))?;
        let new = client.get_multiplexed_async_connection_with_config(&config).await;
        let new = new.map_err(|error| format!("{}: {error}", self.name()))?;
        Ok(connection.insert(new).clone())
    }

    /// The URL without what is secret in it.
    fn name(&self) -> String {
        let url = &self.place.url;
        let parts = url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)));
        parts.map_or_else(|| url.clone(), |(scheme, place)| format!("{scheme}://{place}"))
    }
}
