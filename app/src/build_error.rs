use std::fmt;

use cereus_core::ConfigError;
use thiserror::Error as ThisError;

/// A mistake in the making of an app.
#[derive(Clone, Debug, Eq, PartialEq, ThisError)]
#[non_exhaustive]
pub enum BuildError {
    /// Two services have one name.
    #[error("there are two services `{name}`: rename one, or put their handlers into one service")]
    ServiceTwice {
        /// The name.
        name: String,
    },
    /// Two remotes have one name, or one has the name of those that every server has.
    #[error("there are two remotes `{name}`: rename one, or put their functions into one remote (`sys` is taken)")]
    RemoteTwice {
        /// The name.
        name: String,
    },
    /// Two handlers have one route.
    #[error("there are two handlers for `{route}`: remove or rename one")]
    RouteTwice {
        /// The route.
        route: String,
    },
    /// Two modules have one name.
    #[error("there are two modules `{name}`: rename one")]
    ModuleTwice {
        /// The name.
        name: String,
    },
    /// A remote takes or returns something else than protobuf.
    #[error("the remote `{route}` takes or returns {body}, but servers speak protobuf: use `Protobuf` or `Raw`")]
    RemoteSerializer {
        /// The route of the remote.
        route: String,
        /// What it takes or returns.
        body: &'static str,
    },
    /// No server could be found by this.
    #[error(
        "the {what} `{name}` cannot name a server: it must not be empty or contain a dot, a slash, white space or a wildcard"
    )]
    ServerName {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// No route could ever mean this.
    #[error("the {what} name `{name}` cannot be part of a route: it must not be empty or contain a dot")]
    Name {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A handler takes or returns a body of another serializer.
    #[error(
        "the handler of `{route}` takes or returns {body}, but the app's serializer is {app}: change the handler, or set \
         `App::serializer`"
    )]
    Serializer {
        /// The route of the handler.
        route: String,
        /// What the handler takes or returns.
        body: &'static str,
        /// What the app announces.
        app: &'static str,
    },
    /// A service whose handlers could never run.
    #[error("the service `{service}` has a deadline or a concurrency of zero: none of its handlers could run")]
    NothingRuns {
        /// The service.
        service: String,
    },
    /// A setting that cannot work.
    #[error("`{0}` is zero: set it to something above")]
    ZeroSetting(&'static str),
    /// A mistake in the settings of the client protocol.
    #[error(transparent)]
    Protocol(#[from] ConfigError),
}

/// Every mistake in the making of an app, at least one.
#[derive(Clone, Eq, PartialEq)]
pub struct BuildErrors(pub(crate) Vec<BuildError>);

impl BuildErrors {
    /// The mistakes.
    pub fn iter(&self) -> impl Iterator<Item = &BuildError> {
        self.0.iter()
    }
}

impl fmt::Display for BuildErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the app cannot be built:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n- {error}"))
    }
}

impl fmt::Debug for BuildErrors {
    /// As text: this is what a `main` that returns it shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BuildErrors {}
