use std::{
    env,
    ops::RangeInclusive,
    thread,
    time::{Duration, Instant},
};

/// A small generator of numbers that look random (splitmix64): the same seed gives the same numbers, everywhere.
///
/// ```
/// use cereus_sim::Rng;
///
/// let (mut one, mut two) = (Rng::new(7), Rng::new(7));
/// assert_eq!(one.next_u64(), two.next_u64());
/// assert!((3..=5).contains(&one.between(3..=5)));
/// ```
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which must not be zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next_u64() % end as u64) as usize
    }

    /// A number of the range.
    pub fn between(&mut self, range: RangeInclusive<usize>) -> usize {
        let (start, end) = range.into_inner();
        start + self.below(end - start + 1)
    }

    /// A duration of the range.
    pub fn duration(&mut self, range: RangeInclusive<Duration>) -> Duration {
        let (start, end) = range.into_inner();
        let nanos = (end - start).as_nanos() as u64;
        start + Duration::from_nanos(if nanos == 0 { 0 } else { self.next_u64() % (nanos + 1) })
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Runs `test` with `count` seeds, from 0 on; what the environment says comes first:
///
/// - `CEREUS_SEED=17` runs this one alone,
/// - `CEREUS_SEEDS=1000` runs so many, `CEREUS_SEEDS=5000..6000` these.
///
/// The seed of a run that panics is told, with how to repeat it. A run of many seeds tells how far it is.
///
/// # Panics
///
/// When `test` does, and when the environment says something else.
pub fn seeds(count: u64, mut test: impl FnMut(u64)) {
    let (first, end) = asked().unwrap_or((0, count));
    let mut told = Instant::now();
    for seed in first..end {
        let failing = TellSeed(seed);
        test(seed);
        drop(failing);
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            eprintln!("{} of {} seeds", seed + 1 - first, end - first);
        }
    }
}

/// How often it is told how far a run is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Which seeds are asked for in the environment.
fn asked() -> Option<(u64, u64)> {
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("`{text}` is no seed: a number is"));
    if let Ok(seed) = env::var("CEREUS_SEED") {
        let seed = number(&seed);
        return Some((seed, seed + 1));
    }
    let seeds = env::var("CEREUS_SEEDS").ok()?;
    Some(match seeds.split_once("..") {
        Some((first, end)) => (number(first), number(end)),
        None => (0, number(&seeds)),
    })
}

struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("to repeat what failed alone, and be told all of it: CEREUS_SEED={} CEREUS_TRACE=1", self.0);
        }
    }
}
