//! Doing what a spec says.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cereus_client::{RequestError, ServerError};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Action, Check, Hook, Hooks, Operation, Spec, Template, value::Storage};
use crate::{
    bot::{Bot, BotError, Player},
    compare::shortened,
    protobuf::{Schema, read_error},
};

/// What all specs of a run share.
#[derive(Debug)]
pub(in crate::bot) struct World {
    /// Bodies are protobuf.
    pub(in crate::bot) schema: Option<Schema>,
    /// An answer that is an error fails its step.
    pub(in crate::bot) is_strict: bool,
    /// How long a push may take when the step does not say.
    pub(in crate::bot) timeout: Duration,
    pub(in crate::bot) hooks: Hooks,
}

/// A bot that does what a spec says.
#[derive(Debug)]
pub(in crate::bot) struct SpecBot {
    spec: Arc<Spec>,
    world: Arc<World>,
    storage: Storage,
}

impl Bot for SpecBot {
    async fn run(&mut self, player: &mut Player) -> Result<(), BotError> {
        if let Some(hook) = &self.spec.pre {
            let values = self.world.hooks.before(hook).await;
            self.storage = Storage::new(values.map_err(|why| self.failed("preRun", hook, why))?);
        }
        self.perform(player, &self.spec.operations).await?;
        player.disconnect().await;
        if let Some(hook) = &self.spec.post {
            let done = self.world.hooks.after(hook, self.storage.all()).await;
            done.map_err(|why| self.failed("postRun", hook, why))?;
        }
        Ok(())
    }
}

/// What came, as expectations see it.
struct Answer {
    body: Value,
    /// What the server said is wrong.
    error: Option<String>,
}

impl SpecBot {
    pub(in crate::bot) fn new(spec: Arc<Spec>, world: Arc<World>) -> Self {
        Self { spec, world, storage: Storage::default() }
    }

    fn failed(&self, when: &str, hook: &Hook, reason: String) -> BotError {
        BotError::Step { step: format!("{}: {when} ({})", self.spec.file, hook.function), reason }
    }

    fn perform<'a>(&'a self, player: &'a Player, operations: &'a [Operation]) -> BoxFuture<'a, Result<(), BotError>> {
        async move {
            for operation in operations {
                self.operate(player, operation).await?;
            }
            Ok(())
        }
        .boxed()
    }

    async fn operate(&self, player: &Player, operation: &Operation) -> Result<(), BotError> {
        match &operation.action {
            Action::Parallel(operations) => {
                let all = operations.iter().map(|operation| self.perform(player, std::slice::from_ref(operation)));
                return join_all(all).await.into_iter().collect();
            }
            Action::Loop { times, operations } => {
                for _ in 0..*times {
                    self.perform(player, operations).await?;
                }
                return Ok(());
            }
            action => self.act(player, action).await,
        }
        .map_err(|reason| BotError::Step { step: operation.place.clone(), reason })
    }

    async fn act(&self, player: &Player, action: &Action) -> Result<(), String> {
        match action {
            Action::Request { route, args, timeout, check } => {
                let body = self.encode(route, args)?;
                let answer = player.ask(route, body, *timeout).await.map_err(told)?;
                self.take_answer(route, answer, check)
            }
            Action::Notify { route, args } => {
                player.notify_raw(route, self.encode(route, args)?).map_err(told)?;
                // Nothing is waited for, so a loop of these would let nobody else have a turn, the connection included.
                tokio::task::yield_now().await;
                Ok(())
            }
            Action::Listen { route, timeout, check } => {
                let push = player.push_raw(route, timeout.unwrap_or(self.world.timeout)).await.map_err(told)?;
                if check.is_empty() { Ok(()) } else { check.apply(&self.read_push(route, &push)?, &self.storage) }
            }
            Action::Connect { host } => match host.as_ref().map(|host| host.build(&self.storage)).transpose()? {
                // Some say it as one of the arguments, some alone.
                Some(Value::Object(args)) if args["host"].is_string() => connect(player, &args["host"]).await,
                Some(host @ Value::String(_)) => connect(player, &host).await,
                Some(other) => Err(format!("`host` is no text in {}", shortened(&other))),
                None => player.reconnect().await.map_err(told),
            },
            Action::Reconnect => player.reconnect().await.map_err(told),
            Action::Disconnect => {
                player.disconnect().await;
                Ok(())
            }
            Action::Delay(time) => {
                sleep(*time).await;
                Ok(())
            }
            Action::Parallel(_) | Action::Loop { .. } => Ok(()),
        }
    }
}

