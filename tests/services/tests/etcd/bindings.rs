use cereus_cluster::{BindingStorage, KeptAlive};

use super::*;

fn uids(uids: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Vec<Arc<str>> {
    uids.into_iter().map(Into::into).collect()
}

#[tokio::test]
async fn bindings_are_those_of_pitaya_and_go_with_their_lease() {
    let service = Server::start();
    let bindings = Etcd::new([service.url()]).bindings();
    let lease = bindings.grant(TTL).await.unwrap();
    bindings.put("gate", &uids(["u1", "a/b", "u1"]), "g1", lease).await.unwrap();
    let mut raw = raw(&service).await;
    assert_eq!(read(&mut raw, "pitaya/bindings/gate/u1").await, Some(("g1".to_owned(), lease)));
    assert_eq!(read(&mut raw, "pitaya/bindings/gate/a/b").await, Some(("g1".to_owned(), lease)));

    assert_eq!(bindings.get("gate", "u1").await, Ok(Some("g1".to_owned())));
    assert_eq!(bindings.get("gate", "a/b").await, Ok(Some("g1".to_owned())));
    assert_eq!(bindings.get("gate", "a").await, Ok(None));
    assert_eq!(bindings.get("lobby", "u1").await, Ok(None));
    assert_eq!(bindings.clone().prefix("other/").get("gate", "u1").await, Ok(None));
    raw.put("pitaya/bindings/gate/u2", [0xff], None).await.unwrap();
    assert!(text(bindings.get("gate", "u2").await).contains("pitaya/bindings/gate/u2"));

    assert_eq!(bindings.keep_alive(lease).await, Ok(KeptAlive::Yes));
    bindings.revoke(lease).await.unwrap();
    assert_eq!(bindings.get("gate", "u1").await, Ok(None));
    assert_eq!(bindings.keep_alive(lease).await, Ok(KeptAlive::Lost));
    assert!(bindings.put("gate", &uids(["u1"]), "g1", lease).await.is_err());
    bindings.put("gate", &[], "g1", lease).await.unwrap();
}

#[tokio::test]
async fn only_ones_own_bindings_are_removed() {
    let service = Server::start();
    let bindings = Etcd::new([service.url()]).bindings();
    let lease = bindings.grant(TTL).await.unwrap();
    bindings.put("gate", &uids(["u1"]), "g1", lease).await.unwrap();
    // The user moves on, and the first server notices late.
    bindings.put("gate", &uids(["u1"]), "g2", lease).await.unwrap();
    bindings.remove("gate", "u1", "g1").await.unwrap();
    assert_eq!(bindings.get("gate", "u1").await, Ok(Some("g2".to_owned())));
    bindings.remove("gate", "u1", "g2").await.unwrap();
    assert_eq!(bindings.get("gate", "u1").await, Ok(None));
    bindings.remove("gate", "u1", "g2").await.unwrap();
}

/// More than etcd takes at once, in number and in bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_bindings_is_written() {
    let service = Server::start();
    let bindings = Etcd::new([service.url()]).bindings();
    let lease = bindings.grant(TTL).await.unwrap();
    let many = uids((0..1000).map(|n| format!("u{n}")));
    bindings.put("gate", &many, "g1", lease).await.unwrap();
    let long = "x".repeat(100 << 10);
    let large = uids((0..40).map(|n| format!("{n}{long}")));
    bindings.put("gate", &large, "g1", lease).await.unwrap();
    let mut raw = raw(&service).await;
    let count = etcd_client::GetOptions::new().with_prefix().with_count_only();
    assert_eq!(raw.get("pitaya/bindings/gate/", Some(count)).await.unwrap().count(), 1040);
    assert_eq!(bindings.get("gate", "u999").await, Ok(Some("g1".to_owned())));
}
