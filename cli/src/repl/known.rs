//! What Tab completes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many routes are remembered.
const MOST: usize = 10_000;

/// The routes and the types that are known so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    routes: BTreeSet<String>,
    types: BTreeSet<String>,
}

impl Known {
    pub(super) fn add_route(&self, route: &str) {
        let mut names = self.lock();
        if names.routes.len() < MOST && !names.routes.contains(route) {
            names.routes.insert(route.to_owned());
        }
    }

    pub(super) fn add_types(&self, types: impl IntoIterator<Item = String>) {
        self.lock().types.extend(types);
    }

    pub(super) fn routes(&self) -> Vec<String> {
        self.lock().routes.iter().cloned().collect()
    }

    pub(super) fn types(&self) -> Vec<String> {
        self.lock().types.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        // Nothing panics with the lock held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
