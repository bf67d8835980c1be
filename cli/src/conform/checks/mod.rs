//! The checks, by what they look at.

use super::check::Check;

mod errors;
mod framing;
mod handshake;
mod heartbeat;
mod messages;
mod order;
mod robust;
mod websocket;

const GROUPS: [&[Check]; 8] = [
    framing::CHECKS,
    websocket::CHECKS,
    handshake::CHECKS,
    heartbeat::CHECKS,
    messages::CHECKS,
    errors::CHECKS,
    order::CHECKS,
    robust::CHECKS,
];

/// All checks, in the order of reports.
pub(super) fn all() -> impl Iterator<Item = &'static Check> {
    GROUPS.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_easy_to_type() {
        let mut seen = HashSet::new();
        for check in all() {
            assert!(seen.insert(check.id), "{} is there twice", check.id);
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
            assert!(check.id.bytes().all(plain) && check.id.split('.').count() == 2, "{}", check.id);
            assert!(!check.title.is_empty() && !check.title.ends_with('.'), "{}", check.id);
        }
    }
}
