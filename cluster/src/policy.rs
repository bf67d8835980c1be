use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::ServerInfo;

/// Which of several servers of a type gets a message. It has no lock: many sessions ask at once.
#[derive(Debug)]
pub struct Policy {
    kind: PolicyKind,
    state: AtomicU64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PolicyKind {
    Random,
    Fair,
    Sticky,
}

impl Policy {
    /// Any server, as Pitaya does. `seed` decides the sequence.
    pub const fn random(seed: u64) -> Self {
        Self { kind: PolicyKind::Random, state: AtomicU64::new(seed) }
    }

    /// Each server in turn.
    pub const fn fair() -> Self {
        Self { kind: PolicyKind::Fair, state: AtomicU64::new(0) }
    }

    /// The same server for the same key as long as that server is there. When a server comes or goes, only the keys move
    /// that have to.
    pub const fn sticky() -> Self {
        Self { kind: PolicyKind::Sticky, state: AtomicU64::new(0) }
    }

    /// Chooses among servers. `key` is who asks, such as a session.
    ///
    /// ```
    /// use cereus_cluster::{Policy, ServerInfo};
    /// use std::sync::Arc;
    ///
    /// let servers: Vec<_> = ["r1", "r2", "r3"].map(|id| Arc::new(ServerInfo::new("room", id))).into();
    /// let policy = Policy::sticky();
    /// let chosen = policy.choose("session 7", &servers).unwrap();
    /// assert_eq!(policy.choose("session 7", &servers), Some(chosen));
    /// assert_eq!(policy.choose("session 7", &[]), None);
    /// ```
    pub fn choose<'a>(&self, key: &str, servers: &'a [Arc<ServerInfo>]) -> Option<&'a Arc<ServerInfo>> {
        if servers.len() < 2 {
            return servers.first();
        }
        let count = servers.len() as u64;
        match self.kind {
            PolicyKind::Random => {
                const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
                let drawn = mix(self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP));
                servers.get((drawn % count) as usize)
            }
            PolicyKind::Fair => servers.get((self.state.fetch_add(1, Ordering::Relaxed) % count) as usize),
            // The highest draw wins: what the others draw does not change who that is.
            PolicyKind::Sticky => servers.iter().max_by_key(|server| draw(key, &server.id)),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::random(0)
    }
}

/// The finishing steps of SplitMix64.
const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn draw(key: &str, server: &str) -> u64 {
    // FNV-1a; the zero between the two keeps them apart.
    let bytes = key.bytes().chain([0]).chain(server.bytes());
    mix(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(count: usize) -> Vec<Arc<ServerInfo>> {
        (0..count).map(|n| Arc::new(ServerInfo::new("room", format!("r{n}")))).collect()
    }

    fn spread(policy: &Policy, servers: &[Arc<ServerInfo>]) -> Vec<usize> {
        let mut counts = vec![0; servers.len()];
        for key in 0..1000 {
            let chosen = policy.choose(&key.to_string(), servers).unwrap();
            counts[servers.iter().position(|server| server == chosen).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn all_policies_use_all_servers() {
        let servers = servers(4);
        assert_eq!(spread(&Policy::fair(), &servers), [250; 4]);
        for policy in [Policy::random(1), Policy::sticky()] {
            let counts = spread(&policy, &servers);
            assert!(counts.iter().all(|count| (200..300).contains(count)), "{policy:?}: {counts:?}");
        }
    }

    #[test]
    fn sticky_keys_stay_when_another_server_goes() {
        let (all, policy) = (servers(4), Policy::sticky());
        let less: Vec<_> = all.iter().filter(|server| server.id != "r2").cloned().collect();
        for key in 0..200 {
            let key = key.to_string();
            let before = policy.choose(&key, &all).unwrap();
            assert!(before.id == "r2" || policy.choose(&key, &less) == Some(before));
        }
    }
}
