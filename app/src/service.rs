use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Context, Handler, IntoNothing, IntoReply, Lifecycle,
    handler::{self, UnboundHandler},
    module::DynLifecycle,
};

/// Handlers under one name: a client reaches `join` of the service `room` by the route `room.join`.
///
/// ```
/// use cereus_app::{Error, Json, Service, Session};
///
/// async fn join(session: Session, Json(name): Json<String>) -> Result<Json<String>, Error> {
///     session.bind(&*name).await?;
///     Ok(Json(format!("welcome, {name}")))
/// }
/// async fn leave(session: Session) {
///     session.close();
/// }
///
/// let service: Service<()> = Service::new("room").request("join", join).notify("leave", leave);
/// ```
#[must_use = "a service does nothing until an app has it"]
pub struct Service<S> {
    pub(crate) name: String,
    pub(crate) entries: Vec<Entry<S>>,
    pub(crate) rename: Option<Rename>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) lifecycle: Option<Arc<dyn DynLifecycle>>,
}

type Rename = Box<dyn Fn(&str) -> String + Send>;

pub(crate) struct Entry<S> {
    pub(crate) name: String,
    pub(crate) answers: bool,
    /// The serializers that its argument and its result belong to.
    pub(crate) formats: [Option<&'static str>; 2],
    pub(crate) handler: UnboundHandler<S, Context>,
}

impl<S: Send + Sync + 'static> Service<S> {
    /// A service without handlers.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            entries: Vec::new(),
            rename: None,
            concurrency: None,
            deadline: None,
            lifecycle: None,
        }
    }

    /// Adds a handler that is answered. A notify on its route runs it, too; the result is dropped then.
    pub fn request<M: 'static, H>(mut self, name: impl Into<String>, handler: H) -> Self
    where
        H: Handler<M, S>,
        H::Output: IntoReply,
    {
        let formats = [H::FORMAT, H::Output::FORMAT];
        self.entries.push(Entry { name: name.into(), answers: true, formats, handler: handler::request(handler) });
        self
    }

    /// Adds a handler that is not answered. A request on its route is refused.
    pub fn notify<M: 'static, H>(mut self, name: impl Into<String>, handler: H) -> Self
    where
        H: Handler<M, S>,
        H::Output: IntoNothing,
    {
        let formats = [H::FORMAT, None];
        self.entries.push(Entry { name: name.into(), answers: false, formats, handler: handler::notify(handler) });
        self
    }

    /// Makes the names of the handlers, before and after this call, from those that they were added with.
    pub fn map_names(mut self, rename: impl Fn(&str) -> String + Send + 'static) -> Self {
        self.rename = Some(Box::new(rename));
        self
    }

    /// Lets up to `messages` messages of one session to this service run at the same time, beside those to other
    /// services. Default: a session's messages are handled one after the other, in the order they were sent.
    pub fn concurrency(mut self, messages: usize) -> Self {
        self.concurrency = Some(messages);
        self
    }

    /// How long its handlers may run; then they are dropped where they wait, and a request is answered with PIT-408.
    /// Default: the app's.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// What happens when the app starts and stops.
    pub fn lifecycle(mut self, lifecycle: impl Lifecycle) -> Self {
        self.lifecycle = Some(Arc::new(lifecycle));
        self
    }
}

impl<S> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers: Vec<_> = self.entries.iter().map(|entry| &entry.name).collect();
        f.debug_struct("Service").field("name", &self.name).field("handlers", &handlers).finish_non_exhaustive()
    }
}
