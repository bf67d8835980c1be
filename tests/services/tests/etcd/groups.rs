use cereus_cluster::{GroupError, GroupStorage};
use etcd_client::GetOptions;

use super::*;

async fn uids(groups: &EtcdGroups, name: &str) -> Vec<String> {
    groups.members(name).await.unwrap().iter().map(ToString::to_string).collect()
}

async fn keys(raw: &mut Client) -> Vec<String> {
    let all = raw.get("", Some(GetOptions::new().with_all_keys())).await.unwrap();
    all.kvs().iter().map(|kv| format!("{}={}", kv.key_str().unwrap(), kv.value_str().unwrap())).collect()
}

#[tokio::test]
async fn groups_are_those_of_pitaya() {
    let service = Server::start();
    let groups = groups(&service);
    let mut raw = raw(&service).await;
    groups.create("g", None).await.unwrap();
    assert_eq!((uids(&groups, "g").await, groups.count("g").await), (vec![], Ok(0)));
    for uid in ["u2", "u1", "a/uids/b", " "] {
        groups.add("g", uid).await.unwrap();
    }
    let expected = [
        "pitaya/groups/g=",
        "pitaya/groups/g/uids/ =",
        "pitaya/groups/g/uids/a/uids/b=",
        "pitaya/groups/g/uids/u1=",
        "pitaya/groups/g/uids/u2=",
    ];
    assert_eq!(keys(&mut raw).await, expected);
    assert_eq!(uids(&groups, "g").await, [" ", "a/uids/b", "u1", "u2"]);
    assert_eq!(groups.count("g").await, Ok(4));
    assert_eq!(groups.contains("g", "u1").await, Ok(true));
    assert_eq!(groups.contains("g", "u").await, Ok(false));

    groups.remove("g", "u1").await.unwrap();
    assert_eq!(uids(&groups, "g").await, [" ", "a/uids/b", "u2"]);
    groups.remove_all("g").await.unwrap();
    assert_eq!(groups.count("g").await, Ok(0));
    groups.add("g", "u1").await.unwrap();
    groups.delete("g").await.unwrap();
    assert_eq!(keys(&mut raw).await, [] as [&str; 0]);

    let mine = groups.clone().prefix("mine/");
    mine.create("g", None).await.unwrap();
    assert_eq!(keys(&mut raw).await, ["mine/groups/g="]);
    assert_eq!(groups.count("g").await, Err(GroupError::NotFound));
}

#[tokio::test]
async fn who_is_wrong_is_told_so() {
    let service = Server::start();
    let groups = groups(&service);
    assert_eq!(groups.members("g").await, Err(GroupError::NotFound));
    assert_eq!(groups.count("g").await, Err(GroupError::NotFound));
    assert_eq!(groups.contains("g", "u1").await, Err(GroupError::NotFound));
    assert_eq!(groups.add("g", "u1").await, Err(GroupError::NotFound));
    assert_eq!(groups.remove("g", "u1").await, Err(GroupError::NotFound));
    assert_eq!(groups.remove_all("g").await, Err(GroupError::NotFound));
    assert_eq!(groups.delete("g").await, Err(GroupError::NotFound));
    assert_eq!(groups.renew_ttl("g").await, Err(GroupError::NotFound));

    groups.create("g", None).await.unwrap();
    assert_eq!(groups.create("g", None).await, Err(GroupError::AlreadyExists));
    groups.add("g", "u1").await.unwrap();
    assert_eq!(groups.add("g", "u1").await, Err(GroupError::AlreadyMember));
    assert_eq!(groups.remove("g", "u2").await, Err(GroupError::NotMember));
    assert_eq!(groups.renew_ttl("g").await, Err(GroupError::NoTtl));
    assert_eq!(groups.add("g", "").await, Err(GroupError::EmptyUid));
    assert_eq!(groups.remove("g", "").await, Err(GroupError::EmptyUid));
    assert_eq!(groups.contains("g", "").await, Err(GroupError::EmptyUid));
}

