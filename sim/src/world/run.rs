//! Time, and what is true at any of it.

use std::{collections::BTreeSet, fmt, time::Duration};

use cereus_core::Instant;

use super::{World, host::Running, invariants};

/// How much of the journal is told when an invariant does not hold.
const TAIL: usize = 60;

/// More instants than any test needs: something goes round in circles.
const MAX_INSTANTS: usize = 10_000_000;

/// How long servers may take to know each other once nothing fails any more: the longest time to live of a record, and
/// what it takes to try again.
const CONVERGENCE: Duration = Duration::from_secs(120);

/// How long servers may take to end.
const END: Duration = Duration::from_secs(180);

/// Running.
impl World {
    /// Lets exactly this much time pass, and looks after every instant at which something happened whether all is true
    /// that should be.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now() + duration;
        self.settle();
        while let Some(next) = self.runtime.next_timer().filter(|next| *next <= end) {
            self.runtime.pass_until(next);
            self.settle();
        }
        self.runtime.pass_until(end);
    }

    /// Runs until `done`, which is asked whenever nothing can happen without time passing. Returns when that was.
    ///
    /// # Panics
    ///
    /// When it never comes, or something is not true that should be.
    pub fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool) -> Instant {
        for _ in 0..MAX_INSTANTS {
            self.settle();
            if done(self) {
                return self.now();
            }
            let next = self.runtime.next_timer();
            let next = next.unwrap_or_else(|| self.fail("what the test waits for never comes"));
            self.runtime.pass_until(next);
        }
        self.fail("what the test waits for does not come")
    }

    /// Ends all faults of the cluster, and runs until all servers that run know each other, and nobody else.
    ///
    /// # Panics
    ///
    /// When that takes longer than two minutes.
    pub fn converge(&mut self) {
        self.journal.note("all faults of the cluster end");
        self.cluster.heal();
        let end = self.now() + CONVERGENCE;
        loop {
            self.settle();
            let Some(why) = self.disagreement() else {
                return;
            };
            match self.runtime.next_timer().filter(|next| *next <= end) {
                Some(next) => self.runtime.pass_until(next),
                None => self.journal.violated(invariants::TABLES, why),
            }
        }
    }

    /// Shuts all servers down, and looks whether they leave anything behind. Clients are to have left before, or are told
    /// to go.
    ///
    /// # Panics
    ///
    /// When they do, or take longer than three minutes.
    pub fn finish(mut self) {
        self.journal.note("all servers are shut down");
        let running: Vec<_> = self.places.values_mut().filter_map(|place| place.running.take()).collect();
        running.iter().for_each(|running| running.server.shutdown());
        let end = self.now() + END;
        let is_over = |running: &Running| running.serving.is_over() && running.runtime.tasks() == 0;
        self.settle();
        while !running.iter().all(is_over)
            && let Some(next) = self.runtime.next_timer().filter(|next| *next <= end)
        {
            self.runtime.pass_until(next);
            self.settle();
        }
        for Running { server, serving, runtime } in &running {
            let (name, calls) = (server.server_type(), server.rpc().calls_in_flight());
            let left = (server.sessions().count(), runtime.tasks(), calls);
            let result = serving.take_result();
            if !matches!(result, Some(Ok(()))) || left != (0, 0, 0) {
                let why = format!("a {name} returned {result:?} and left (sessions, tasks, calls) {left:?}");
                self.journal.violated(invariants::LEFTOVERS, why);
            }
        }
        self.check();
    }

    /// Runs what can run without time passing, and looks whether all is true that should be.
    fn settle(&self) {
        self.runtime.run_idle();
        self.check();
    }

    fn check(&self) {
        self.conversations.check(self.now());
        self.places.values().filter_map(|place| place.running.as_ref()).for_each(|running| self.check_calls(running));
        for (name, holds) in &self.invariants {
            if let Err(why) = holds(self) {
                self.journal.violated(name, why);
            }
        }
        if let Some(broken) = self.journal.broken(&self.ignored) {
            self.fail(format_args!("invariant `{}` does not hold: {}", broken.invariant, broken.why));
        }
    }

    fn check_calls(&self, running: &Running) {
        let rpc = running.server.rpc();
        let (stats, in_flight) = (rpc.call_stats(), rpc.calls_in_flight() as u64);
        let ended = stats.answered + stats.timed_out + stats.cancelled;
        if stats.begun != ended + in_flight {
            let id = rpc.own().map_or_else(String::new, |own| own.id.clone());
            self.journal.violated(invariants::CALLS, format_args!("{id}: {in_flight} in flight, and {stats:?}"));
        }
    }

    /// Who knows somebody that is not there, or does not know somebody who is.
    fn disagreement(&self) -> Option<String> {
        let members = self.places.iter().filter_map(|(id, place)| Some((id, place.running.as_ref()?)));
        let members: Vec<_> = members.filter(|(_, running)| running.is_member()).collect();
        if let Some((id, _)) = members.iter().find(|(_, running)| !running.server.is_ready()) {
            return Some(format!("{id} is not ready"));
        }
        let all: BTreeSet<_> = members.iter().map(|(id, _)| (*id).clone()).collect();
        members.iter().find_map(|(id, running)| {
            let known: BTreeSet<_> = running.server.rpc().servers().iter().map(|info| info.id.clone()).collect();
            (known != all).then(|| format!("{id} knows {known:?} instead of {all:?}"))
        })
    }

    fn fail(&self, why: impl fmt::Display) -> ! {
        panic!("{why}");
    }
}

/// Whatever made it fail, it tells what came before.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let after = self.now() - Instant::EPOCH;
            eprintln!("the world of seed {} failed after {after:?}:\n{}", self.seed, self.journal.tail(TAIL));
        }
        // Tasks hold the runtime, which holds them.
        self.runtime.end();
    }
}
