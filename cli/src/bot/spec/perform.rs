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
    compare::{shortened, shortened_text},
    output::tell,
    protobuf::{Schema, read_error},
};

/// What all specs of a run share.
#[derive(Debug)]
pub(in crate::bot) struct World {
    /// Bodies are protobuf.
    pub(in crate::bot) schema: Option<Schema>,
    /// An answer that is an error fails its step.
    pub(in crate::bot) is_strict: bool,
    /// Each step is told, and what came.
    pub(in crate::bot) is_told: bool,
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
                    // Not all steps wait for something, so others may never have a turn.
                    tokio::task::yield_now().await;
                }
                return Ok(());
            }
            action => {
                let done = self.act(player, action).await;
                self.tell(player, &operation.place, done.as_ref());
                done.map(drop)
            }
        }
        .map_err(|reason| BotError::Step { step: operation.place.clone(), reason })
    }

    fn tell(&self, player: &Player, place: &str, done: Result<&Bytes, &String>) {
        if !self.world.is_told {
            return;
        }
        let told = match done {
            Ok(came) if came.is_empty() => "done".to_owned(),
            Ok(came) => shown(came),
            Err(why) => format!("FAILED: {why}"),
        };
        tell(&format!("bot {}: {place}: {told}", player.number()));
    }

    /// Gives back what came, if something did.
    async fn act(&self, player: &Player, action: &Action) -> Result<Bytes, String> {
        match action {
            Action::Request { route, args, timeout, check } => {
                let body = self.encode(route, args)?;
                let answer = player.ask(route, body, *timeout).await.map_err(told)?;
                return self.take_answer(route, answer, check);
            }
            Action::Notify { route, args } => {
                player.notify_raw(route, self.encode(route, args)?).map_err(told)?;
                // The connection has a turn, or a list of these would fill it.
                tokio::task::yield_now().await;
            }
            Action::Listen { route, timeout, check } => {
                let push = player.push_raw(route, timeout.unwrap_or(self.world.timeout)).await.map_err(told)?;
                if !check.is_empty() {
                    check.apply(&self.read_push(route, &push)?, &self.storage)?;
                }
                return Ok(push);
            }
            Action::Connect { host } => self.connect(player, host.as_ref()).await?,
            Action::Reconnect => player.reconnect().await.map_err(told)?,
            Action::Disconnect => player.disconnect().await,
            Action::Delay(time) => sleep(*time).await,
            Action::Parallel(_) | Action::Loop { .. } => {}
        }
        Ok(Bytes::new())
    }

    async fn connect(&self, player: &Player, host: Option<&Template>) -> Result<(), String> {
        match host.map(|host| host.build(&self.storage)).transpose()? {
            None => player.reconnect().await,
            Some(Value::String(host)) => player.connect(&host).await,
            Some(other) => return Err(format!("`host` is no text, but {}", shortened(&other))),
        }
        .map_err(told)
    }
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

    /// Gives back the body.
    fn take_answer(&self, route: &str, answer: Result<Bytes, RequestError>, check: &Check) -> Result<Bytes, String> {
        match answer {
            Ok(body) => {
                if !check.is_empty() {
                    check.apply(&self.read_answer(route, &body)?, &self.storage)?;
                }
                Ok(body)
            }
            Err(RequestError::Server(error)) => {
                let body = error.body.clone();
                let (read, error) = self.read_error(*error);
                let told = format!("the server answered with an error: {error}");
                if self.world.is_strict {
                    return Err(told);
                }
                check.apply(&read, &self.storage).map_err(|why| format!("{why}; {told}"))?;
                Ok(body)
            }
            Err(error) => Err(error.to_string()),
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

    /// For pitaya-bot an error is an answer like others, and there are specs that expect one. So this is what they see, and the error.
    fn read_error(&self, error: ServerError) -> (Value, ServerError) {
        let better = read_error(&error.body).filter(|_| self.world.schema.is_some() && error.code.is_empty());
        let error = better.unwrap_or(error);
        let told = || json!({ "code": error.code, "msg": error.message, "metadata": error.metadata });
        let seen = match &self.world.schema {
            None => serde_json::from_slice(&error.body).unwrap_or_else(|_| told()),
            Some(_) => told(),
        };
        (seen, error)
    }
}

/// A body for people.
fn shown(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Ok(text) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => shortened_text(text),
        _ => format!("{} bytes", body.len()),
    }
}

fn read_json(body: &[u8]) -> Result<Value, String> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|error| {
        let text = shortened_text(&String::from_utf8_lossy(body));
        format!("the body is no JSON ({error}): {text}")
    })
}

fn read_decoded(json: Option<String>) -> Result<Value, String> {
    let json = json.ok_or("the type of its body is not known, so nothing can be expected of it")?;
    serde_json::from_str(&json).map_err(|error| error.to_string())
}
