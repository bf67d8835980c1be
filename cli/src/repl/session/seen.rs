use std::collections::VecDeque;

use crate::{body::Body, repl::expect::Check};

/// How many pushes are kept for expectations, and how many bytes of them.
const MOST: usize = 1000;
const MOST_BYTES: usize = 16 << 20;

/// The pushes that no expectation has taken yet. The oldest make room.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pushes: VecDeque<(String, Body)>,
    bytes: usize,
    dropped: u64,
}

impl Seen {
    /// With how many were dropped before they got here.
    pub(super) fn add(&mut self, route: String, body: Body, dropped: u64) {
        self.dropped += dropped;
        self.bytes += route.len() + body.len();
        self.pushes.push_back((route, body));
        while self.pushes.len() > MOST || (self.bytes > MOST_BYTES && self.pushes.len() > 1) {
            self.remove(0);
            self.dropped += 1;
        }
    }

    /// Takes the first push of this route that passes. Otherwise: what came instead.
    pub(super) fn take(&mut self, route: &str, check: Option<&Check>) -> Result<(), String> {
        let mut mismatch = None;
        for index in 0..self.pushes.len() {
            let (other, body) = &self.pushes[index];
            if other != route {
                continue;
            }
            match check.map_or(Ok(()), |check| check.test(&body.value())) {
                Ok(()) => {
                    self.remove(index);
                    return Ok(());
                }
                Err(error) => mismatch = Some(error),
            }
        }
        Err(mismatch.map_or_else(|| self.others(), |mismatch| format!("{mismatch} in the last {route}{}", self.lost())))
    }

    fn others(&self) -> String {
        let mut routes: Vec<&str> = self.pushes.iter().map(|(route, _)| &**route).collect();
        routes.sort_unstable();
        routes.dedup();
        match &*routes {
            [] => format!("no push came{}", self.lost()),
            _ => format!("only these came: {}{}", routes.join(", "), self.lost()),
        }
    }

    fn lost(&self) -> String {
        if self.dropped == 0 { String::new() } else { format!(" ({} older ones were dropped)", self.dropped) }
    }

    fn remove(&mut self, index: usize) {
        if let Some((route, body)) = self.pushes.remove(index) {
            self.bytes -= route.len() + body.len();
        }
    }
}
