use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cereus_core::{Instant, Route};
use thiserror::Error;

use crate::{IntoBody, PushError, Server};

/// Named sets of users, to broadcast to (specification, section 13.3). They live in the memory of this server.
///
/// A group that was created with a time to live goes away that long after it was created or
/// [renewed](Self::renew_ttl), at the next tick of the app's `groups_tick`.
#[derive(Clone, Copy)]
pub struct Groups<'a> {
    server: &'a Server,
}

impl<'a> Groups<'a> {
    pub(crate) const fn new(server: &'a Server) -> Self {
        Self { server }
    }

    /// Makes a group.
    ///
    /// # Errors
    ///
    /// [`GroupError::AlreadyExists`].
    pub fn create(&self, name: impl Into<Arc<str>>) -> Result<(), GroupError> {
        self.table().insert(name.into(), None, self.server.now())
    }

    /// Makes a group that goes away when it is not renewed.
    ///
    /// # Errors
    ///
    /// [`GroupError::AlreadyExists`].
    pub fn create_with_ttl(&self, name: impl Into<Arc<str>>, ttl: Duration) -> Result<(), GroupError> {
        self.table().insert(name.into(), Some(ttl), self.server.now())
    }

    /// The members, in the order of their uids.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`].
    pub fn members(&self, name: &str) -> Result<Vec<Arc<str>>, GroupError> {
        Ok(self.table().get(name)?.members.iter().cloned().collect())
    }

    /// How many members there are.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`].
    pub fn count(&self, name: &str) -> Result<usize, GroupError> {
        Ok(self.table().get(name)?.members.len())
    }

    /// Whether a user is a member.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`], [`GroupError::EmptyUid`].
    pub fn contains(&self, name: &str, uid: &str) -> Result<bool, GroupError> {
        not_empty(uid)?;
        Ok(self.table().get(name)?.members.contains(uid))
    }

    /// Adds a user.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`], [`GroupError::EmptyUid`], [`GroupError::AlreadyMember`].
    pub fn add(&self, name: &str, uid: impl Into<Arc<str>>) -> Result<(), GroupError> {
        let uid = uid.into();
        not_empty(&uid)?;
        if self.table().get(name)?.members.insert(uid) { Ok(()) } else { Err(GroupError::AlreadyMember) }
    }

    /// Removes a user.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`], [`GroupError::NotMember`].
    pub fn remove(&self, name: &str, uid: &str) -> Result<(), GroupError> {
        if self.table().get(name)?.members.remove(uid) { Ok(()) } else { Err(GroupError::NotMember) }
    }

    /// Removes all users.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`].
    pub fn remove_all(&self, name: &str) -> Result<(), GroupError> {
        self.table().get(name)?.members.clear();
        Ok(())
    }

    /// Removes the group.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`].
    pub fn delete(&self, name: &str) -> Result<(), GroupError> {
        self.table().groups.remove(name).map(|_| ()).ok_or(GroupError::NotFound)
    }

    /// Starts the time to live anew.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`], [`GroupError::NoTtl`].
    pub fn renew_ttl(&self, name: &str) -> Result<(), GroupError> {
        let now = self.server.now();
        let mut table = self.table();
        let (_, renewed) = table.get(name)?.ttl.as_mut().ok_or(GroupError::NoTtl)?;
        *renewed = now;
        Ok(())
    }

    /// Pushes to all members. The push is encoded once for all of them. Returns the members that were not reached:
    /// those without a session on this server, or whose session takes no more.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`], [`GroupError::Push`] when the push itself is at fault.
    pub fn broadcast(
        &self,
        name: &str,
        route: impl Into<Route>,
        body: impl IntoBody,
    ) -> Result<Vec<Arc<str>>, GroupError> {
        let members = self.members(name)?;
        Ok(self.server.push_to_users(&members, route, body)?)
    }

    fn table(&self) -> MutexGuard<'a, GroupTable> {
        // Nothing panics with the lock held.
        self.server.group_table().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets groups go whose time to live is over.
    pub(crate) fn expire(&self) {
        let now = self.server.now();
        self.table().groups.retain(|_, group| group.ttl.is_none_or(|(ttl, renewed)| now - renewed <= ttl));
    }
}

impl fmt::Debug for Groups<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("count", &self.table().groups.len()).finish()
    }
}

#[derive(Default)]
pub(crate) struct GroupTable {
    groups: BTreeMap<Arc<str>, Group>,
}

pub(crate) type SharedGroupTable = Mutex<GroupTable>;

#[derive(Default)]
struct Group {
    members: BTreeSet<Arc<str>>,
    /// The time to live, and when it began.
    ttl: Option<(Duration, Instant)>,
}

impl GroupTable {
    fn insert(&mut self, name: Arc<str>, ttl: Option<Duration>, now: Instant) -> Result<(), GroupError> {
        if self.groups.contains_key(&name) {
            return Err(GroupError::AlreadyExists);
        }
        self.groups.insert(name, Group { ttl: ttl.map(|ttl| (ttl, now)), ..Group::default() });
        Ok(())
    }

    fn get(&mut self, name: &str) -> Result<&mut Group, GroupError> {
        self.groups.get_mut(name).ok_or(GroupError::NotFound)
    }
}

fn not_empty(uid: &str) -> Result<(), GroupError> {
    if uid.is_empty() { Err(GroupError::EmptyUid) } else { Ok(()) }
}

/// Why a group cannot do what was asked. The caller is at fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum GroupError {
    /// There is no such group.
    #[error("group not found")]
    NotFound,
    /// There is such a group.
    #[error("group already exists")]
    AlreadyExists,
    /// A uid has at least one character.
    #[error("empty uid")]
    EmptyUid,
    /// The user is a member already.
    #[error("the user is a member of the group already")]
    AlreadyMember,
    /// The user is no member.
    #[error("the user is no member of the group")]
    NotMember,
    /// The group was created without a time to live.
    #[error("the group has no time to live")]
    NoTtl,
    /// The push itself is at fault.
    #[error(transparent)]
    Push(#[from] PushError),
}
