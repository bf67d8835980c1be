//! Servers that log in with a credentials file.

use std::{env, fs, path::PathBuf, process};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use cereus_cluster::Nats;
use cereus_service_tests::{Nats as NatsServer, free_port};
use nkeys::KeyPair;

use crate::peer::{Peer, UP, start_error};

/// An operator with one account and one user of it, and the folder where they are written down.
struct Operator {
    folder: PathBuf,
    server: NatsServer,
    account: KeyPair,
}

impl Operator {
    fn new() -> Self {
        // No other test has it, in whatever process.
        let folder = env::temp_dir().join(format!("cereus-nats-credentials-{}-{}", process::id(), free_port()));
        fs::create_dir(&folder).unwrap();
        let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
        let name = account.public_key();
        let config = format!(
            "operator: {}\nresolver: MEMORY\nresolver_preload: {{ {name}: {} }}",
            token(&operator, &operator.public_key(), r#"{"type":"operator","version":2}"#),
            token(&operator, &name, &format!(r#"{{"limits":{LIMITS},"type":"account","version":2}}"#)),
        );
        Self { folder, server: NatsServer::start_with_config(&config), account }
    }

    /// Writes the credentials of a new user whom this account vouches for.
    fn user(&self, account: &KeyPair) -> PathBuf {
        let user = KeyPair::new_user();
        let jwt = token(account, &user.public_key(), r#"{"subs":-1,"data":-1,"payload":-1,"type":"user","version":2}"#);
        let file = self.folder.join(user.public_key());
        let seed = user.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        fs::write(&file, text).unwrap();
        file
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const LIMITS: &str =
    r#"{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1}"#;

/// What somebody signed about somebody: a JSON web token as NATS wants it.
fn token(issuer: &KeyPair, subject: &str, nats: &str) -> String {
    let claims =
        format!(r#"{{"jti":"x","iat":0,"iss":"{}","name":"x","sub":"{subject}","nats":{nats}}}"#, issuer.public_key());
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#), encode(claims.as_bytes()));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", encode(&signature))
}

#[tokio::test]
async fn a_server_logs_in_with_a_credentials_file() {
    let operator = Operator::new();
    let bus = || Nats::new(operator.server.url());
    let file = operator.user(&operator.account);
    for bus in [bus().credentials_file(&file), bus().user("gate", "secret").credentials_file(&file)] {
        assert_eq!(Peer::start_with(bus, "gate", "g1").await.next().await, UP);
    }

    let stranger = operator.user(&KeyPair::new_account());
    for bus in [bus(), bus().user("gate", "secret"), bus().credentials_file(stranger)] {
        let error = start_error(bus).await;
        assert!(error.contains("does not let this server in"), "{error}");
    }
}

#[tokio::test]
async fn a_credentials_file_that_is_none_is_refused_before_anything_connects() {
    let folder = env::temp_dir();
    for file in [folder.join("cereus-nats-credentials-nowhere"), env::current_exe().unwrap()] {
        let error = start_error(Nats::new("nats://127.0.0.1:1").credentials_file(&file)).await;
        assert!(error.contains("credentials_file") && error.contains(file.to_str().unwrap()), "{error}");
    }
}
