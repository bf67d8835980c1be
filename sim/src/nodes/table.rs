//! What the table of one node has to be.

use std::collections::{BTreeMap, BTreeSet};

use cereus_cluster::{Change, ClusterNode, RegistryEvent, ServerInfo};

#[derive(Debug)]
pub(super) struct Table {
    own: ServerInfo,
    excluded: BTreeSet<String>,
    /// What the registry told.
    heard: BTreeMap<String, ServerInfo>,
    /// What the node told.
    told: BTreeMap<String, ServerInfo>,
    /// How often all records have come that the node has not said a word about.
    syncs: usize,
    changed: bool,
}

impl Table {
    pub(super) const fn new(own: ServerInfo, excluded: BTreeSet<String>) -> Self {
        Self { own, excluded, heard: BTreeMap::new(), told: BTreeMap::new(), syncs: 0, changed: true }
    }

    pub(super) fn hears(&mut self, event: &RegistryEvent) {
        match event {
            RegistryEvent::Put(info) => self.put(info),
            RegistryEvent::Delete { server_type, id } => {
                self.heard.retain(|known, info| known != id || info.server_type != *server_type);
            }
            RegistryEvent::Resync(all) => {
                self.heard.clear();
                all.iter().for_each(|info| self.put(info));
                self.syncs += 1;
            }
            _ => return,
        }
        self.changed = true;
    }

    fn put(&mut self, info: &ServerInfo) {
        if info.id == self.own.id {
            return;
        }
        if self.excluded.contains(&info.server_type) {
            self.heard.remove(&info.id);
        } else {
            self.heard.insert(info.id.clone(), info.clone());
        }
    }

    pub(super) fn told(&mut self, change: &Change) {
        self.changed = true;
        match change {
            Change::Added(info) => {
                let before = self.told.insert(info.id.clone(), (**info).clone());
                assert_eq!(before, None, "{} came twice", info.id);
            }
            Change::Updated(info) => {
                let before = self.told.insert(info.id.clone(), (**info).clone());
                assert!(before.is_some(), "{} changed and was not there", info.id);
                assert_ne!(before.as_ref(), Some(&**info), "{} changed to what it was", info.id);
            }
            Change::Removed(info) => {
                let before = self.told.remove(&info.id);
                assert_eq!(before.as_ref(), Some(&**info), "{} went and was not there", info.id);
            }
            other => panic!("a change that nobody knows: {other:?}"),
        }
    }

    pub(super) fn synced(&mut self) {
        self.syncs = self.syncs.checked_sub(1).expect("synced without having heard anything");
    }

    /// What holds whenever the node was drained.
    pub(super) fn check(&mut self, node: &ClusterNode) {
        assert_eq!(self.syncs, 0, "all records came, and the node does not say so");
        if !std::mem::replace(&mut self.changed, false) {
            return;
        }
        assert_eq!(self.told, self.heard, "what was told is not what happened");
        assert!(!self.told.contains_key(&self.own.id), "the own record was told");
        let servers = node.servers();
        let all = self.heard.values().chain([&self.own]);
        assert_eq!(servers.len(), self.heard.len() + 1, "{servers:?}");
        for info in all {
            assert_eq!(servers.by_id(&info.id).map(|known| &**known), Some(info));
            assert!(servers.of_type(&info.server_type).iter().any(|known| **known == *info));
        }
        let types: BTreeSet<_> = servers.iter().map(|info| &info.server_type).collect();
        let listed: usize = types.into_iter().map(|name| servers.of_type(name).len()).sum();
        assert_eq!(listed, servers.len(), "the lists by type have others than the table");
    }
}
