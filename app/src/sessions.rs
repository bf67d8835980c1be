use std::{
    fmt,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    hint::black_box,
    net::SocketAddr,
    sync::{Arc, PoisonError},
};

use cereus_core::session::SessionId;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable, hash_table::Entry};

use crate::{
    Server, Session,
    session::SessionClosed,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

/// Sixteen locks are enough that two cores seldom meet at one.
const SHARDS: usize = 16;

/// Ids are our own, so the hash needs no secret; without one a broadcast meets the sessions in the same order in every run.
type ById = HashMap<SessionId, Session, BuildHasherDefault<DefaultHasher>>;

type ByUid = HashTable<(Arc<str>, Session)>;

/// All sessions of a server, found by id and by uid.
pub struct Sessions {
    by_id: [Mutex<ById>; SHARDS],
    by_uid: [Mutex<ByUid>; SHARDS],
    hasher: DefaultHashBuilder,
    last_id: AtomicI64,
    count: AtomicUsize,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self {
            by_id: Default::default(),
            by_uid: Default::default(),
            hasher: DefaultHashBuilder::default(),
            last_id: AtomicI64::new(0),
            count: AtomicUsize::new(0),
        }
    }

    /// How many there are: one for each open connection.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// The session with this id.
    pub fn by_id(&self, id: SessionId) -> Option<Session> {
        self.id_shard(id).get(&id).cloned()
    }

    /// The session that is bound to this user.
    pub fn by_uid(&self, uid: &str) -> Option<Session> {
        let hash = self.hash(uid);
        self.uid_shard(hash).find(hash, |(known, _)| **known == *uid).map(|(_, session)| session.clone())
    }

    /// The sessions of users, each in the place of its uid.
    ///
    /// With thousands of sessions none is in the cache, and each lock makes the processor wait for all that it has asked for. So
    /// the locks are taken once, and what is to be touched is asked for together.
    pub(crate) fn by_uids(&self, uids: &[impl AsRef<str>]) -> Vec<Option<Session>> {
        let hashes: Vec<_> = uids.iter().map(|uid| self.hash(uid.as_ref())).collect();
        // In this order always: nobody else holds more than one.
        let shards = self.by_uid.each_ref().map(lock);
        for &hash in &hashes {
            // Whose uid it is, is asked afterwards.
            black_box(shards[shard_of(hash)].find(hash, |_| true).map(|(known, _)| known.len()));
        }
        let find = |(uid, &hash): (_, &u64)| {
            let is_known = |(known, _): &(Arc<str>, Session)| **known == *AsRef::<str>::as_ref(uid);
            shards[shard_of(hash)].find(hash, is_known).map(|(_, session)| session)
        };
        let found: Vec<_> = uids.iter().zip(&hashes).map(find).collect();
        found.iter().flatten().for_each(|session| session.prefetch());
        found.into_iter().map(Option::<&Session>::cloned).collect()
    }

    /// Calls something for each session. A session that comes or goes meanwhile may be missed.
    pub fn for_each(&self, mut visit: impl FnMut(&Session)) {
        for shard in &self.by_id {
            // Not called with the lock held: what is visited may come back here.
            let sessions: Vec<_> = lock(shard).values().cloned().collect();
            sessions.iter().for_each(&mut visit);
        }
    }

    /// An id that no other session of this process has, here or on a frontend.
    pub(crate) fn next_id(&self) -> SessionId {
        SessionId::new(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn create(&self, peer: SocketAddr, server: Server) -> Session {
        let id = self.next_id();
        let session = Session::new(id, peer, server);
        self.id_shard(id).insert(id, session.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        session
    }

    /// Lets the session be found by a uid, and returns the session that had it before. `None`: there is one, and it was
    /// not to be replaced.
    pub(crate) fn insert_uid(
        &self,
        uid: Arc<str>,
        session: &Session,
        replace: bool,
    ) -> Result<Option<Option<Session>>, SessionClosed> {
        let hash = self.hash(&uid);
        let mut shard = self.uid_shard(hash);
        // Its end marks it first and then takes this lock.
        if session.is_closed() {
            return Err(SessionClosed);
        }
        match shard.entry(hash, |(known, _)| *known == uid, |(known, _)| self.hash(known)) {
            Entry::Occupied(_) if !replace => Ok(None),
            Entry::Occupied(mut entry) => {
                let older = std::mem::replace(&mut entry.get_mut().1, session.clone());
                Ok(Some(Some(older).filter(|older| older != session)))
            }
            Entry::Vacant(entry) => {
                entry.insert((uid, session.clone()));
                Ok(Some(None))
            }
        }
    }

    pub(crate) fn remove_uid(&self, uid: &str, session: &Session) {
        let hash = self.hash(uid);
        let found = |(known, found): &(Arc<str>, Session)| **known == *uid && found == session;
        if let Ok(entry) = self.uid_shard(hash).find_entry(hash, found) {
            entry.remove();
        }
    }

    /// Takes a session out that ended. It marks it closed.
    pub(crate) fn remove(&self, session: &Session) {
        session.set_closed();
        if self.id_shard(session.id()).remove(&session.id()).is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
            session.server().session_ended();
        }
        session.uids().for_each(|uid| self.remove_uid(&uid, session));
    }

    fn id_shard(&self, id: SessionId) -> MutexGuard<'_, ById> {
        lock(&self.by_id[id.get() as usize % SHARDS])
    }

    fn hash(&self, uid: &str) -> u64 {
        self.hasher.hash_one(uid)
    }

    fn uid_shard(&self, hash: u64) -> MutexGuard<'_, ByUid> {
        lock(&self.by_uid[shard_of(hash)])
    }
}

const fn shard_of(hash: u64) -> usize {
    // The table itself goes by the lowest and the highest bits.
    (hash >> 32) as usize % SHARDS
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics with one of these locks held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("count", &self.count()).finish_non_exhaustive()
    }
}
