use std::{
    env, fs,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
};

use cereus_cluster::KeptAlive;
use cereus_service_tests::free_port;
use etcd_client::{Permission, PermissionType};

use super::*;

/// An etcd in which `root` and `games` have passwords; `games` may use what begins with `pitaya/servers/`.
pub(crate) async fn locked() -> Server {
    let service = Server::start();
    let mut raw = raw(&service).await;
    raw.user_add("root", "root secret", None).await.unwrap();
    raw.user_grant_role("root", "root").await.unwrap();
    raw.role_add("games").await.unwrap();
    let range = Permission::new(PermissionType::Readwrite, "pitaya/servers/").with_prefix();
    raw.role_grant_permission("games", range).await.unwrap();
    raw.user_add("games", "secret", None).await.unwrap();
    raw.user_grant_role("games", "games").await.unwrap();
    raw.auth_enable().await.unwrap();
    service
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_a_password_gets_in() {
    let mut service = locked().await;
    let etcd = Etcd::new([service.url()]).user("games", "secret");
    let (mut watching, _) = Watching::synced(&etcd).await;
    let lease = register(&etcd, server("room", "r1")).await;
    assert_eq!(watching.next().await, RegistryEvent::Put(server("room", "r1")));
    assert_eq!(etcd.keep_alive(lease).await, Ok(KeptAlive::Yes));
    // etcd forgets whom it knew.
    service.restart();
    watching.end().await;
    assert_eq!(etcd.keep_alive(lease).await, Ok(KeptAlive::Yes));
    etcd.put(Arc::new(server("room", "r1")), lease).await.unwrap();
    let (_watching, all) = Watching::synced(&etcd).await;
    assert_eq!(all, [server("room", "r1")]);
}

#[tokio::test]
async fn nobody_else_gets_in() {
    let service = locked().await;
    let (url, info) = (service.url(), Arc::new(server("room", "r1")));
    let wrong = Etcd::new([url.clone()]).user("games", "guess");
    let error = text(wrong.put(info.clone(), LeaseId::new(1)).await);
    assert!(error.contains(&url) && error.contains("authentication failed") && error.contains("Etcd::user"), "{error}");
    assert!(!format!("{wrong:?}").contains("guess"));
    assert!(Watching::new(&wrong).end().await.to_string().contains("authentication failed"));

    let error = text(Etcd::new([url.clone()]).put(info.clone(), LeaseId::new(1)).await);
    assert!(error.contains("user name is empty") && error.contains("Etcd::user"), "{error}");
    assert_eq!(error, text(Etcd::new([url.clone()]).user("games", "").put(info.clone(), LeaseId::new(1)).await));

    let etcd = Etcd::new([url]).user("games", "secret").prefix("other/");
    let lease = etcd.grant(TTL).await.unwrap();
    assert!(text(etcd.put(info, lease).await).contains("permission denied"));
    assert!(Watching::new(&etcd).end().await.to_string().contains("permission denied"));
}

#[tokio::test]
async fn a_user_does_no_harm_where_none_is_wanted() {
    let service = Server::start();
    register(&Etcd::new([service.url()]).user("games", "secret"), server("room", "r1")).await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_told() {
    let none = Etcd::new([] as [&str; 0]);
    let error = none.check().unwrap_err();
    assert!(error.to_string().contains("http://localhost:2379"), "{error}");
    assert_eq!(none.grant(TTL).await, Err(error.clone()));
    assert_eq!(Watching::new(&none).end().await, error);
    let bad = Etcd::new(["localhost:port"]);
    assert_eq!(bad.grant(TTL).await.map(drop), bad.check());
    let gone = Etcd::new(["127.0.0.1:1"]);
    gone.check().unwrap();
    assert!(text(gone.grant(TTL).await).contains("127.0.0.1:1"));
}

#[tokio::test]
async fn https() {
    let service = Secure::start("https");
    let (ca, certificate, key) = (service.file("ca.pem"), service.file("client.pem"), service.file("client.key"));
    let etcd = Etcd::new([service.url.clone()]).ca_certificate(ca.clone()).client_certificate(certificate, key);
    etcd.check().unwrap();
    until_ok(|| etcd.grant(TTL)).await;
    let (mut watching, _) = Watching::synced(&etcd).await;
    register(&etcd, server("room", "r1")).await;
    assert_eq!(watching.next().await, RegistryEvent::Put(server("room", "r1")));
    assert!(!format!("{etcd:?}").contains("PRIVATE"));

    let error = text(etcd.clone().domain_name("elsewhere").grant(TTL).await);
    assert!(error.contains("certificate"), "{error}");
    let error = text(etcd.ca_certificate(service.file("other.pem")).grant(TTL).await);
    assert!(error.contains("certificate"), "{error}");
    let nobody = Etcd::new([service.url.clone()]).ca_certificate(ca.clone());
    assert!(text(nobody.grant(TTL).await).contains("client certificate"));
    assert!(text(Etcd::new([service.url.clone()]).check()).contains("ca_certificate"));
    let open = Etcd::new([service.url.replace("https", "http")]);
    assert!(text(open.clone().ca_certificate(ca).check()).contains("not encrypted"));
    assert!(text(open.grant(TTL).await).contains("http or https"));
}

/// An etcd that only talks to those it has signed a certificate of.
pub(crate) struct Secure {
    pub(crate) url: String,
    pub(crate) folder: PathBuf,
    process: Child,
}

impl Secure {
    /// The name is that of its folder, and nobody else's.
    pub(crate) fn start(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("cereus-{name}-{}", process::id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("extensions"), "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\n").unwrap();
        let openssl = |arguments: &str| {
            let done = Command::new("openssl").args(arguments.split(' ')).current_dir(&folder).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        for name in ["ca", "other", "server", "client"] {
            openssl(&format!("ecparam -genkey -name prime256v1 -noout -out {name}.key"));
        }
        for name in ["ca", "other"] {
            openssl(&format!("req -x509 -new -key {name}.key -out {name}.pem -subj /CN={name} -days 2"));
        }
        for name in ["server", "client"] {
            openssl(&format!("req -new -key {name}.key -out {name}.csr -subj /CN={name}"));
            let by = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions";
            openssl(&format!("x509 -req -in {name}.csr -out {name}.pem {by}"));
        }
        let [url, peer] = ["https", "http"].map(|scheme| format!("{scheme}://127.0.0.1:{}", free_port()));
        let process = Command::new(env::var_os("CEREUS_ETCD").expect("`cargo xtask test` sets CEREUS_ETCD"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url, "--data-dir", "data"])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--name", "test", "--initial-cluster", &format!("test={peer}")])
            .args(["--cert-file", "server.pem", "--key-file", "server.key"])
            .args(["--trusted-ca-file", "ca.pem", "--client-cert-auth"])
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { url, folder, process }
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).unwrap()
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
