//! The configurations of servers that scripts can choose.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use cereus_core::{Compression, FullPolicy, Route, RouteDictionary, ServerConfig};

use super::{
    MAX_INFLATED, dictionary,
    driven::{MAX_PACKET, MAX_QUEUED, MAX_WAITING},
    meter::Limit,
};

/// Bits, each of which changes something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings(pub(super) u16);

impl Settings {
    const USED: u16 = 0x3fff;

    pub(super) fn config(self) -> Arc<ServerConfig> {
        let config = CONFIGS[usize::from(self.0 & Self::USED)].get_or_init(|| Arc::new(self.build()));
        Arc::clone(config)
    }

    fn build(self) -> ServerConfig {
        let mut builder = ServerConfig::builder()
            .heartbeat(Duration::from_secs(if self.has(0x80) { 10 } else { 1 }))
            .dictionary(if self.has(1) { dictionary() } else { RouteDictionary::default() })
            .compression(self.compression())
            .full_policy(self.full_policy())
            .close_timeout(Duration::from_secs(if self.has(0x40) { 9 } else { 1 }))
            .max_packet_size(MAX_PACKET)
            .max_handshake_size(MAX_PACKET / 2)
            .max_inflated_size(MAX_INFLATED)
            .max_waiting_input(MAX_WAITING)
            .max_pending_requests(self.max_pending())
            .max_queued_bytes(MAX_QUEUED);
        for (route, policy) in self.route_policies() {
            builder = builder.route_policy(*route, *policy);
        }
        if let Some(limit) = self.limit() {
            builder = builder.rate_limit(limit.rate_limit());
        }
        builder.build().expect("a valid configuration")
    }

    pub(super) fn compression(self) -> Compression {
        self.choose(1, [Compression::Auto, Compression::On, Compression::Off, Compression::On])
    }

    pub(super) const fn max_pending(self) -> usize {
        if self.has(0x20) { 2 } else { 8 }
    }

    pub(super) fn limit(self) -> Option<Limit> {
        let packets = self.choose(9, [0, 1, 3, 20]);
        let limit = Limit {
            packets,
            bytes: if self.has(0x800) { 300 } else { usize::MAX },
            interval: Duration::from_millis(if self.has(0x1000) { 7000 } else { 500 }),
            silent: self.has(0x2000),
        };
        (packets > 0).then_some(limit)
    }

    /// What happens to a push to this route that has no policy of its own.
    pub(super) fn policy(self, route: &Route) -> FullPolicy {
        let of_route = self.route_policies().iter().find(|(of, _)| route == of);
        of_route.map_or_else(|| self.full_policy(), |(_, policy)| *policy)
    }

    fn full_policy(self) -> FullPolicy {
        self.choose(3, [FullPolicy::Close, FullPolicy::DropOldest, FullPolicy::KeepLatest, FullPolicy::Close])
    }

    const fn route_policies(self) -> &'static [(&'static str, FullPolicy)] {
        match self.has(0x100) {
            true => &[
                ("room.join", FullPolicy::DropOldest),
                ("room.say", FullPolicy::KeepLatest),
                ("onMessage", FullPolicy::Close),
            ],
            false => &[],
        }
    }

    const fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    /// One of four, by the two bits from `bit` on.
    fn choose<T: Copy>(self, bit: u16, from: [T; 4]) -> T {
        from[usize::from(self.0 >> bit & 3)]
    }
}

/// One for every choice, when it is needed: preparing a configuration takes longer than most scripts.
static CONFIGS: [OnceLock<Arc<ServerConfig>>; Settings::USED as usize + 1] =
    [const { OnceLock::new() }; Settings::USED as usize + 1];
