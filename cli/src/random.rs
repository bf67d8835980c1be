//! Numbers that nobody expects.

use std::sync::atomic::{AtomicU64, Ordering};

/// SplitMix64, shared by whoever draws.
#[derive(Debug)]
pub(crate) struct Random(AtomicU64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95).into())
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 up to but without 1.
    pub(crate) fn unit(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A number that differs each time, also between processes.
pub(crate) fn chance() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The keys of hash maps are what the system's own randomness gave.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// A random UUID (version 4).
pub(crate) fn uuid() -> String {
    let bits = u128::from(chance()) << 64 | u128::from(chance());
    let bits = bits & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_of_version_4_and_differ() {
        let uuids: std::collections::HashSet<_> = (0..1000).map(|_| uuid()).collect();
        assert_eq!(uuids.len(), 1000);
        for uuid in uuids {
            let parts: Vec<_> = uuid.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{uuid}");
            assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{uuid}");
        }
    }
}
