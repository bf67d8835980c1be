//! Encrypted connections.

use std::{env, fs, path::PathBuf, process, time::Duration};

use cereus_cluster::Nats;
use cereus_service_tests::{Nats as NatsServer, free_port};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::peer::{Peer, UP, start_error};

/// Files with the certificate of an authority, and with a certificate and a key of its own for 127.0.0.1.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        // No other test has it, in whatever process.
        let folder = env::temp_dir().join(format!("cereus-nats-tls-{}-{}", process::id(), free_port()));
        fs::create_dir(&folder).unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        fs::write(folder.join("authority"), authority.pem()).unwrap();
        fs::write(folder.join("certificate"), certificate.pem()).unwrap();
        fs::write(folder.join("key"), key.serialize_pem()).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn server(&self, verify: bool) -> NatsServer {
        let config = format!(
            "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: {verify} }}",
            self.path("certificate"),
            self.path("key"),
            self.path("authority")
        );
        NatsServer::start_with_config(&config)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn impatient(url: impl Into<String>) -> Nats {
    Nats::new(url).start_timeout(Duration::from_millis(500))
}

async fn connects(bus: Nats) {
    assert_eq!(Peer::start_with(bus, "gate", "g1").await.next().await, UP);
}

#[tokio::test]
async fn connections_are_encrypted_if_the_server_says_so() {
    let files = Files::new();
    let server = files.server(false);
    let url = server.url().replace("nats://", "tls://");
    connects(Nats::new(server.url()).root_certificates(files.path("authority"))).await;
    connects(Nats::new(url).root_certificates(files.path("authority"))).await;

    let error = start_error(impatient(server.url()).root_certificates(Files::new().path("authority"))).await;
    assert!(error.contains("root_certificates"), "{error}");
    let error = start_error(impatient(server.url()).root_certificates(files.path("nowhere"))).await;
    assert!(error.contains("certificates"), "{error}");
}

#[tokio::test]
async fn connections_are_encrypted_if_the_user_says_so() {
    let (files, server) = (Files::new(), NatsServer::start());
    let by_address = impatient(server.url().replace("nats://", "tls://"));
    for bus in [impatient(server.url()).require_tls(), by_address] {
        let error = start_error(bus.root_certificates(files.path("authority"))).await;
        assert!(error.contains("TLS"), "{error}");
    }
}

#[tokio::test]
async fn servers_show_certificates_too() {
    let files = Files::new();
    let server = files.server(true);
    let bus = |bus: Nats| bus.root_certificates(files.path("authority"));
    connects(bus(Nats::new(server.url())).client_certificate(files.path("certificate"), files.path("key"))).await;
    let error = start_error(bus(impatient(server.url()))).await;
    assert!(error.contains("client_certificate"), "{error}");
}
