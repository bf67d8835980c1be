use std::{any::Any, fmt, future::Future, sync::Arc};

use crate::{Error, Server, hook::BoxFuture};

/// What happens to a part of an app when the app starts and stops. Every method does nothing unless it is written.
///
/// # Order
///
/// Start: `init` of all services, then `after_init` of all services, then the same for all remotes and for all modules, each in
/// the order in which they were added; then the app listens and is put into the registry. Other servers can be called from the
/// first `init` on. Stop: the app leaves the registry, stops listening, and its sessions end, then `before_shutdown` of all
/// modules in reverse, `shutdown` of all modules in reverse, then the same for all remotes and for all services.
pub trait Lifecycle: Send + Sync + 'static {
    /// The app is about to start.
    ///
    /// # Errors
    ///
    /// The app does not start.
    fn init(&self, server: &Server) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = server;
        async { Ok(()) }
    }

    /// All of its kind are initialised.
    fn after_init(&self, server: &Server) -> impl Future<Output = ()> + Send {
        let _ = server;
        async {}
    }

    /// All sessions ended; others of its kind still work.
    fn before_shutdown(&self, server: &Server) -> impl Future<Output = ()> + Send {
        let _ = server;
        async {}
    }

    /// The end.
    ///
    /// # Errors
    ///
    /// Logged; the rest is shut down all the same.
    fn shutdown(&self, server: &Server) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = server;
        async { Ok(()) }
    }
}

/// A part of an app that lives as long as the app does and that others find by its name.
///
/// ```
/// use cereus_app::{App, Lifecycle, Module};
///
/// struct Leaderboard { size: usize }
///
/// impl Lifecycle for Leaderboard {}
/// impl Module for Leaderboard {
///     fn name(&self) -> &str { "leaderboard" }
/// }
///
/// let server = App::new(()).module(Leaderboard { size: 10 }).build()?;
/// assert_eq!(server.module::<Leaderboard>("leaderboard").unwrap().size, 10);
/// assert!(server.module::<Leaderboard>("other").is_none());
/// # Ok::<(), cereus_app::BuildErrors>(())
/// ```
pub trait Module: Lifecycle {
    /// The name, which no other module of the app has.
    fn name(&self) -> &str;
}

/// [`Lifecycle`] as an object.
pub(crate) trait DynLifecycle: Send + Sync {
    fn init(self: Arc<Self>, server: Server) -> BoxFuture<Result<(), Error>>;
    fn after_init(self: Arc<Self>, server: Server) -> BoxFuture<()>;
    fn before_shutdown(self: Arc<Self>, server: Server) -> BoxFuture<()>;
    fn shutdown(self: Arc<Self>, server: Server) -> BoxFuture<Result<(), Error>>;
}

impl<L: Lifecycle> DynLifecycle for L {
    fn init(self: Arc<Self>, server: Server) -> BoxFuture<Result<(), Error>> {
        Box::pin(async move { Lifecycle::init(&*self, &server).await })
    }

    fn after_init(self: Arc<Self>, server: Server) -> BoxFuture<()> {
        Box::pin(async move { Lifecycle::after_init(&*self, &server).await })
    }

    fn before_shutdown(self: Arc<Self>, server: Server) -> BoxFuture<()> {
        Box::pin(async move { Lifecycle::before_shutdown(&*self, &server).await })
    }

    fn shutdown(self: Arc<Self>, server: Server) -> BoxFuture<Result<(), Error>> {
        Box::pin(async move { Lifecycle::shutdown(&*self, &server).await })
    }
}

/// A part of the app that is started and stopped, with the name that logs call it.
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) lifecycle: Arc<dyn DynLifecycle>,
    /// The module itself, to be found by its type.
    pub(crate) module: Option<Arc<dyn Any + Send + Sync>>,
}

impl Part {
    pub(crate) fn module(module: impl Module) -> Self {
        let module = Arc::new(module);
        Self { name: module.name().to_owned(), lifecycle: Arc::clone(&module) as _, module: Some(module) }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// Starts all parts of one kind in their order. `started` counts those that were initialised before one failed.
pub(crate) async fn start(parts: &[Part], server: &Server, started: &mut usize) -> Result<(), (String, Error)> {
    for part in parts {
        tracing::debug!(part = part.name, "init");
        Arc::clone(&part.lifecycle).init(server.clone()).await.map_err(|error| (part.name.clone(), error))?;
        *started += 1;
    }
    for part in parts {
        Arc::clone(&part.lifecycle).after_init(server.clone()).await;
    }
    Ok(())
}

/// Stops all parts of one kind in the reverse of their order.
pub(crate) async fn stop(parts: &[Part], server: &Server) {
    for part in parts.iter().rev() {
        Arc::clone(&part.lifecycle).before_shutdown(server.clone()).await;
    }
    for part in parts.iter().rev() {
        tracing::debug!(part = part.name, "shutdown");
        if let Err(error) = Arc::clone(&part.lifecycle).shutdown(server.clone()).await {
            tracing::error!(part = part.name, %error, "shutdown failed");
        }
    }
}
