use std::{fmt, sync::Arc, time::Duration};

use cereus_core::{Route, RoutePath};
use hashbrown::HashMap;

use crate::{Context, Error, cluster::Forwards, handler::ErasedHandler};

/// Which handler a route means. Made once; finding one costs the same for ten routes and ten thousand.
#[derive(Default)]
pub(crate) struct Router {
    endpoints: Vec<Endpoint>,
    /// By both forms, with and without the server's own type.
    routes: HashMap<Route, u32>,
    server_type: String,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// To a handler of this server.
    Local(u32),
    /// To another server, by the settings with this number.
    Forward(u32),
}

pub(crate) struct Endpoint {
    /// `service.method`, for the log.
    pub(crate) route: Arc<str>,
    pub(crate) handler: ErasedHandler<Context>,
    pub(crate) answers: bool,
    pub(crate) deadline: Duration,
    pub(crate) service: u32,
    /// How many messages of a session run at the same time; `None`: one after the other.
    pub(crate) concurrency: Option<usize>,
}

impl Router {
    pub(crate) fn new(server_type: &str) -> Self {
        Self { server_type: server_type.to_owned(), ..Self::default() }
    }

    /// Adds a handler. Tells whether its route was free.
    pub(crate) fn insert(&mut self, endpoint: Endpoint) -> bool {
        let index = self.endpoints.len() as u32;
        let (short, full) = (endpoint.route.to_string(), format!("{}.{}", self.server_type, endpoint.route));
        self.endpoints.push(endpoint);
        self.routes.insert(Route::from(full), index);
        self.routes.insert(Route::from(short), index).is_none()
    }

    /// The handler of a client's route, or the settings for the server that has it, or what to answer. Without forwards
    /// this server stands alone.
    pub(crate) fn find(&self, route: &Route, forwards: Option<&Forwards>) -> Result<Target, Error> {
        if let Some(index) = self.routes.get(route.as_bytes()) {
            return Ok(Target::Local(*index));
        }
        let path = read_path(route)?;
        let server_type = path.server_type.unwrap_or(&self.server_type);
        match forwards {
            _ if server_type == self.server_type => Err(not_found(server_type, &path)),
            Some(forwards) => Ok(Target::Forward(forwards.find(server_type))),
            None => {
                let text = format!("no servers of type {server_type}: this server stands alone");
                Err(Error::new(Error::NOT_FOUND, text).with("route", route))
            }
        }
    }

    /// The handler of a route that another server sent: its type is not looked at.
    pub(crate) fn find_forwarded(&self, route: &Route) -> Result<(u32, &Endpoint), Error> {
        let path = read_path(route)?;
        let short = route.as_bytes();
        let short = path.server_type.map_or(short, |server_type| &short[server_type.len() + 1..]);
        match self.routes.get(short) {
            Some(index) => Ok((*index, self.endpoint(*index))),
            None => Err(not_found(path.server_type.unwrap_or(&self.server_type), &path)),
        }
    }

    pub(crate) fn endpoint(&self, index: u32) -> &Endpoint {
        &self.endpoints[index as usize]
    }

    pub(crate) fn server_type(&self) -> &str {
        &self.server_type
    }
}

fn read_path(route: &Route) -> Result<RoutePath<'_>, Error> {
    route.path().map_err(|error| Error::new(Error::BAD_REQUEST, error.to_string()).with("route", route))
}

fn not_found(server_type: &str, path: &RoutePath<'_>) -> Error {
    let text = format!("pitaya/handler: {server_type}.{}.{} not found", path.service, path.method);
    Error::new(Error::NOT_FOUND, text)
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("endpoints", &self.endpoints.len()).finish_non_exhaustive()
    }
}
