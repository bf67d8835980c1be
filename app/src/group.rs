use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cereus_cluster::{GroupError, GroupStorage};
use cereus_core::{Instant, Route};

use crate::{Error, IntoBody, Server, hook::BoxFuture};

/// Named sets of users, to push to (specification, section 13.3). They live in the memory of this server, or in the storage
/// that [`App::groups`](crate::App::groups) was given.
///
/// A group that was created with a time to live goes away that long after it was created or
/// [renewed](Self::renew_ttl); in memory, at the next tick of the app's `groups_tick`.
#[derive(Clone, Copy)]
pub struct Groups<'a> {
    server: &'a Server,
}

/// Does something in memory or in the storage.
macro_rules! dispatch {
    ($self:ident, $memory:expr, $storage:expr) => {
        match $self.server.group_store() {
            GroupStore::Memory(table) => $memory(&mut *lock(table)),
            GroupStore::Shared(storage) => $storage(Arc::clone(storage)).await,
        }
    };
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
    pub async fn create(&self, name: &str) -> Result<(), GroupError> {
        self.insert(name, None).await
    }

    /// Makes a group that goes away when it is not renewed.
    ///
    /// # Errors
    ///
    /// [`GroupError::AlreadyExists`].
    pub async fn create_with_ttl(&self, name: &str, ttl: Duration) -> Result<(), GroupError> {
        self.insert(name, Some(ttl)).await
    }

    async fn insert(&self, name: &str, ttl: Option<Duration>) -> Result<(), GroupError> {
        let now = self.server.now();
        dispatch!(self, |table: &mut GroupTable| table.insert(name, ttl, now), |storage: Arc<dyn DynGroups>| {
            storage.create(name.into(), ttl)
        })
    }

    /// The members, in the order of their uids.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`].
    pub async fn members(&self, name: &str) -> Result<Vec<Arc<str>>, GroupError> {
        Ok(match self.shared_members(name).await? {
            Members::Memory(members) => members.iter().cloned().collect(),
            Members::Shared(members) => members,
        })
    }

    /// The members, without a copy where they are in memory.
    pub(crate) async fn shared_members(&self, name: &str) -> Result<Members, GroupError> {
        dispatch!(
            self,
            |table: &mut GroupTable| Ok(Members::Memory(Arc::clone(&table.get(name)?.members))),
            |storage: Arc<dyn DynGroups>| async move { Ok(Members::Shared(storage.members(name.into()).await?)) }
        )
    }

    /// How many members there are.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`].
    pub async fn count(&self, name: &str) -> Result<usize, GroupError> {
        dispatch!(self, |table: &mut GroupTable| Ok(table.get(name)?.members.len()), |storage: Arc<dyn DynGroups>| {
            storage.count(name.into())
        })
    }

    /// Whether a user is a member.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`], [`GroupError::EmptyUid`].
    pub async fn contains(&self, name: &str, uid: &str) -> Result<bool, GroupError> {
        not_empty(uid)?;
        dispatch!(self, |table: &mut GroupTable| Ok(table.get(name)?.members.contains(uid)), |storage: Arc<
            dyn DynGroups,
        >| storage
            .contains(name.into(), uid.into()))
    }

    /// Adds a user.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`], [`GroupError::EmptyUid`], [`GroupError::AlreadyMember`].
    pub async fn add(&self, name: &str, uid: impl Into<Arc<str>>) -> Result<(), GroupError> {
        let uid = uid.into();
        not_empty(&uid)?;
        dispatch!(
            self,
            |table: &mut GroupTable| done(table.members(name)?.insert(uid), GroupError::AlreadyMember),
            |storage: Arc<dyn DynGroups>| storage.add(name.into(), uid)
        )
    }

    /// Removes a user.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`], [`GroupError::NotMember`].
    pub async fn remove(&self, name: &str, uid: &str) -> Result<(), GroupError> {
        dispatch!(
            self,
            |table: &mut GroupTable| done(table.members(name)?.remove(uid), GroupError::NotMember),
            |storage: Arc<dyn DynGroups>| storage.remove(name.into(), uid.into())
        )
    }

    /// Removes all users.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`].
    pub async fn remove_all(&self, name: &str) -> Result<(), GroupError> {
        dispatch!(self, |table: &mut GroupTable| table.members(name).map(BTreeSet::clear), |storage: Arc<
            dyn DynGroups,
        >| storage
            .remove_all(name.into()))
    }

    /// Removes the group.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`].
    pub async fn delete(&self, name: &str) -> Result<(), GroupError> {
        dispatch!(
            self,
            |table: &mut GroupTable| done(table.groups.remove(name).is_some(), GroupError::NotFound),
            |storage: Arc<dyn DynGroups>| storage.delete(name.into())
        )
    }

    /// Starts the time to live anew.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`], [`GroupError::NoTtl`].
    pub async fn renew_ttl(&self, name: &str) -> Result<(), GroupError> {
        let now = self.server.now();
        dispatch!(self, |table: &mut GroupTable| table.renew(name, now), |storage: Arc<dyn DynGroups>| {
            storage.renew_ttl(name.into())
        })
    }

    /// Pushes to all members that are bound on servers of this server's type. The push is encoded once. Returns the members
    /// that were not reached. A backend names the type of the frontends: [`Users::push_to_group`](crate::Users::push_to_group).
    ///
    /// # Errors
    ///
    /// There is no such group, or the push itself is at fault.
    pub async fn broadcast(
        &self,
        name: &str,
        route: impl Into<Route>,
        body: impl IntoBody,
    ) -> Result<Vec<Arc<str>>, Error> {
        self.server.users(self.server.server_type()).push_to_group(name, route, body).await
    }
}

