use std::{sync::Arc, time::Duration};

use cereus_core::Instant;

use crate::{LeaseId, RegistryCommand, ServerInfo};

/// Keeps the own record in the registry: grant a lease, put the record with it, keep it alive; when it is lost, again
/// from the start (specification, section 11.3).
///
/// One command runs at a time: each answer is the one to the last command, and what is to be revoked is not put in by
/// one that was overtaken.
#[derive(Debug)]
pub(crate) struct Registration {
    own: Arc<ServerInfo>,
    ttl: Duration,
    retry: Duration,
    state: State,
    /// Whether the record is to be in the registry, at last.
    wanted: bool,
    /// It is on its way out, whatever comes then.
    leaving: bool,
    /// It is not there, although there may be a lease.
    missing: bool,
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
    /// Something failed: try it again then, from the start if there is no lease.
    Resting {
        lease: Option<LeaseId>,
        until: Instant,
    },
    Revoking,
}

impl Registration {
    pub(crate) const fn new(own: Arc<ServerInfo>, ttl: Duration, retry: Duration) -> Self {
        let state = State::Out;
        Self { own, ttl, retry, state, wanted: false, leaving: false, missing: false, command: None }
    }

    pub(crate) const fn is_held(&self) -> bool {
        let has_lease =
            matches!(self.state, State::Held { .. } | State::Keeping(_) | State::Resting { lease: Some(_), .. });
        has_lease && !self.missing && !self.leaving
    }

    pub(crate) fn is_own(&self, server_type: &str, id: &str) -> bool {
        self.own.id == id && self.own.server_type == server_type
    }

    pub(crate) fn join(&mut self) {
        self.wanted = true;
        if self.state == State::Out {
            self.grant();
        }
    }

    /// Takes the record out, as soon as the command that runs is answered. Returns whether it is out already.
    pub(crate) fn leave(&mut self) -> bool {
        self.wanted = false;
        if self.leaving {
            return false;
        }
        self.leaving = true;
        let is_running = self.command.take().is_none();
        match self.state {
            State::Granting | State::Putting(_) | State::Keeping(_) if is_running => {}
            State::Putting(lease) | State::Keeping(lease) => self.revoke(lease),
            State::Held { lease, .. } | State::Resting { lease: Some(lease), .. } => self.revoke(lease),
            State::Out | State::Granting | State::Resting { lease: None, .. } | State::Revoking => return self.out(),
        }
        false
    }

    pub(crate) fn granted(&mut self, lease: LeaseId) {
        if self.state == State::Granting {
            // Nobody else would give it back.
            if self.leaving { self.revoke(lease) } else { self.put(lease) }
        }
    }

    /// Returns whether the record is in the registry now and was not before.
    pub(crate) fn registered(&mut self, now: Instant) -> bool {
        if let State::Putting(lease) = self.state {
            self.go_on(lease, now);
            return matches!(self.state, State::Held { .. });
        }
        false
    }

    pub(crate) fn kept_alive(&mut self, now: Instant) {
        if let State::Keeping(lease) = self.state {
            self.go_on(lease, now);
        }
    }

    /// The lease is there.
    fn go_on(&mut self, lease: LeaseId, now: Instant) {
        if self.leaving {
            self.revoke(lease);
        } else if self.missing {
            self.put(lease);
        } else {
            self.state = State::Held { lease, keep_at: now + self.ttl / 3 };
        }
    }

    /// Returns whether the record is out, as was asked.
    pub(crate) fn lease_lost(&mut self) -> bool {
        if !matches!(self.state, State::Held { .. } | State::Keeping(_) | State::Resting { .. }) {
            return false;
        }
        if self.leaving {
            return self.out();
        }
        self.grant();
        false
    }

    /// Returns whether the record is out, as was asked.
    pub(crate) fn revoked(&mut self) -> bool {
        self.state == State::Revoking && self.out()
    }

    /// The record is not in the registry, although it should be.
    pub(crate) fn missing(&mut self) {
        self.missing = true;
        if let State::Held { lease, .. } = self.state {
            self.keep_alive(lease);
        }
    }

    /// Returns whether the record is out, as was asked.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        let lease = match self.state {
            State::Granting => None,
            State::Putting(lease) => {
                self.missing = true;
                Some(lease)
            }
            State::Keeping(lease) => Some(lease),
            // The lease ends by itself.
            State::Revoking => return self.out(),
            State::Out | State::Held { .. } | State::Resting { .. } => return false,
        };
        match lease {
            None if self.leaving => return self.out(),
            Some(lease) if self.leaving => self.revoke(lease),
            lease => self.state = State::Resting { lease, until: now + self.retry },
        }
        false
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Held { lease, keep_at } if now >= keep_at => self.keep_alive(lease),
            State::Resting { lease, until } if now >= until => match lease {
                // Whether it is still there is asked before anything is put in with it.
                Some(lease) => self.keep_alive(lease),
                None => self.grant(),
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

    fn grant(&mut self) {
        self.state = State::Granting;
        self.command = Some(RegistryCommand::Grant { ttl: self.ttl });
    }

    fn put(&mut self, lease: LeaseId) {
        self.state = State::Putting(lease);
        self.missing = false;
        self.command = Some(RegistryCommand::Put { lease, info: Arc::clone(&self.own) });
    }

    fn keep_alive(&mut self, lease: LeaseId) {
        self.state = State::Keeping(lease);
        self.command = Some(RegistryCommand::KeepAlive { lease });
    }

    fn revoke(&mut self, lease: LeaseId) {
        self.state = State::Revoking;
        self.command = Some(RegistryCommand::Revoke { lease });
    }

    /// The record is out; or else it is to come in again.
    fn out(&mut self) -> bool {
        self.state = State::Out;
        self.leaving = false;
        self.missing = false;
        if self.wanted {
            self.grant();
        }
        true
    }
}
