use std::{any::Any, fmt, future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_lite::FutureExt;

use crate::{AnyContext, Error};

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An async callback that may refuse.
pub(crate) type Callback<A> = Arc<dyn Fn(A) -> BoxFuture<Result<(), Error>> + Send + Sync>;

type Before<C> = Box<dyn Fn(C) -> BoxFuture<Result<C, Error>> + Send + Sync>;
type After<C> = Box<dyn Fn(C, Result<Bytes, Error>) -> BoxFuture<Result<Bytes, Error>> + Send + Sync>;

/// What runs around every handler of an app, in the order in which it was added (specification, section 12.6).
pub(crate) struct Hooks<C> {
    before: Vec<Before<C>>,
    after: Vec<After<C>>,
}

impl<C> Default for Hooks<C> {
    fn default() -> Self {
        Self { before: Vec::new(), after: Vec::new() }
    }
}

impl<C> fmt::Debug for Hooks<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("before", &self.before.len()).field("after", &self.after.len()).finish()
    }
}

impl<C: AnyContext> Hooks<C> {
    pub(crate) fn add_before<Fut>(&mut self, hook: impl Fn(C) -> Fut + Send + Sync + 'static)
    where
        Fut: Future<Output = Result<C, Error>> + Send + 'static,
    {
        self.before.push(Box::new(move |context| Box::pin(hook(context))));
    }

    pub(crate) fn add_after<Fut>(&mut self, hook: impl Fn(C, Result<Bytes, Error>) -> Fut + Send + Sync + 'static)
    where
        Fut: Future<Output = Result<Bytes, Error>> + Send + 'static,
    {
        self.after.push(Box::new(move |context, result| Box::pin(hook(context, result))));
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// Each hook gets what the one before it made of the context; the first error ends it.
    pub(crate) async fn before(&self, mut context: C) -> Result<C, Error> {
        for hook in &self.before {
            context = guard(async move { hook(context).await }).await?;
        }
        Ok(context)
    }

    /// Each hook gets what the one before it made of the result; all of them run.
    pub(crate) async fn after(&self, context: C, mut result: Result<Bytes, Error>) -> Result<Bytes, Error> {
        for hook in &self.after {
            let context = context.clone();
            result = guard(async move { hook(context, result).await }).await;
        }
        result
    }
}

/// A hook that panics is the server's fault, and no one else's end.
async fn guard<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    AssertUnwindSafe(future).catch_unwind().await.unwrap_or_else(|panic| {
        let error = Error::new(Error::INTERNAL, Error::panicked(&*panic).message().to_owned());
        tracing::error!(%error, "a hook panicked");
        Err(error)
    })
}

/// Runs something of the application's that must not take others down with it.
pub(crate) async fn catch_panic<T>(what: &'static str, future: impl Future<Output = T>) -> Option<T> {
    let log = |panic: Box<dyn Any + Send>| tracing::error!(error = %Error::panicked(&*panic), "{what} panicked");
    AssertUnwindSafe(future).catch_unwind().await.map_err(log).ok()
}

/// Runs callbacks in order until one fails.
pub(crate) async fn run_all<A: Clone>(callbacks: &[Callback<A>], argument: A) -> Result<(), Error> {
    for callback in callbacks {
        let argument = argument.clone();
        guard(async move { callback(argument).await }).await?;
    }
    Ok(())
}