impl fmt::Debug for Groups<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("store", self.server.group_store()).finish()
    }
}

/// The members of a group.
pub(crate) enum Members {
    Memory(Arc<BTreeSet<Arc<str>>>),
    Shared(Vec<Arc<str>>),
}

/// Where groups are.
pub(crate) enum GroupStore {
    Memory(Mutex<GroupTable>),
    Shared(Arc<dyn DynGroups>),
}

impl GroupStore {
    pub(crate) fn shared(storage: impl GroupStorage) -> Self {
        Self::Shared(Arc::new(storage))
    }

    /// Lets groups go whose time to live is over. A storage does it by itself.
    pub(crate) fn expire(&self, now: Instant) {
        if let Self::Memory(table) = self {
            lock(table).groups.retain(|_, group| group.ttl.is_none_or(|(ttl, renewed)| now - renewed <= ttl));
        }
    }
}

impl Default for GroupStore {
    fn default() -> Self {
        Self::Memory(Mutex::default())
    }
}

impl fmt::Debug for GroupStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(table) => write!(f, "Memory({} groups)", lock(table).groups.len()),
            Self::Shared(storage) => storage.fmt(f),
        }
    }
}

#[derive(Default)]
pub(crate) struct GroupTable {
    groups: BTreeMap<Arc<str>, Group>,
}

#[derive(Default)]
struct Group {
    /// Shared with the broadcasts that are under way.
    members: Arc<BTreeSet<Arc<str>>>,
    /// The time to live, and when it began.
    ttl: Option<(Duration, Instant)>,
}

impl GroupTable {
    fn insert(&mut self, name: &str, ttl: Option<Duration>, now: Instant) -> Result<(), GroupError> {
        if self.groups.contains_key(name) {
            return Err(GroupError::AlreadyExists);
        }
        self.groups.insert(name.into(), Group { ttl: ttl.map(|ttl| (ttl, now)), ..Group::default() });
        Ok(())
    }

    fn get(&mut self, name: &str) -> Result<&mut Group, GroupError> {
        self.groups.get_mut(name).ok_or(GroupError::NotFound)
    }

