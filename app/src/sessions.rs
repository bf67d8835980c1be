use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use cereus_core::session::SessionId;
use hashbrown::HashMap;

use crate::{Server, Session, session::SessionClosed};

/// Sixteen locks are enough that two cores seldom meet at one.
const SHARDS: usize = 16;

/// All sessions of a server, found by id and by uid.
pub struct Sessions {
    by_id: [Mutex<HashMap<SessionId, Session>>; SHARDS],
    by_uid: [Mutex<HashMap<Arc<str>, Session>>; SHARDS],
    last_id: AtomicI64,
    count: AtomicUsize,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self {
            by_id: Default::default(),
            by_uid: Default::default(),
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
        self.uid_shard(uid).get(uid).cloned()
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
        let mut shard = self.uid_shard(&uid);
        // Its end marks it first and then takes this lock.
        if session.is_closed() {
            return Err(SessionClosed);
        }
        if !replace && shard.contains_key(&uid) {
            return Ok(None);
        }
        Ok(Some(shard.insert(uid, session.clone()).filter(|older| older != session)))
    }

    pub(crate) fn remove_uid(&self, uid: &str, session: &Session) {
        let mut shard = self.uid_shard(uid);
        if shard.get(uid).is_some_and(|found| found == session) {
            shard.remove(uid);
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

    fn id_shard(&self, id: SessionId) -> MutexGuard<'_, HashMap<SessionId, Session>> {
        lock(&self.by_id[id.get() as usize % SHARDS])
    }

    fn uid_shard(&self, uid: &str) -> MutexGuard<'_, HashMap<Arc<str>, Session>> {
        let sum = uid.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        lock(&self.by_uid[sum % SHARDS])
    }
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
