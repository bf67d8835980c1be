use std::{env, ops::RangeInclusive, time::Duration};

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

/// Runs `test` with `count` seeds; with the one of the environment variable `SEED` alone, if it is set.
///
/// The seed of a run that panics is told.
///
/// # Panics
///
/// When `test` does, and when `SEED` is not a number.
pub fn seeds(count: u64, mut test: impl FnMut(u64)) {
    match env::var("SEED") {
        Ok(seed) => run(seed.parse().expect("SEED is not a number"), &mut test),
        Err(_) => (0..count).for_each(|seed| run(seed, &mut test)),
    }
}

fn run(seed: u64, test: &mut impl FnMut(u64)) {
    let _told = TellSeed(seed);
    test(seed);
}

struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat what failed alone: SEED={}", self.0);
        }
    }
}
