use std::time::Duration;

use super::{
    connection::{Again, Connection},
    failure::{Failure, Kind},
};
use crate::{KeptAlive, LeaseId};

/// What etcd accepts at most.
const MAX_SECONDS: u64 = 9_000_000_000;

impl Connection {
    pub(super) async fn grant(&self, ttl: Duration) -> Result<LeaseId, Failure> {
        let ttl = seconds(ttl);
        // One that nobody hears of ends by itself.
        let granted =
            self.request(Again::Harmless, move |mut client| async move { client.lease_grant(ttl, None).await }).await?;
        Ok(LeaseId::new(granted.id()))
    }

    pub(super) async fn keep_alive(&self, lease: LeaseId) -> Result<KeptAlive, Failure> {
        let id = lease.get();
        // A stream per time: none that would have to be looked after.
        match self
            .request(Again::Harmless, move |mut client| async move { client.lease_keep_alive(id).await.map(drop) })
            .await
        {
            Ok(()) => Ok(KeptAlive::Yes),
            Err(Failure { kind: Kind::NoLease, .. }) => Ok(KeptAlive::Lost),
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn revoke(&self, lease: LeaseId) -> Result<(), Failure> {
        let id = lease.get();
        match self
            .request(Again::Harmless, move |mut client| async move { client.lease_revoke(id).await.map(drop) })
            .await
        {
            // It is over, as was asked.
            Err(Failure { kind: Kind::NoLease, .. }) => Ok(()),
            result => result,
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(ttl: Duration) -> i64 {
    let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
    seconds.clamp(1, MAX_SECONDS).try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_to_whole_seconds() {
        for (ttl, expected) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (60_000, 60)] {
            assert_eq!(seconds(Duration::from_millis(ttl)), expected);
        }
        assert_eq!(seconds(Duration::MAX), 9_000_000_000);
    }
}
