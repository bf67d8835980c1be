//! Randomness where nothing secret depends on it: ids of servers and where their dice begin.

use std::hash::{BuildHasher, RandomState};

/// A number that differs from process to process and from call to call.
pub(crate) fn seed() -> u64 {
    RandomState::new().hash_one(0)
}

/// A random UUID as text (version 4).
pub(crate) fn uuid() -> String {
    let bits = u128::from(seed()) << 64 | u128::from(seed());
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let text = format!("{bits:032x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn uuids_differ_and_have_their_shape() {
        let (first, second) = (super::uuid(), super::uuid());
        assert_ne!(first, second);
        assert_eq!((first.len(), &first[14..15]), (36, "4"));
        assert!(matches!(&first[19..20], "8" | "9" | "a" | "b"), "{first}");
    }
}
