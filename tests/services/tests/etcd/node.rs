//! A node and etcd, under smol: there is no tokio anywhere near.

use cereus_cluster::{BindingStorage, ClusterEvent, ClusterNode, GroupStorage, KeptAlive, NodeConfig, RegistryCommand};
use smol::{Timer, channel, future};

use super::*;

/// What drives a node: no more than the driver in an app does, without the bus.
struct Driver {
    node: ClusterNode,
    etcd: Etcd,
    start: Instant,
    events: (channel::Sender<RegistryEvent>, channel::Receiver<RegistryEvent>),
}

impl Driver {
    fn new(etcd: &Etcd, own: ServerInfo) -> Self {
        let mut config = NodeConfig::default();
        config.registry_retry = RETRY;
        let node = ClusterNode::new(Arc::new(own), config);
        Self { node, etcd: etcd.clone(), start: Instant::now(), events: channel::unbounded() }
    }

    fn now(&self) -> cereus_core::Instant {
        cereus_core::Instant::from_epoch(self.start.elapsed())
    }

    /// Runs until something happens that is waited for.
    async fn until(&mut self, is_it: impl Fn(&ClusterEvent) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(event) = self.node.poll_event() {
                if is_it(&event) {
                    return;
                }
            }
            while let Some(command) = self.node.poll_registry() {
                smol::spawn(execute(self.etcd.clone(), command, self.events.0.clone())).detach();
            }
            assert!(Instant::now() < deadline, "in time");
            let wake = self.node.poll_timeout().map_or(deadline, |at| self.start + at.since_epoch());
            let timer = async {
                Timer::at(wake.min(deadline)).await;
                None
            };
            match future::or(async { self.events.1.recv().await.ok() }, timer).await {
                Some(event) => self.node.handle_registry(event, self.now()),
                None => self.node.handle_timeout(self.now()),
            }
        }
    }
}

async fn execute(etcd: Etcd, command: RegistryCommand, events: channel::Sender<RegistryEvent>) {
    let event = match command {
        RegistryCommand::Grant { ttl } => etcd.grant(ttl).await.map(RegistryEvent::Granted),
        RegistryCommand::Put { lease, info } => etcd.put(info, lease).await.map(|()| RegistryEvent::Registered),
        RegistryCommand::Revoke { lease } => etcd.revoke(lease).await.map(|()| RegistryEvent::Revoked),
        RegistryCommand::KeepAlive { lease } => etcd.keep_alive(lease).await.map(|kept| match kept {
            KeptAlive::Yes => RegistryEvent::KeptAlive,
            KeptAlive::Lost => RegistryEvent::LeaseLost,
        }),
        RegistryCommand::Watch => {
            let (changes, mut receiver) = Changes::new();
            let forward = async {
                while let Some(event) = poll_fn(|cx| receiver.poll_recv(cx)).await {
                    let _ = events.send(event).await;
                }
                future::pending().await
            };
            Ok(RegistryEvent::WatchLost(future::or(forward, etcd.watch(changes)).await))
        }
        _ => panic!("a command that is not known"),
    };
    let _ = events.send(event.unwrap_or_else(RegistryEvent::Failed)).await;
}

/// Does something with etcd that the node does not know of.
fn meddle<T, F: Future<Output = T>>(service: &Server, meddle: impl FnOnce(Client) -> F) -> T {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async { meddle(raw(service).await).await })
}

/// The lease of the record of `r1`.
fn lease(service: &Server) -> Option<LeaseId> {
    meddle(service, |mut raw| async move { Some(read(&mut raw, "pitaya/servers/room/r1").await?.1) })
}

/// A node that is in etcd.
async fn joined(service: &Server) -> Driver {
    let mut driver = Driver::new(&Etcd::new([service.url()]), server("room", "r1"));
    driver.node.watch();
    driver.node.join();
    driver.until(|event| *event == ClusterEvent::Registered).await;
    driver
}

#[test]
fn a_node_joins_sees_others_and_leaves() {
    let mut service = Server::start();
    smol::block_on(async {
        let mut driver = joined(&service).await;
        let other = Etcd::new([service.url()]);
        let gate = register(&other, server("gate", "g1")).await;
        driver.until(|event| matches!(event, ClusterEvent::Server(_))).await;
        assert_eq!(driver.node.servers().of_type("gate").len(), 1);

        // The other leaves while etcd is away for this one.
        service.kill();
        driver.until(|event| matches!(event, ClusterEvent::RegistryFailed(_))).await;
        service.restart();
        other.revoke(gate).await.unwrap();
        driver.until(|event| *event == ClusterEvent::Synced).await;
        assert_eq!(driver.node.servers().of_type("gate").len(), 0);
        assert!(driver.node.is_registered());

        driver.node.leave();
        driver.until(|event| *event == ClusterEvent::Left).await;
        assert_eq!(lease(&service), None);
        assert_eq!(meddle(&service, |mut raw| async move { raw.leases().await.unwrap().leases().len() }), 0);
    });
}

#[test]
fn a_record_that_somebody_took_out_comes_back() {
    let service = Server::start();
    smol::block_on(async {
        let mut driver = joined(&service).await;
        let before = lease(&service);
        meddle(&service, |mut raw| async move { raw.delete("pitaya/servers/room/r1", None).await.map(drop) }).unwrap();
        driver.until(|event| *event == ClusterEvent::Registered).await;
        assert_eq!(lease(&service), before);
    });
}

#[test]
fn a_lease_that_is_lost_is_granted_anew() {
    let mut service = Server::start();
    smol::block_on(async {
        let mut driver = joined(&service).await;
        for is_away in [false, true] {
            let before = lease(&service).unwrap();
            meddle(&service, |mut raw| async move { raw.lease_revoke(before.get()).await.map(drop) }).unwrap();
            if is_away {
                service.restart();
            }
            driver.until(|event| *event == ClusterEvent::Registered).await;
            assert_ne!(lease(&service).unwrap(), before);
        }
    });
}

#[test]
fn everything_works_without_tokio() {
    let service = Server::start();
    smol::block_on(async {
        let etcd = Etcd::new([service.url()]);
        let (bindings, groups) = (etcd.bindings(), etcd.groups());
        let lease = register(&etcd, server("room", "r1")).await;
        assert_eq!(etcd.keep_alive(lease).await, Ok(KeptAlive::Yes));
        bindings.put("gate", &["u1".into()], "g1", lease).await.unwrap();
        assert_eq!(bindings.get("gate", "u1").await, Ok(Some("g1".to_owned())));
        groups.create("g", Some(TTL)).await.unwrap();
        groups.add("g", "u1").await.unwrap();
        assert_eq!(groups.count("g").await, Ok(1));
        etcd.revoke(lease).await.unwrap();
        assert_eq!(bindings.get("gate", "u1").await, Ok(None));
        // The last of them takes the thread with it.
        drop((etcd, bindings, groups));
    });
}
