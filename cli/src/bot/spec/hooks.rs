//! What is done before and after a run: the state of a bot comes from somewhere, and goes there.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Hook, Spec};
use crate::failure::Failure;

/// How to reach one Redis.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "there is no Redis"))]
pub(in crate::bot) struct RedisPlace {
    pub(in crate::bot) url: String,
    pub(in crate::bot) connection_timeout: Duration,
    /// What Redis runs. Default: see `BEFORE`, `AFTER`.
    pub(in crate::bot) script: Option<String>,
}

/// All functions that `preRun` and `postRun` may name.
#[derive(Debug)]
pub(in crate::bot) struct Hooks {
    #[cfg(feature = "redis")]
    before: super::redis::Redis,
    #[cfg(feature = "redis")]
    after: super::redis::Redis,
}

impl Hooks {
    #[cfg(feature = "redis")]
    pub(in crate::bot) fn new(before: RedisPlace, after: RedisPlace) -> Self {
        use super::redis::{AFTER, BEFORE, Redis};
        Self { before: Redis::new(before, BEFORE), after: Redis::new(after, AFTER) }
    }

    #[cfg(not(feature = "redis"))]
    pub(in crate::bot) fn new(_before: RedisPlace, _after: RedisPlace) -> Self {
        Self {}
    }

    /// What can be seen before anything runs. The texts are about functions that are not known: as in pitaya-bot they do nothing.
    pub(in crate::bot) fn check(spec: &Spec) -> Result<Vec<String>, Failure> {
        let mut notes = Vec::new();
        for (when, hook) in spec.hooks() {
            let wrong = match &*hook.function {
                "redis" if !cfg!(feature = "redis") => "this command was built without the feature `redis`",
                "redis" if hook.args.get("name").and_then(Value::as_str).is_none_or(str::is_empty) => {
                    "the function redis needs a text as `name` in `args`"
                }
                "redis" if !hook.args.get("failEmpty").is_none_or(Value::is_boolean) => "`failEmpty` is true or false",
                "redis" => continue,
                function => {
                    notes.push(format!(
                        "{}: {when}: the function `{function}` is not known, and does nothing",
                        spec.file
                    ));
                    continue;
                }
            };
            return Err(Failure::usage(format!("{}: {when}: {wrong}", spec.file)));
        }
        Ok(notes)
    }

    /// What a bot begins with.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "there is no Redis"))]
    pub(super) async fn before(&self, hook: &Hook) -> Result<Map<String, Value>, String> {
        #[cfg(feature = "redis")]
        if let Some(name) = redis_name(hook) {
            let fails_empty = hook.args.get("failEmpty").and_then(Value::as_bool).unwrap_or_default();
            return match self.before.take(name).await? {
                Some(state) => {
                    serde_json::from_str(&state).map_err(|error| format!("the state is no JSON object: {error}"))
                }
                None if fails_empty => Err(format!("nothing is available for `{name}`")),
                None => Ok(Map::new()),
            };
        }
        let _ = hook;
        Ok(Map::new())
    }

    /// Where what a bot has stored goes.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "there is no Redis"))]
    pub(super) async fn after(&self, hook: &Hook, stored: Map<String, Value>) -> Result<(), String> {
        #[cfg(feature = "redis")]
        if let Some(name) = redis_name(hook) {
            return self.after.put(name, Value::Object(stored).to_string()).await;
        }
        let _ = (hook, stored);
        Ok(())
    }
}

#[cfg(feature = "redis")]
fn redis_name(hook: &Hook) -> Option<&str> {
    if hook.function != "redis" {
        return None;
    }
    hook.args.get("name").and_then(Value::as_str)
}
