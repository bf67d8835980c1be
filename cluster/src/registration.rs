use std::{sync::Arc, time::Duration};

use cereus_core::Instant;

use crate::{LeaseId, RegistryCommand, ServerInfo};

/// Keeps the own record in the registry: grant a lease, put the record with it, keep it alive; when it is lost, again
/// from the start (specification, section 11.3).
#[derive(Debug)]
pub(crate) struct Registration {
    own: Arc<ServerInfo>,
    ttl: Duration,
    retry: Duration,
    state: State,
    /// What is to be executed next.
    command: Option<RegistryCommand>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Not asked for yet, or over.
    Out,
    Granting,
    Putting(LeaseId),
    Held {
        lease: LeaseId,
        keep_at: Instant,
    },
    Keeping(LeaseId),
    /// The record could not be put: is there still a lease to put it under?
    Checking(LeaseId),
    /// Something failed: try it again then, from the start if there is no lease.
    Resting {
        lease: Option<LeaseId>,
        put: bool,
        until: Instant,
    },
}

impl Registration {
    pub(crate) const fn new(own: Arc<ServerInfo>, ttl: Duration, retry: Duration) -> Self {
        Self { own, ttl, retry, state: State::Out, command: None }
    }

    pub(crate) const fn is_held(&self) -> bool {
        matches!(self.state, State::Held { .. } | State::Keeping(_) | State::Resting { put: false, lease: Some(_), .. })
    }

    pub(crate) fn own_id(&self) -> &str {
        &self.own.id
    }

    pub(crate) fn join(&mut self) {
        if self.state == State::Out {
            self.grant();
        }
    }

    /// Takes the record out. Returns whether there is something to take out.
    pub(crate) fn leave(&mut self) -> bool {
        let lease = match std::mem::replace(&mut self.state, State::Out) {
            State::Putting(lease) | State::Held { lease, .. } | State::Keeping(lease) | State::Checking(lease) => {
                Some(lease)
            }
            State::Resting { lease, .. } => lease,
            State::Out | State::Granting => None,
        };
        self.command = lease.map(|lease| RegistryCommand::Revoke { lease });
        lease.is_some()
    }

    pub(crate) fn granted(&mut self, lease: LeaseId) {
        match self.state {
            State::Granting => self.put(lease),
            // It was left meanwhile: nobody would give this lease back.
            State::Out => self.command = Some(RegistryCommand::Revoke { lease }),
            _ => {}
        }
    }

    /// Returns whether the record is in the registry now and was not before.
    pub(crate) fn registered(&mut self, now: Instant) -> bool {
        let State::Putting(lease) = self.state else {
            return false;
        };
        self.hold(lease, now);
        true
    }

    pub(crate) fn kept_alive(&mut self, now: Instant) {
        match self.state {
            State::Keeping(lease) => self.hold(lease, now),
            State::Checking(lease) => self.put(lease),
            _ => {}
        }
    }

    pub(crate) fn lease_lost(&mut self) {
        if !matches!(self.state, State::Out | State::Granting) {
            self.grant();
        }
    }

    /// The record is not in the registry, although it should be.
    pub(crate) fn missing(&mut self) {
        match &mut self.state {
            State::Held { lease, .. } | State::Keeping(lease) => {
                let lease = *lease;
                self.put(lease);
            }
            State::Resting { put, .. } => *put = true,
            _ => {}
        }
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        let until = now + self.retry;
        self.state = match self.state {
            State::Granting => State::Resting { lease: None, put: true, until },
            State::Putting(lease) | State::Checking(lease) => State::Resting { lease: Some(lease), put: true, until },
            State::Keeping(lease) => State::Resting { lease: Some(lease), put: false, until },
            state => state,
        };
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Held { lease, keep_at } if now >= keep_at => self.keep_alive(lease),
            State::Resting { lease, put, until } if now >= until => match lease {
                None => self.grant(),
                Some(lease) if put => self.check(lease),
                Some(lease) => self.keep_alive(lease),
            },
            _ => {}
        }
    }

    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Held { keep_at: at, .. } | State::Resting { until: at, .. } => Some(at),
            _ => None,
        }
    }

    pub(crate) const fn poll_command(&mut self) -> Option<RegistryCommand> {
        self.command.take()
    }

    fn hold(&mut self, lease: LeaseId, now: Instant) {
        self.state = State::Held { lease, keep_at: now + self.ttl / 3 };
    }

    fn grant(&mut self) {
        self.state = State::Granting;
        self.command = Some(RegistryCommand::Grant { ttl: self.ttl });
    }

    fn put(&mut self, lease: LeaseId) {
        self.state = State::Putting(lease);
        self.command = Some(RegistryCommand::Put { lease, info: Arc::clone(&self.own) });
    }

    fn check(&mut self, lease: LeaseId) {
        self.state = State::Checking(lease);
        self.command = Some(RegistryCommand::KeepAlive { lease });
    }

    fn keep_alive(&mut self, lease: LeaseId) {
        self.state = State::Keeping(lease);
        self.command = Some(RegistryCommand::KeepAlive { lease });
    }
}
