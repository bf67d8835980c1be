//! Randomness where nothing secret depends on it: ids of servers and where their dice begin.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, RandomState};

/// A number that differs from process to process and from call to call.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Where the dice of a server begin: servers with random ids differ, and one with a given id does the same in every run.
pub(crate) fn seed(server_id: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one(server_id)
}

/// A random UUID as text (version 4).
pub(crate) fn uuid() -> String {
    let bits = u128::from(random()) << 64 | u128::from(random());
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