/// No group has keys that are those of another's members.
#[tokio::test]
async fn groups_do_not_get_into_each_other() {
    let service = Server::start();
    let groups = groups(&service);
    for name in ["g/uids/x", "g/uids", "/uids", "a/uids/b/c"] {
        assert!(matches!(groups.create(name, None).await, Err(GroupError::Name(_))), "{name}");
        assert!(matches!(groups.delete(name).await, Err(GroupError::Name(_))), "{name}");
    }
    let names = ["g", "g/", "g/x", "uids", "uids/x", "g/uidsx", "", "/"];
    for name in names {
        groups.create(name, None).await.unwrap();
        groups.add(name, name.get(..1).unwrap_or("?")).await.unwrap();
        groups.add(name, "x/uids/y").await.unwrap();
    }
    for name in names {
        assert_eq!(groups.count(name).await, Ok(2), "{name}");
    }
    for name in names {
        groups.delete(name).await.unwrap();
    }
    assert_eq!(keys(&mut raw(&service).await).await, [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_with_its_time_to_live() {
    let service = Server::start();
    let groups = groups(&service);
    let mut raw = raw(&service).await;
    // Rounded up.
    groups.create("g", Some(Duration::from_millis(2500))).await.unwrap();
    groups.add("g", "u1").await.unwrap();
    let (_, lease) = read(&mut raw, "pitaya/groups/g").await.unwrap();
    assert_eq!(read(&mut raw, "pitaya/groups/g/uids/u1").await, Some((String::new(), lease)));
    assert_eq!(raw.lease_time_to_live(lease.get(), None).await.unwrap().granted_ttl(), 3);
    // No lease is left of a group that could not be created.
    let again = groups.create("g", Some(Duration::from_secs(60))).await;
    assert_eq!(again, Err(GroupError::AlreadyExists));
    assert_eq!(raw.leases().await.unwrap().leases().len(), 1);

    // Renewed, it lives longer than it would have.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        groups.renew_ttl("g").await.unwrap();
        assert_eq!(groups.contains("g", "u1").await, Ok(true));
        sleep(Duration::from_millis(100)).await;
    }
    soon(async {
        while groups.count("g").await != Err(GroupError::NotFound) {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(start.elapsed() > Duration::from_secs(7));
    assert_eq!(keys(&mut raw).await, [] as [&str; 0]);
    assert_eq!(groups.renew_ttl("g").await, Err(GroupError::NotFound));
}

/// However many add and replace at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_succeeds() {
    let service = Server::start();
    let groups = groups(&service);
    let creates: Vec<_> = (0..32)
        .map(|_| groups.clone())
        .map(|groups| tokio::spawn(async move { groups.create("g", Some(TTL)).await }))
        .collect();
    assert_eq!(successes(creates, GroupError::AlreadyExists).await, 1);
    let adds: Vec<_> = (0..32)
        .map(|_| groups.clone())
        .map(|groups| tokio::spawn(async move { groups.add("g", "u1").await }))
        .collect();
    assert_eq!(successes(adds, GroupError::AlreadyMember).await, 1);
    assert_eq!(raw(&service).await.leases().await.unwrap().leases().len(), 1);
}

async fn successes(attempts: Vec<JoinHandle<Result<(), GroupError>>>, otherwise: GroupError) -> usize {
    let mut successes = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(()) => successes += 1,
            Err(error) => assert_eq!(error, otherwise),
        }
    }
    successes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_is_away_is_told() {
    let mut service = Server::start();
    let groups = groups(&service).transaction_timeout(Duration::from_millis(200));
    groups.create("g", None).await.unwrap();
    service.pause();
    let start = Instant::now();
    assert!(text(groups.count("g").await).contains("no answer within 200ms"));
    assert!(start.elapsed() < Duration::from_secs(2));
    service.kill();
    assert!(text(groups.count("g").await).contains("refused"));
    service.restart();
    assert_eq!(groups.count("g").await, Ok(0));
}
