//! etcd, where Pitaya's servers meet (specification, section 11).

use std::{sync::Arc, time::Duration};

use crate::{Changes, KeptAlive, LeaseId, Registry, RegistryError, ServerInfo, names};

mod bindings;
mod connection;
mod failure;
mod groups;
mod lease;
mod settings;
mod watch;

pub use bindings::EtcdBindings;
pub use groups::EtcdGroups;

use connection::Connection;
use settings::Settings;
use watch::{Unreadable, Watch};

/// The registry in etcd, with the records of Pitaya: `pitaya/servers/<type>/<id>` holds the JSON of a
/// [`ServerInfo`].
///
/// Nothing connects before the first use. Then all endpoints are asked at once and the first that answers is used, until
/// it fails; so it goes on with another when one is gone, and as soon as etcd is back when it was gone as a whole. There
/// is no back-off: whoever calls decides when to try again. Every request ends within the dial timeout and the request
/// timeout together. Clones share the connection, as do the [`bindings`](Self::bindings) and [`groups`](Self::groups)
/// that are made of one value; settings that are changed after that are for a connection of their own.
///
/// Works under every runtime: outside of tokio a thread is started for it.
///
/// ```
/// use cereus_cluster::Etcd;
///
/// let etcd = Etcd::new(["http://localhost:2379"]).user("games", "secret");
/// etcd.check()?;
/// let groups = etcd.groups().prefix("groups-of-my-game/");
/// # Ok::<(), cereus_cluster::RegistryError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Etcd {
    connection: Connection,
    unreadable: Arc<Unreadable>,
}

impl Etcd {
    /// An etcd with these endpoints: `http://host:port`, `https://host:port`, or `host:port`, which is the latter with a
    /// [`ca_certificate`](Self::ca_certificate) and the former without. What is wrong with them, [`check`](Self::check)
    /// tells, and every use.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let settings = Settings::new(endpoints.into_iter().map(Into::into).collect());
        Self { connection: Connection::new(settings), unreadable: Arc::default() }
    }

    /// What all keys begin with, as it is: a slash at its end belongs to it. Default: `pitaya/`.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        self.set(|settings| settings.prefix = prefix.into())
    }

    /// The user, when etcd wants one. Default, and when the name or the password is empty: none.
    #[must_use]
    pub fn user(self, name: impl Into<String>, password: impl Into<String>) -> Self {
        let user = (name.into(), password.into());
        let is_whole = !user.0.is_empty() && !user.1.is_empty();
        self.set(|settings| settings.user = is_whole.then_some(user))
    }

    /// The certificates, in PEM, of whom etcd's own certificate may be signed by. Needed for `https`: those of the system
    /// are not looked at.
    #[must_use]
    pub fn ca_certificate(self, pem: impl Into<Vec<u8>>) -> Self {
        self.set(|settings| settings.ca_certificate = Some(pem.into()))
    }

    /// The certificate and its key, in PEM, that etcd knows this client by. Default: none.
    #[must_use]
    pub fn client_certificate(self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.set(|settings| settings.client_certificate = Some((certificate.into(), key.into())))
    }

    /// The name in etcd's certificate. Default: the host of the endpoint.
    #[must_use]
    pub fn domain_name(self, name: impl Into<String>) -> Self {
        self.set(|settings| settings.domain_name = Some(name.into()))
    }

    /// How long a connection may take, with all that is asked before it is used. Default: 5 s.
    #[must_use]
    pub fn dial_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.dial_timeout = timeout)
    }

    /// How long an answer may take. Default: 5 s.
    #[must_use]
    pub fn request_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.request_timeout = timeout)
    }

    /// How long etcd may be silent before a watch takes it for gone, when the connection itself does not tell. Default:
    /// 10 s, at least 7 s: every 6 s etcd is asked for a sign of life, and turns away who asks more often than every 5 s.
    #[must_use]
    pub fn silence_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.silence_timeout = timeout)
    }

    /// Notes of which user is bound where, under the same prefix.
    pub fn bindings(&self) -> EtcdBindings {
        EtcdBindings::new(self.connection.clone())
    }

    /// Groups, under the same prefix.
    pub fn groups(&self) -> EtcdGroups {
        EtcdGroups::new(self.connection.clone())
    }

    /// Whether the settings can be used at all; etcd itself is not asked.
    ///
    /// # Errors
    ///
    /// They cannot: the text tells what to change. Every use would fail with the same error.
    pub fn check(&self) -> Result<(), RegistryError> {
        self.connection.settings().check().map_err(RegistryError::new)
    }

    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.connection.settings().clone();
        change(&mut settings);
        Self { connection: Connection::new(settings), ..self }
    }

    fn own_prefix(&self) -> &str {
        &self.connection.settings().prefix
    }
}

/// `grant` rounds up to whole seconds; etcd itself raises what is too short for it. A record that cannot be read is
/// skipped, and logged once with its key.
impl Registry for Etcd {
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, RegistryError> {
        Ok(self.connection.grant(ttl).await?)
    }

    async fn put(&self, info: Arc<ServerInfo>, lease: LeaseId) -> Result<(), RegistryError> {
        let key = names::server_key(self.own_prefix(), &info.server_type, &info.id);
        Ok(self.connection.put(key, info.to_json(), lease).await?)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<KeptAlive, RegistryError> {
        Ok(self.connection.keep_alive(lease).await?)
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), RegistryError> {
        Ok(self.connection.revoke(lease).await?)
    }

    async fn watch(&self, changes: Changes) -> RegistryError {
        let settings = self.connection.settings();
        let watch = Watch {
            prefix: settings.prefix.clone(),
            timeout: settings.request_timeout,
            changes,
            unreadable: Arc::clone(&self.unreadable),
        };
        self.connection.follow(move |client| watch.run(client)).await.into()
    }
}
