use std::{ops::RangeInclusive, time::Duration};

use crate::{LinkConfig, Rng};

/// How a client is connected: the [links](crate::Link) from and to its server.
///
/// ```
/// use cereus_sim::Profile;
///
/// // A phone whose user steps into a lift after 10 kB.
/// let phone = Profile::cellular().up(|link| link.reset_at(10_000));
/// ```
#[derive(Clone, Debug)]
pub struct Profile {
    uplink: LinkConfig,
    downlink: LinkConfig,
}

impl Profile {
    /// The same link both ways.
    pub fn new(link: LinkConfig) -> Self {
        Self { uplink: link.clone(), downlink: link }
    }

    /// Everything arrives at once.
    pub fn perfect() -> Self {
        Self::new(LinkConfig::default().coalesce(true))
    }

    /// 2 to 15 ms and seldom a fifth of a second.
    pub fn wifi() -> Self {
        Self::new(
            LinkConfig::default().chunk(1..=1460).coalesce(true).delay(millis(2..=15)).hiccup(200, millis(50..=200)),
        )
    }

    /// 40 to 180 ms, 50 kB per second up and 250 down, and now and then more than a second.
    pub fn cellular() -> Self {
        let link = LinkConfig::default().chunk(1..=1400).coalesce(true).delay(millis(40..=180));
        let link = link.hiccup(60, millis(300..=1500));
        Self { uplink: link.clone().bytes_per_second(50_000), downlink: link.bytes_per_second(250_000) }
    }

    /// Small pieces, and one in twenty of them keeps all others waiting for up to 20 s.
    pub fn stalling() -> Self {
        Self::new(LinkConfig::default().chunk(1..=64).delay(millis(5..=100)).hiccup(20, millis(1000..=20_000)))
    }

    /// One of its own for every seed, see [`LinkConfig::random`].
    pub fn random(rng: &mut Rng) -> Self {
        Self { uplink: LinkConfig::random(rng), downlink: LinkConfig::random(rng) }
    }

    /// Changes the link to the server.
    #[must_use]
    pub fn up(mut self, change: impl FnOnce(LinkConfig) -> LinkConfig) -> Self {
        self.uplink = change(self.uplink);
        self
    }

    /// Changes the link to the client.
    #[must_use]
    pub fn down(mut self, change: impl FnOnce(LinkConfig) -> LinkConfig) -> Self {
        self.downlink = change(self.downlink);
        self
    }

    /// Changes both links.
    #[must_use]
    pub fn both(self, change: impl Fn(LinkConfig) -> LinkConfig) -> Self {
        self.up(&change).down(&change)
    }

    /// The link to the server.
    pub const fn uplink(&self) -> &LinkConfig {
        &self.uplink
    }

    /// The link to the client.
    pub const fn downlink(&self) -> &LinkConfig {
        &self.downlink
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::perfect()
    }
}

fn millis(range: RangeInclusive<u64>) -> RangeInclusive<Duration> {
    Duration::from_millis(*range.start())..=Duration::from_millis(*range.end())
}
