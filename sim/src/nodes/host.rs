use std::sync::Arc;

use cereus_cluster::{ClusterEvent, ClusterNode, NodeConfig, ServerInfo};
use cereus_core::Instant;

use super::{calls::Calls, record::Record, table::Table};
use crate::Timed;

/// A node, what its driver knows, and the model of it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) info: Arc<ServerInfo>,
    pub(super) node: ClusterNode,
    pub(super) is_running: bool,
    pub(super) link: bool,
    /// The bus takes nothing from it.
    pub(super) full: bool,
    pub(super) calls: Calls,
    pub(super) table: Table,
    pub(super) record: Record,
    pub(super) events: Vec<Timed<ClusterEvent>>,
}

impl Host {
    pub(super) fn new(info: Arc<ServerInfo>, config: &NodeConfig) -> Self {
        Self {
            node: ClusterNode::new(Arc::clone(&info), config.clone()),
            is_running: true,
            link: false,
            full: false,
            calls: Calls::new(config.max_queued_bytes),
            table: Table::new((*info).clone(), config.excluded_types.clone()),
            record: Record::new(config.registry_retry),
            events: Vec::new(),
            info,
        }
    }

    pub(super) const fn crash(&mut self) {
        self.is_running = false;
        self.link = false;
    }

    /// What holds whenever the node was drained.
    pub(super) fn check(&mut self, now: Instant) {
        self.calls.check(&self.node, self.link, now);
        self.table.check(&self.node);
        self.record.check(&self.node);
        assert_eq!(self.node.is_connected(), self.link);
    }
}
