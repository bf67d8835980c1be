use std::{ops::RangeInclusive, time::Duration};

use crate::Rng;

const MILLI: Duration = Duration::from_millis(1);

/// How the bus treats what it carries. By default everything arrives, after 1 to 5 ms.
#[derive(Clone, Debug)]
pub struct BusFaults {
    pub(crate) delay: RangeInclusive<Duration>,
    pub(crate) lose: usize,
    pub(crate) repeat: usize,
    pub(crate) refuse: usize,
    pub(crate) fail: usize,
}

impl Default for BusFaults {
    fn default() -> Self {
        Self { delay: MILLI..=5 * MILLI, lose: 0, repeat: 0, refuse: 0, fail: 0 }
    }
}

impl BusFaults {
    /// How long a message takes. Those from one server to another do not overtake each other.
    #[must_use]
    pub fn delay(mut self, delay: RangeInclusive<Duration>) -> Self {
        self.delay = delay;
        self
    }

    /// One in so many messages is lost, requests and answers alike. Zero: none.
    #[must_use]
    pub const fn lose(mut self, one_in: usize) -> Self {
        self.lose = one_in;
        self
    }

    /// One in so many messages comes a second time, some time later. Zero: none.
    #[must_use]
    pub const fn repeat(mut self, one_in: usize) -> Self {
        self.repeat = one_in;
        self
    }

    /// One in so many messages finds the bus full and is given back. Zero: none.
    #[must_use]
    pub const fn refuse(mut self, one_in: usize) -> Self {
        self.refuse = one_in;
        self
    }

    /// Of one in so many requests the bus tells that it failed to carry them. Zero: none.
    #[must_use]
    pub const fn fail(mut self, one_in: usize) -> Self {
        self.fail = one_in;
        self
    }

    /// Faults of its own for every seed.
    pub fn random(rng: &mut Rng) -> Self {
        let longest = MILLI * [1, 20, 300][rng.below(3)];
        let rate = |rng: &mut Rng| [0, 0, 5, 30][rng.below(4)];
        Self::default()
            .delay(Duration::ZERO..=longest)
            .lose(rate(rng))
            .repeat(rate(rng))
            .refuse(rate(rng))
            .fail(rate(rng))
    }
}

/// How the registry treats what it is asked, and those who watch. By default everything is done, in 1 to 5 ms each way.
#[derive(Clone, Debug)]
pub struct RegistryFaults {
    pub(crate) delay: RangeInclusive<Duration>,
    pub(crate) lag: RangeInclusive<Duration>,
    pub(crate) lose: usize,
    pub(crate) fail: usize,
    pub(crate) break_watch: usize,
}

impl Default for RegistryFaults {
    fn default() -> Self {
        let usual = MILLI..=5 * MILLI;
        Self { delay: usual.clone(), lag: usual, lose: 0, fail: 0, break_watch: 0 }
    }
}

impl RegistryFaults {
    /// How long a command takes to get there, and its answer to get back.
    #[must_use]
    pub fn delay(mut self, delay: RangeInclusive<Duration>) -> Self {
        self.delay = delay;
        self
    }

    /// How long a change takes to get to who watches. Changes do not overtake each other.
    #[must_use]
    pub fn lag(mut self, lag: RangeInclusive<Duration>) -> Self {
        self.lag = lag;
        self
    }

    /// One in so many commands is lost on its way, and so is one in so many answers. Zero: none.
    #[must_use]
    pub const fn lose(mut self, one_in: usize) -> Self {
        self.lose = one_in;
        self
    }

    /// One in so many commands fails, having been done or not. Zero: none.
    #[must_use]
    pub const fn fail(mut self, one_in: usize) -> Self {
        self.fail = one_in;
        self
    }

    /// Instead of one in so many changes, the watch ends. Zero: never.
    #[must_use]
    pub const fn break_watch(mut self, one_in: usize) -> Self {
        self.break_watch = one_in;
        self
    }

    /// Faults of its own for every seed.
    pub fn random(rng: &mut Rng) -> Self {
        let rate = |rng: &mut Rng| [0, 0, 3, 10][rng.below(4)];
        // A command may be done after it was given up.
        let longest = |rng: &mut Rng| MILLI * [1, 20, 300, 900][rng.below(4)];
        Self::default()
            .delay(Duration::ZERO..=longest(rng))
            .lag(Duration::ZERO..=longest(rng))
            .lose(rate(rng))
            .fail(rate(rng))
            .break_watch(rate(rng))
    }
}

/// How the nodes that are called behave. By default they answer at once.
#[derive(Clone, Debug)]
pub struct Callees {
    pub(crate) after: RangeInclusive<Duration>,
    pub(crate) ignore: usize,
    pub(crate) twice: usize,
    pub(crate) more: usize,
}

impl Default for Callees {
    fn default() -> Self {
        Self { after: Duration::ZERO..=Duration::ZERO, ignore: 0, twice: 0, more: 0 }
    }
}

impl Callees {
    /// How long they take.
    #[must_use]
    pub fn after(mut self, after: RangeInclusive<Duration>) -> Self {
        self.after = after;
        self
    }

    /// One in so many requests they never answer. Zero: none.
    #[must_use]
    pub const fn ignore(mut self, one_in: usize) -> Self {
        self.ignore = one_in;
        self
    }

    /// One in so many requests they answer twice. Zero: none.
    #[must_use]
    pub const fn twice(mut self, one_in: usize) -> Self {
        self.twice = one_in;
        self
    }

    /// Their answers are longer by so many bytes.
    #[must_use]
    pub const fn more(mut self, bytes: usize) -> Self {
        self.more = bytes;
        self
    }

    /// A behaviour of its own for every seed.
    pub fn random(rng: &mut Rng) -> Self {
        let longest = MILLI * [0, 10, 2000][rng.below(3)];
        Self::default().after(Duration::ZERO..=longest).ignore(6).twice(6).more([0, 400][rng.below(2)])
    }
}

/// True once in `times`; never, if that is zero.
pub(crate) fn rarely(rng: &mut Rng, times: usize) -> bool {
    times > 0 && rng.one_in(times)
}
