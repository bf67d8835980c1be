use std::{any::Any, fmt, future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_lite::FutureExt;

use crate::{Context, Error};

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An async callback that may refuse.
pub(crate) type Callback<A> = Arc<dyn Fn(A) -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

type Before = Box<dyn Fn(Context) -> BoxFuture<'static, Result<Context, Error>> + Send + Sync>;
type After = Box<dyn Fn(Context, Result<Bytes, Error>) -> BoxFuture<'static, Result<Bytes, Error>> + Send + Sync>;

/// What runs around every handler of an app, in the order in which it was added (specification, section 12.6).
///
/// Handlers get it from the app; there is nothing to call.
#[derive(Default)]
pub struct Hooks {
    before: Vec<Before>,
    after: Vec<After>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("before", &self.before.len()).field("after", &self.after.len()).finish()
    }
}

impl Hooks {
    pub(crate) fn add_before<Fut>(&mut self, hook: impl Fn(Context) -> Fut + Send + Sync + 'static)
    where
        Fut: Future<Output = Result<Context, Error>> + Send + 'static,
    {
        self.before.push(Box::new(move |context| Box::pin(hook(context))));
    }

    pub(crate) fn add_after<Fut>(&mut self, hook: impl Fn(Context, Result<Bytes, Error>) -> Fut + Send + Sync + 'static)
    where
        Fut: Future<Output = Result<Bytes, Error>> + Send + 'static,
    {
        self.after.push(Box::new(move |context, result| Box::pin(hook(context, result))));
    }

    pub(crate) const fn has_before(&self) -> bool {
        !self.before.is_empty()
    }

    pub(crate) const fn has_after(&self) -> bool {
        !self.after.is_empty()
    }

    /// Each hook gets what the one before it made of the context; the first error ends it.
    // Boxed, as is all that only apps with hooks need: it would be part of every handler's future otherwise.
    pub(crate) fn before(&self, mut context: Context) -> BoxFuture<'_, Result<Context, Error>> {
        Box::pin(async move {
            for hook in &self.before {
                context = guard(async move { hook(context).await }).await?;
            }
            Ok(context)
        })
    }

    /// Each hook gets what the one before it made of the result; all of them run.
    pub(crate) fn after(
        &self,
        context: Context,
        mut result: Result<Bytes, Error>,
    ) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move {
            for hook in &self.after {
                let context = context.clone();
                result = guard(async move { hook(context, result).await }).await;
            }
            result
        })
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

/// Runs a handler whose panic is told to after hooks as any other error.
pub(crate) async fn handled(handler: impl Future<Output = Result<Bytes, Error>>) -> Result<Bytes, Error> {
    AssertUnwindSafe(handler).catch_unwind().await.unwrap_or_else(|panic| {
        let error = Error::panicked(&*panic);
        tracing::error!(%error, "a handler panicked");
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
