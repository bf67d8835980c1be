use alloc::vec::Vec;

use hashbrown::HashMap;
use thiserror::Error;

use crate::Route;

/// Two-byte codes for routes, agreed in the handshake (specification, section 2.5).
///
/// Belongs to a configuration value; two servers in one process have two. Looking up costs the same for ten routes and
/// ten thousand. libpitaya and the Go client ignore the dictionary, so pushes to them carry text.
///
/// ```
/// use cereus_core::{Route, RouteDictionary};
///
/// let dictionary = RouteDictionary::new([("room.join", 1), ("onMessage", 2)])?;
/// assert_eq!(dictionary.code(&Route::from_static("onMessage")), Some(2));
/// assert_eq!(dictionary.route(1).unwrap(), &"room.join");
/// # Ok::<(), cereus_core::DictionaryError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RouteDictionary {
    codes: HashMap<Route, u16>,
    routes: HashMap<u16, Route>,
    /// Sorted by route, for everything that needs an order.
    entries: Vec<(Route, u16)>,
}

impl RouteDictionary {
    /// A dictionary of these routes, each trimmed of surrounding white space.
    ///
    /// # Errors
    ///
    /// An empty route, a route twice, a code twice.
    pub fn new<R: AsRef<str>>(entries: impl IntoIterator<Item = (R, u16)>) -> Result<Self, DictionaryError> {
        let mut dictionary = Self::default();
        for (route, code) in entries {
            dictionary.insert(Route::from(route.as_ref().trim()), code)?;
        }
        dictionary.entries.sort_unstable();
        Ok(dictionary)
    }

    pub(crate) fn from_routes(entries: &[(Route, u16)]) -> Result<Self, DictionaryError> {
        let mut dictionary = Self::default();
        for (route, code) in entries {
            dictionary.insert(route.clone(), *code)?;
        }
        dictionary.entries.sort_unstable();
        Ok(dictionary)
    }

    fn insert(&mut self, route: Route, code: u16) -> Result<(), DictionaryError> {
        if route.is_empty() {
            return Err(DictionaryError::EmptyRoute { code });
        }
        if self.codes.insert(route.clone(), code).is_some() {
            return Err(DictionaryError::RouteTwice { route });
        }
        if let Some(other) = self.routes.insert(code, route.clone()) {
            return Err(DictionaryError::CodeTwice { code, routes: [other, route] });
        }
        self.entries.push((route, code));
        Ok(())
    }

    /// The code of a route. The literal text counts, nothing is trimmed here.
    pub fn code(&self, route: &Route) -> Option<u16> {
        if self.codes.is_empty() { None } else { self.codes.get(route).copied() }
    }

    /// The route of a code.
    pub fn route(&self, code: u16) -> Option<&Route> {
        self.routes.get(&code)
    }

    /// All routes and their codes, in the order of the routes.
    pub fn entries(&self) -> &[(Route, u16)] {
        &self.entries
    }
}

/// Why a dictionary cannot be made. The caller is at fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DictionaryError {
    /// An empty route has no place on the wire.
    #[error("the route of code {code} in the dictionary is empty: give it a name or remove it")]
    EmptyRoute {
        /// The code that it was given.
        code: u16,
    },
    /// One route stands there twice.
    #[error("the route `{route}` is in the dictionary twice: remove one")]
    RouteTwice {
        /// The route.
        route: Route,
    },
    /// Two routes have one code.
    #[error("the routes `{}` and `{}` have the same code {code} in the dictionary: change one", routes[0], routes[1])]
    CodeTwice {
        /// The code.
        code: u16,
        /// Both routes.
        routes: [Route; 2],
    },
}
