//! What etcd knows of the servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    time::Duration,
};

use cereus_cluster::names;
use etcd_client::{
    Certificate, Client, ConnectOptions, Error, EventType, GetOptions, Identity, TlsOptions, WatchOptions, WatchStream,
};
use tokio::{task::JoinSet, time};

use super::list::{Entry, Ttl};

/// How many leases are asked for at once.
const AT_ONCE: usize = 64;

/// Go's client has the same limit for an answer.
const MAX_ANSWER: usize = i32::MAX as usize;

/// Where etcd is, and what is read of it.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) endpoints: Vec<String>,
    pub(super) prefix: String,
    pub(super) user: Option<(String, String)>,
    pub(super) ca: Option<Vec<u8>>,
    /// A certificate and its key.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

/// A change of a record.
#[derive(Debug)]
pub(super) enum Change {
    Put(Entry),
    Gone(String),
}

pub(super) struct Etcd<'a> {
    settings: &'a Settings,
    client: Client,
}

impl<'a> Etcd<'a> {
    /// Takes the first endpoint that answers: a channel over several would send some requests to those that are gone.
    pub(super) async fn connect(settings: &'a Settings) -> Result<Self, String> {
        let mut failures = Vec::new();
        for endpoint in &settings.endpoints {
            match time::timeout(settings.patience, reach(endpoint, settings)).await {
                Ok(Ok(client)) => return Ok(Self { settings, client }),
                Ok(Err(error)) => {
                    let reason = reason(&error);
                    failures.push(format!("etcd at {endpoint}: {reason}{}", advice(&reason)));
                }
                Err(_) => failures.push(format!("etcd at {endpoint}: no answer within {:?}", settings.patience)),
            }
        }
        Err(failures.join("; "))
    }

    /// All records, and the revision of etcd that they are of.
    pub(super) async fn all(&self) -> Result<(Vec<Entry>, i64), String> {
        let key = names::servers_key(&self.settings.prefix);
        let mut kv = self.client.kv_client().max_decoding_message_size(MAX_ANSWER);
        let found = self.in_time(kv.get(key, Some(GetOptions::new().with_prefix()))).await?;
        let read = |kv: &etcd_client::KeyValue| Entry::read(&self.settings.prefix, kv.key(), kv.value(), kv.lease());
        let revision = found.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok((found.kvs().iter().map(read).collect(), revision))
    }

    /// How long the leases of these records last.
    pub(super) async fn look_up_leases(&self, entries: &mut [&mut Entry]) -> Result<(), String> {
        let leases: Vec<i64> = entries.iter().map(|entry| entry.lease).collect::<BTreeSet<_>>().into_iter().collect();
        let mut found = BTreeMap::new();
        for leases in leases.chunks(AT_ONCE) {
            let mut answers = JoinSet::new();
            for lease in leases.iter().copied().filter(|lease| *lease != 0) {
                let mut client = self.client.lease_client();
                answers.spawn(async move { (lease, client.time_to_live(lease, None).await) });
            }
            let answers = time::timeout(self.settings.patience, answers.join_all()).await;
            for (lease, answer) in answers.map_err(|_| self.late())? {
                let answer = answer.map_err(|error| format!("etcd: {}", reason(&error)))?;
                found.insert(lease, Ttl { left: answer.ttl(), granted: answer.granted_ttl() });
            }
        }
        entries.iter_mut().for_each(|entry| entry.ttl = found.get(&entry.lease).copied());
        Ok(())
    }

    /// What changes after a revision.
    pub(super) async fn watch(&self, revision: i64) -> Result<WatchStream, String> {
        let key = names::servers_key(&self.settings.prefix);
        let since = WatchOptions::new().with_prefix().with_start_revision(revision + 1);
        let mut watch = self.client.watch_client().max_decoding_message_size(MAX_ANSWER);
        self.in_time(watch.watch(key, Some(since))).await
    }

    /// The next changes.
    pub(super) async fn changes(&self, stream: &mut WatchStream) -> Result<Vec<Change>, String> {
        let message = stream.message().await.map_err(|error| format!("etcd: {}", reason(&error)))?;
        let message = message.ok_or("etcd: it ended the watch")?;
        if message.canceled() || message.compact_revision() > 0 {
            return Err(format!("etcd: it ended the watch: {}", message.cancel_reason()));
        }
        let change = |event: &etcd_client::Event| {
            let kv = event.kv()?;
            Some(match event.event_type() {
                EventType::Put => Change::Put(Entry::read(&self.settings.prefix, kv.key(), kv.value(), kv.lease())),
                EventType::Delete => Change::Gone(String::from_utf8_lossy(kv.key()).into_owned()),
            })
        };
        Ok(message.events().iter().filter_map(change).collect())
    }

    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
        match time::timeout(self.settings.patience, answer).await {
            Ok(answer) => answer.map_err(|error| format!("etcd: {}", reason(&error))),
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> String {
        format!("etcd: no answer within {:?}", self.settings.patience)
    }
}

/// Connects to one endpoint and has it answer.
async fn reach(endpoint: &str, settings: &Settings) -> Result<Client, Error> {
    let client = match Client::connect([endpoint], Some(options(settings, true))).await {
        // A user can be given before etcd asks for one, as Go's client takes it.
        Err(Error::GRpcStatus(status)) if status.message().contains("authentication is not enabled") => {
            Client::connect([endpoint], Some(options(settings, false))).await?
        }
        client => client?,
    };
    match client.kv_client().get(names::health_key(&settings.prefix), None).await {
        // It answers, and a user need not be allowed to read this.
        Err(Error::GRpcStatus(status)) if status.message().contains("permission denied") => Ok(client),
        Err(error) => Err(error),
        Ok(_) => Ok(client),
    }
}

fn options(settings: &Settings, with_user: bool) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(settings.patience)
        // etcd turns away who asks for a sign of life more often than every 5 s.
        .with_keep_alive(Duration::from_secs(6), settings.patience)
        .with_keep_alive_while_idle(false)
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if let Some((name, password)) = settings.user.as_ref().filter(|_| with_user) {
        options = options.with_user(name, password);
    }
    if let Some(ca) = &settings.ca {
        let tls = TlsOptions::new().ca_certificate(Certificate::from_pem(ca));
        options = options.with_tls(match &settings.identity {
            Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
            None => tls,
        });
    }
    options
}

/// What etcd says, and the first cause: what lies between is of no use to anybody.
fn reason(error: &Error) -> String {
    let outermost = match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    };
    let cause = match error {
        Error::GRpcStatus(status) => status.source(),
        other => other.source(),
    };
    match std::iter::successors(cause, |cause| (*cause).source()).last().map(ToString::to_string) {
        Some(first) if first != outermost => format!("{outermost}: {first}"),
        _ => outermost,
    }
}

/// What to do about it, when that is known.
fn advice(reason: &str) -> &'static str {
    let says_any = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
    if says_any(&["user name is empty"]) {
        "; --user and --password-env tell who asks"
    } else if says_any(&["authentication failed"]) {
        "; see --user and its password"
    } else if says_any(&["connection closed", "broken pipe", "eof", "fatal alert", "reset"]) {
        "; should it be http or https, or have --cert and --key?"
    } else {
        ""
    }
}
