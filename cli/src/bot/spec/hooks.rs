//! What is done before and after a run: the state of a bot comes from somewhere, and goes there.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Hook;
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

    /// What can be seen before anything runs. The text is about a function that is not known: as in pitaya-bot it does nothing.
    pub(in crate::bot) fn check(when: &str, hook: &Hook) -> Result<Option<String>, Failure> {
        match &*hook.function {
            "redis" if cfg!(feature = "redis") => {
                let name = hook.args.get("name").and_then(Value::as_str).unwrap_or_default();
                let is_known = hook.args.get("failEmpty").is_none_or(Value::is_boolean);
                match (name.is_empty(), is_known) {
                    (true, _) => Err(Failure::usage(format!("{when}: the function redis needs a text as `name`"))),
                    (_, false) => Err(Failure::usage(format!("{when}: `failEmpty` is true or false"))),
                    _ => Ok(None),
                }
            }
            "redis" => Err(Failure::usage(format!("{when}: this command was built without the feature `redis`"))),
            function => Ok(Some(format!("{when}: the function `{function}` is not known, and does nothing"))),
        }
    }

    /// What a bot begins with.
    pub(super) async fn before(&self, hook: &Hook) -> Result<Map<String, Value>, String> {
        #[cfg(feature = "redis")]
        if let Some(name) = redis_name(hook) {
            let fails_empty = hook.args.get("failEmpty").and_then(Value::as_bool).unwrap_or_default();
            return match self.before.run(name, None).await? {
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
    pub(super) async fn after(&self, hook: &Hook, stored: Map<String, Value>) -> Result<(), String> {
        #[cfg(feature = "redis")]
        if let Some(name) = redis_name(hook) {
            return self.after.run(name, Some(Value::Object(stored).to_string())).await.map(|_| ());
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
