use std::{fmt, time::Duration};

use cereus_core::Route;
use hashbrown::HashMap;

use crate::{Error, handler::ErasedHandler};

/// Which handler a route means. Made once; finding one costs the same for ten routes and ten thousand.
#[derive(Default)]
pub(crate) struct Router {
    endpoints: Vec<Endpoint>,
    /// By both forms, with and without the server's own type.
    routes: HashMap<Route, usize>,
    server_type: String,
}

pub(crate) struct Endpoint {
    /// `service.method`, for the log.
    pub(crate) route: String,
    pub(crate) handler: ErasedHandler,
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
        let index = self.endpoints.len();
        let (short, full) = (endpoint.route.clone(), format!("{}.{}", self.server_type, endpoint.route));
        self.endpoints.push(endpoint);
        self.routes.insert(Route::from(full), index);
        self.routes.insert(Route::from(short), index).is_none()
    }

    /// The handler of a route, or what to answer.
    pub(crate) fn find(&self, route: &Route) -> Result<(usize, &Endpoint), Error> {
        match self.routes.get(route.as_bytes()) {
            Some(index) => Ok((*index, &self.endpoints[*index])),
            None => Err(self.not_found(route)),
        }
    }

    pub(crate) fn endpoint(&self, index: usize) -> &Endpoint {
        &self.endpoints[index]
    }

    fn not_found(&self, route: &Route) -> Error {
        let path = match route.path() {
            Ok(path) => path,
            Err(error) => return Error::new(Error::BAD_REQUEST, error.to_string()).with("route", route),
        };
        let server_type = path.server_type.unwrap_or(&self.server_type);
        if server_type != self.server_type {
            let text = format!("no servers of type {server_type}: this server stands alone");
            return Error::new(Error::NOT_FOUND, text).with("route", route);
        }
        let text = format!("pitaya/handler: {server_type}.{}.{} not found", path.service, path.method);
        Error::new(Error::NOT_FOUND, text)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("endpoints", &self.endpoints.len()).finish_non_exhaustive()
    }
}