    /// The members, to be changed: broadcasts that are under way go on with those of before.
    fn members(&mut self, name: &str) -> Result<&mut BTreeSet<Arc<str>>, GroupError> {
        self.get(name).map(|group| Arc::make_mut(&mut group.members))
    }

    fn renew(&mut self, name: &str, now: Instant) -> Result<(), GroupError> {
        let (_, renewed) = self.get(name)?.ttl.as_mut().ok_or(GroupError::NoTtl)?;
        *renewed = now;
        Ok(())
    }
}

fn not_empty(uid: &str) -> Result<(), GroupError> {
    done(!uid.is_empty(), GroupError::EmptyUid)
}

fn done(done: bool, or: GroupError) -> Result<(), GroupError> {
    if done { Ok(()) } else { Err(or) }
}

fn lock(table: &Mutex<GroupTable>) -> MutexGuard<'_, GroupTable> {
    // Nothing panics with the lock held.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

type Answer<T> = BoxFuture<Result<T, GroupError>>;

/// [`GroupStorage`] as an object.
pub(crate) trait DynGroups: fmt::Debug + Send + Sync {
    fn create(self: Arc<Self>, name: Arc<str>, ttl: Option<Duration>) -> Answer<()>;
    fn members(self: Arc<Self>, name: Arc<str>) -> Answer<Vec<Arc<str>>>;
    fn count(self: Arc<Self>, name: Arc<str>) -> Answer<usize>;
    fn contains(self: Arc<Self>, name: Arc<str>, uid: Arc<str>) -> Answer<bool>;
    fn add(self: Arc<Self>, name: Arc<str>, uid: Arc<str>) -> Answer<()>;
    fn remove(self: Arc<Self>, name: Arc<str>, uid: Arc<str>) -> Answer<()>;
    fn remove_all(self: Arc<Self>, name: Arc<str>) -> Answer<()>;
    fn delete(self: Arc<Self>, name: Arc<str>) -> Answer<()>;
    fn renew_ttl(self: Arc<Self>, name: Arc<str>) -> Answer<()>;
}

impl<G: GroupStorage> DynGroups for G {
    fn create(self: Arc<Self>, name: Arc<str>, ttl: Option<Duration>) -> Answer<()> {
        Box::pin(async move { GroupStorage::create(&*self, &name, ttl).await })
    }

    fn members(self: Arc<Self>, name: Arc<str>) -> Answer<Vec<Arc<str>>> {
        Box::pin(async move { GroupStorage::members(&*self, &name).await })
    }

    fn count(self: Arc<Self>, name: Arc<str>) -> Answer<usize> {
        Box::pin(async move { GroupStorage::count(&*self, &name).await })
    }

    fn contains(self: Arc<Self>, name: Arc<str>, uid: Arc<str>) -> Answer<bool> {
        Box::pin(async move { GroupStorage::contains(&*self, &name, &uid).await })
    }

    fn add(self: Arc<Self>, name: Arc<str>, uid: Arc<str>) -> Answer<()> {
        Box::pin(async move { GroupStorage::add(&*self, &name, &uid).await })
    }

    fn remove(self: Arc<Self>, name: Arc<str>, uid: Arc<str>) -> Answer<()> {
        Box::pin(async move { GroupStorage::remove(&*self, &name, &uid).await })
    }

    fn remove_all(self: Arc<Self>, name: Arc<str>) -> Answer<()> {
        Box::pin(async move { GroupStorage::remove_all(&*self, &name).await })
    }

    fn delete(self: Arc<Self>, name: Arc<str>) -> Answer<()> {
        Box::pin(async move { GroupStorage::delete(&*self, &name).await })
    }

    fn renew_ttl(self: Arc<Self>, name: Arc<str>) -> Answer<()> {
        Box::pin(async move { GroupStorage::renew_ttl(&*self, &name).await })
    }
}