async fn connect(player: &Player, host: &Value) -> Result<(), String> {
    player.connect(host.as_str().unwrap_or_default()).await.map_err(told)
}

/// The step says itself whom it asked.
fn told(error: BotError) -> String {
    match error {
        BotError::Request { error, .. } => error.to_string(),
        BotError::Push { reason, .. } => reason,
        error => error.to_string(),
    }
}

/// Bodies.
impl SpecBot {
    fn encode(&self, route: &str, args: &Template) -> Result<Bytes, String> {
        let args = args.build(&self.storage)?;
        let Some(schema) = &self.world.schema else { return Ok(args.to_string().into()) };
        match schema.encode(route, &args.to_string()).map_err(|failure| failure.to_string())? {
            Some(body) => Ok(body),
            // As it is for routes that take nothing.
            None if args.as_object().is_some_and(serde_json::Map::is_empty) => Ok(Bytes::new()),
            None => Err("the type of its body is not known, so there is no way to send `args`".to_owned()),
        }
    }

    fn take_answer(&self, route: &str, answer: Result<Bytes, RequestError>, check: &Check) -> Result<(), String> {
        let answer = match answer {
            Ok(_) if check.is_empty() => return Ok(()),
            Ok(body) => Answer { body: self.read_answer(route, &body)?, error: None },
            Err(RequestError::Server(error)) => self.read_error(*error),
            Err(error) => return Err(error.to_string()),
        };
        match answer.error {
            Some(error) if self.world.is_strict => Err(format!("the server answered with an error: {error}")),
            Some(error) => check
                .apply(&answer.body, &self.storage)
                .map_err(|why| format!("{why}; the server answered with an error: {error}")),
            None => check.apply(&answer.body, &self.storage),
        }
    }

    fn read_answer(&self, route: &str, body: &[u8]) -> Result<Value, String> {
        match &self.world.schema {
            None => read_json(body),
            Some(schema) => read_decoded(schema.decode_answer(route, body).map_err(|failure| failure.to_string())?),
        }
    }

    fn read_push(&self, route: &str, body: &[u8]) -> Result<Value, String> {
        match &self.world.schema {
            None => read_json(body),
            Some(schema) => read_decoded(schema.decode_push(route, body).map_err(|failure| failure.to_string())?),
        }
    }

    /// For pitaya-bot an error is an answer like others, and there are specs that expect one.
    fn read_error(&self, error: ServerError) -> Answer {
        let better = read_error(&error.body).filter(|_| self.world.schema.is_some() && error.code.is_empty());
        let error = better.unwrap_or(error);
        let told = json!({ "code": error.code, "msg": error.message, "metadata": error.metadata });
        let body = match &self.world.schema {
            None => serde_json::from_slice(&error.body).unwrap_or(told),
            Some(_) => told,
        };
        Answer { body, error: Some(error.to_string()) }
    }
}

fn read_json(body: &[u8]) -> Result<Value, String> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|error| {
        let text = shortened(&String::from_utf8_lossy(body).into_owned().into());
        format!("the body is no JSON ({error}): {text}")
    })
}

fn read_decoded(json: Option<String>) -> Result<Value, String> {
    let json = json.ok_or("the type of its body is not known, so nothing can be expected of it")?;
    serde_json::from_str(&json).map_err(|error| error.to_string())
}
