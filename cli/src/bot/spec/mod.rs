//! Bots whose behaviour is in a JSON file, as pitaya-bot reads them.

mod check;
mod expression;
mod files;
mod hooks;
mod perform;
mod read;
#[cfg(feature = "redis")]
mod redis;
mod value;

use std::time::Duration;

use serde_json::{Map, Value};

use self::{check::Check, value::Template};
pub(super) use self::{
    files::read_all,
    hooks::{Hooks, RedisPlace},
    perform::{SpecBot, World},
};

/// One file.
#[derive(Debug)]
pub(super) struct Spec {
    /// The path of the file.
    pub(super) file: String,
    /// `numberOfInstances`.
    pub(super) instances: u32,
    pre: Option<Hook>,
    post: Option<Hook>,
    operations: Vec<Operation>,
}

/// What is done before or after the operations of a run.
#[derive(Clone, Debug)]
struct Hook {
    function: String,
    args: Map<String, Value>,
}

/// One step.
#[derive(Debug)]
struct Operation {
    /// Where it is, for people: file, number and what it does.
    place: String,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Request {
        route: String,
        args: Template,
        timeout: Option<Duration>,
        check: Check,
    },
    Notify {
        route: String,
        args: Template,
    },
    Listen {
        route: String,
        timeout: Option<Duration>,
        check: Check,
    },
    Connect {
        host: Option<Template>,
    },
    Disconnect,
    Reconnect,
    /// All at once; it is over when all are.
    Parallel(Vec<Operation>),
    Loop {
        times: u32,
        operations: Vec<Operation>,
    },
    Delay(Duration),
}

impl Spec {
    /// What is done before and after, in this order.
    fn hooks(&self) -> impl Iterator<Item = (&'static str, &Hook)> {
        let named = |name| move |hook| (name, hook);
        self.pre.iter().map(named("preRun")).chain(self.post.iter().map(named("postRun")))
    }
}
