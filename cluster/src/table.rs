use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::ServerInfo;

/// The servers that are there, at one moment. Readers keep the one they have; a change makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    by_id: BTreeMap<String, Arc<ServerInfo>>,
    by_type: BTreeMap<String, Arc<[Arc<ServerInfo>]>>,
}

impl Servers {
    fn new(by_id: &BTreeMap<String, Arc<ServerInfo>>) -> Self {
        let mut by_type = BTreeMap::<_, Vec<_>>::new();
        for info in by_id.values() {
            by_type.entry(info.server_type.clone()).or_default().push(Arc::clone(info));
        }
        Self { by_id: by_id.clone(), by_type: by_type.into_iter().map(|(name, list)| (name, list.into())).collect() }
    }

    /// The servers of a type, in the order of their ids.
    pub fn of_type(&self, server_type: &str) -> &[Arc<ServerInfo>] {
        self.by_type.get(server_type).map_or(&[], |servers| servers)
    }

    /// The server with this id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<ServerInfo>> {
        self.by_id.get(id)
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ServerInfo>> {
        self.by_id.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// What happened to a server other than the own.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// It came.
    Added(Arc<ServerInfo>),
    /// Its record says something else now.
    Updated(Arc<ServerInfo>),
    /// It went.
    Removed(Arc<ServerInfo>),
}

/// Who is out there, as far as the registry told.
#[derive(Debug)]
pub(crate) struct ServerTable {
    /// Always in the table, and never announced.
    own: Arc<ServerInfo>,
    /// Types that are not looked at.
    excluded: BTreeSet<String>,
    by_id: BTreeMap<String, Arc<ServerInfo>>,
    max: usize,
    snapshot: Arc<Servers>,
}

impl ServerTable {
    pub(crate) fn new(own: Arc<ServerInfo>, excluded: BTreeSet<String>, max: usize) -> Self {
        let by_id = BTreeMap::from([(own.id.clone(), Arc::clone(&own))]);
        let snapshot = Arc::new(Servers::new(&by_id));
        Self { own, excluded, by_id, max, snapshot }
    }

    pub(crate) const fn snapshot(&self) -> &Arc<Servers> {
        &self.snapshot
    }

    pub(crate) fn put(&mut self, info: ServerInfo, changes: &mut impl Extend<Change>) {
        self.change(changes, |table| table.put_one(info).into_iter().collect());
    }

    pub(crate) fn delete(&mut self, server_type: &str, id: &str, changes: &mut impl Extend<Change>) {
        if self.by_id.get(id).is_some_and(|info| info.server_type == server_type) {
            self.change(changes, |table| table.delete_one(id).into_iter().collect());
        }
    }

    /// All that there are: what is not among them is gone.
    pub(crate) fn resync(&mut self, all: Vec<ServerInfo>, changes: &mut impl Extend<Change>) {
        self.change(changes, |table| {
            let listed: BTreeSet<_> = all.iter().map(|info| info.id.clone()).collect();
            let gone: Vec<_> = table.by_id.keys().filter(|id| !listed.contains(*id)).cloned().collect();
            let removed = gone.iter().filter_map(|id| table.delete_one(id)).collect::<Vec<_>>();
            let added: Vec<_> = all.into_iter().filter_map(|info| table.put_one(info)).collect();
            removed.into_iter().chain(added).collect()
        });
    }

    fn change(&mut self, told: &mut impl Extend<Change>, change: impl FnOnce(&mut Self) -> Vec<Change>) {
        let changes = change(self);
        if !changes.is_empty() {
            self.snapshot = Arc::new(Servers::new(&self.by_id));
            told.extend(changes);
        }
    }

    fn put_one(&mut self, info: ServerInfo) -> Option<Change> {
        if info.id == self.own.id {
            return None;
        }
        // It may have had another type before.
        if self.excluded.contains(&info.server_type) {
            return self.delete_one(&info.id);
        }
        let known = self.by_id.get(&info.id);
        if known.is_some_and(|known| **known == info) || (known.is_none() && self.by_id.len() >= self.max) {
            return None;
        }
        let info = Arc::new(info);
        Some(match self.by_id.insert(info.id.clone(), Arc::clone(&info)) {
            Some(_) => Change::Updated(info),
            None => Change::Added(info),
        })
    }

    fn delete_one(&mut self, id: &str) -> Option<Change> {
        if id == self.own.id { None } else { self.by_id.remove(id).map(Change::Removed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ServerTable {
        ServerTable::new(Arc::new(ServerInfo::new("gate", "g1")), BTreeSet::from(["secret".to_owned()]), 4)
    }

    fn ids(table: &ServerTable) -> Vec<String> {
        table.snapshot().iter().map(|info| info.id.clone()).collect()
    }

    #[test]
    fn own_record_is_there_and_never_announced() {
        let (mut table, mut changes) = (table(), Vec::new());
        table.put(ServerInfo::new("gate", "g1"), &mut changes);
        table.delete("gate", "g1", &mut changes);
        table.resync(Vec::new(), &mut changes);
        assert_eq!((ids(&table), changes), (vec!["g1".to_owned()], vec![]));
    }

    #[test]
    fn an_update_is_told_once() {
        let (mut table, mut changes) = (table(), Vec::new());
        let mut info = ServerInfo::new("room", "r1");
        table.put(info.clone(), &mut changes);
        table.put(info.clone(), &mut changes);
        info.metadata.insert("a".to_owned(), "b".to_owned());
        table.put(info.clone(), &mut changes);
        table.put(info.clone(), &mut changes);
        let old = Arc::new(ServerInfo::new("room", "r1"));
        assert_eq!(changes, [Change::Added(old), Change::Updated(Arc::new(info.clone()))]);
        assert_eq!(table.snapshot().of_type("room")[0].metadata, info.metadata);
    }

    #[test]
    fn a_server_that_came_back_as_another_type_outlives_its_old_record() {
        let (mut table, mut changes) = (table(), Vec::new());
        let [old, new] = ["game", "room"].map(|server_type| ServerInfo::new(server_type, "s1"));
        table.resync(vec![old, new.clone()], &mut changes);
        table.delete("game", "s1", &mut changes);
        assert_eq!(table.snapshot().by_id("s1").map(|info| &**info), Some(&new));
        table.delete("room", "s1", &mut changes);
        assert_eq!(ids(&table), ["g1"]);
    }

    #[test]
    fn a_resync_tells_the_difference() {
        let (mut table, mut changes) = (table(), Vec::new());
        table.put(ServerInfo::new("room", "r1"), &mut changes);
        table.put(ServerInfo::new("room", "r2"), &mut changes);
        let before = Arc::clone(table.snapshot());
        changes.clear();
        table.resync(["r2", "r3"].map(|id| ServerInfo::new("room", id)).into(), &mut changes);
        let info = |id| Arc::new(ServerInfo::new("room", id));
        assert_eq!(changes, [Change::Removed(info("r1")), Change::Added(info("r3"))]);
        assert_eq!(ids(&table), ["g1", "r2", "r3"]);
        assert_eq!(before.len(), 3);
        assert!(before.by_id("r1").is_some());
    }

    #[test]
    fn excluded_types_and_too_many_are_left_out() {
        let (mut table, mut changes) = (table(), Vec::new());
        table.put(ServerInfo::new("secret", "s1"), &mut changes);
        for id in ["r1", "r2", "r3", "r4"] {
            table.put(ServerInfo::new("room", id), &mut changes);
        }
        assert_eq!(ids(&table), ["g1", "r1", "r2", "r3"]);
    }
}
