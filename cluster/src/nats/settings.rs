#[cfg(feature = "nats-credentials")]
use std::fs;
use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use async_nats::{ConnectOptions, ServerAddr};

use crate::{BusError, ServerInfo, names};

/// What the user set, unchecked.
pub(crate) struct Settings {
    pub(crate) servers: String,
    pub(crate) connection_timeout: Duration,
    pub(crate) reconnect_wait: Duration,
    pub(crate) reconnect_jitter: Duration,
    pub(crate) max_reconnects: Option<usize>,
    pub(crate) start_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) subscription_capacity: usize,
    pub(crate) client_capacity: usize,
    pub(crate) drain_timeout: Duration,
    pub(crate) auth: Option<Auth>,
    #[cfg(feature = "nats-credentials")]
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) tls: Tls,
}

#[derive(Clone, Eq, PartialEq)]
pub(crate) enum Auth {
    User { name: String, password: String },
    Token(String),
}

#[derive(Default)]
pub(crate) struct Tls {
    pub(crate) roots: Option<PathBuf>,
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    pub(crate) required: bool,
}

/// Settings that were checked.
pub(crate) struct Plan {
    pub(crate) own: Arc<ServerInfo>,
    /// Without what to log in with.
    pub(crate) servers: Vec<ServerAddr>,
    /// The servers as they may be shown.
    pub(crate) shown: String,
    pub(crate) options: ConnectOptions,
    pub(crate) delays: Delays,
    pub(crate) connection_timeout: Duration,
    pub(crate) start_timeout: Duration,
    pub(crate) subscription_capacity: usize,
}

impl Settings {
    pub(crate) const fn new(servers: String) -> Self {
        Self {
            servers,
            connection_timeout: Duration::from_secs(2),
            reconnect_wait: Duration::from_millis(250),
            reconnect_jitter: Duration::from_millis(100),
            max_reconnects: None,
            start_timeout: Duration::from_secs(30),
            ping_interval: Duration::from_secs(120),
            subscription_capacity: 65_536,
            client_capacity: 8_192,
            drain_timeout: Duration::from_secs(5),
            auth: None,
            #[cfg(feature = "nats-credentials")]
            credentials: None,
            tls: Tls { roots: None, client: None, required: false },
        }
    }

    /// Checks all that can be checked before anything connects.
    pub(crate) fn plan(&self, own: Arc<ServerInfo>) -> Result<Plan, BusError> {
        self.check_numbers()?;
        for name in [&own.server_type, &own.id] {
            if !names::is_server_name(name) {
                return Err(BusError::new(format!("`{name}` cannot be a server's type or id: it must be one word")));
            }
        }
        let addresses = addresses(&self.servers)?;
        let count = addresses.len();
        let delays =
            Delays { wait: self.reconnect_wait, jitter: self.reconnect_jitter, servers: count, seed: seed(&own.id) };
        Ok(Plan {
            shown: addresses.iter().map(|address| address.shown.as_str()).collect::<Vec<_>>().join(", "),
            options: self.options(&own, addresses[0].auth.as_ref(), count)?,
            servers: addresses.into_iter().map(|address| address.server).collect(),
            own,
            delays,
            connection_timeout: self.connection_timeout,
            start_timeout: self.start_timeout,
            subscription_capacity: self.subscription_capacity,
        })
    }

    fn check_numbers(&self) -> Result<(), BusError> {
        let times = [
            ("connection_timeout", self.connection_timeout),
            ("reconnect_wait", self.reconnect_wait),
            ("start_timeout", self.start_timeout),
            ("ping_interval", self.ping_interval),
        ];
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(BusError::new(format!("`Nats::{name}` is zero: set a longer one")));
        }
        let capacities =
            [("subscription_capacity", self.subscription_capacity), ("client_capacity", self.client_capacity)];
        if let Some((name, value)) = capacities.iter().find(|(_, capacity)| !(1..=MAX_CAPACITY).contains(capacity)) {
            return Err(BusError::new(format!("`Nats::{name}` is {value}: set 1 to {MAX_CAPACITY}")));
        }
        if self.max_reconnects == Some(0) {
            return Err(BusError::new(
                "`Nats::max_reconnects` is 0: set at least 1, or `None` for as often as it takes",
            ));
        }
        Ok(())
    }

    fn options(
        &self,
        own: &ServerInfo,
        of_addresses: Option<&Auth>,
        servers: usize,
    ) -> Result<ConnectOptions, BusError> {
        let mut options = ConnectOptions::new()
            .name(format!("cereus {}/{}", own.server_type, own.id))
            .connection_timeout(self.connection_timeout)
            .ping_interval(self.ping_interval)
            .subscription_capacity(self.subscription_capacity)
            .client_capacity(self.client_capacity)
            .require_tls(self.tls.required)
            // The library counts every attempt, at whatever server.
            .max_reconnects(self.max_reconnects.map(|times| times.saturating_mul(servers)));
        options = match self.auth.as_ref().or(of_addresses) {
            Some(Auth::User { name, password }) => options.user_and_password(name.clone(), password.clone()),
            Some(Auth::Token(token)) => options.token(token.clone()),
            None => options,
        };
        #[cfg(feature = "nats-credentials")]
        if let Some(file) = &self.credentials {
            options = fs::read_to_string(file).and_then(|text| options.credentials(&text)).map_err(|error| {
                let file = file.display();
                BusError::new(format!("`Nats::credentials_file` is {file}, which cannot be used: {error}"))
            })?;
        }
        if let Some(file) = &self.tls.roots {
            options = options.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.tls.client {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options)
    }
}

/// More than that the library's channels cannot hold on every machine.
const MAX_CAPACITY: usize = 1 << 24;

/// When to try again. The library tries one server after the other, and says how often it did.
#[derive(Clone, Copy)]
pub(crate) struct Delays {
    wait: Duration,
    jitter: Duration,
    servers: usize,
    seed: u64,
}

impl Delays {
    /// Every server is tried once at once, then each of them after the same time.
    pub(crate) fn before(&self, attempt: usize) -> Duration {
        if attempt <= self.servers {
            return Duration::ZERO;
        }
        // Servers have different seeds: that is all the chance there needs to be.
        let part = (self.seed.wrapping_add(attempt as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32;
        let jitter = self.jitter * part / u32::from(u16::MAX);
        (self.wait + jitter) / u32::try_from(self.servers).unwrap_or(u32::MAX)
    }
}

/// FNV-1a.
fn seed(id: &str) -> u64 {
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

struct Address {
    server: ServerAddr,
    auth: Option<Auth>,
    shown: String,
}

/// At least one.
fn addresses(list: &str) -> Result<Vec<Address>, BusError> {
    let addresses = list.split(',').map(|text| address(text.trim())).collect::<Result<Vec<_>, _>>();
    let addresses = addresses.map_err(|wrong| {
        BusError::new(format!(
            "the addresses given to `Nats::new` are wrong: {wrong}. Write `nats://host:4222`, several separated by commas"
        ))
    })?;
    if addresses.iter().any(|address| address.auth != addresses[0].auth) {
        return Err(BusError::new(
            "the addresses given to `Nats::new` have different users, passwords or tokens: give all the same ones",
        ));
    }
    Ok(addresses)
}

fn address(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Err("one is empty".to_owned());
    }
    // What stands before the last `@` is nobody's business.
    let place = text.rsplit_once('@').map_or(text, |(_, place)| place);
    let invalid = |error: &dyn ToString| format!("`{place}`: {}", error.to_string());
    let server = ServerAddr::from_str(text).map_err(|error| invalid(&error))?;
    if server.is_websocket() {
        return Err(invalid(&"NATS over WebSocket is not supported"));
    }
    if server.host().is_empty() {
        return Err(invalid(&"there is no host"));
    }
    let part = |text: &str| percent_decoded(text).ok_or_else(|| invalid(&"the user or the password is not UTF-8"));
    let auth = match (server.username(), server.password()) {
        (None, None) => None,
        (Some(token), None) => Some(Auth::Token(part(token)?)),
        (name, Some(password)) => Some(Auth::User { name: part(name.unwrap_or_default())?, password: part(password)? }),
    };
    let masked = match &auth {
        Some(Auth::User { name, .. }) => format!("{name}:***@"),
        Some(Auth::Token(_)) => "***@".to_owned(),
        None => String::new(),
    };
    let shown = format!("{}://{masked}{}:{}", server.scheme(), server.host(), server.port());
    let mut url = server.into_inner();
    // They fail for addresses without host only.
    let _ = url.set_password(None).and_then(|()| url.set_username(""));
    let server = ServerAddr::from_url(url).map_err(|error| invalid(&error))?;
    Ok(Address { server, auth, shown })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = (byte == b'%').then(|| after.get(..2)).flatten().and_then(|hex| str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Arc<ServerInfo> {
        Arc::new(ServerInfo::new("gate", "g1"))
    }

    fn error(settings: &Settings) -> String {
        settings.plan(own()).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn addresses_are_read_and_shown_without_secrets() {
        let settings = Settings::new("one, nats://two:1 ,tls://[::1]".to_owned());
        let plan = settings.plan(own()).unwrap();
        assert_eq!(plan.shown, "nats://one:4222, nats://two:1, tls://::1:4222");

        let found = &addresses("nats://us%40er:p%2Fw@one").unwrap()[0];
        assert!(found.auth == Some(Auth::User { name: "us@er".to_owned(), password: "p/w".to_owned() }));
        assert_eq!(found.shown, "nats://us@er:***@one:4222");
        assert_eq!(found.server.as_url_str(), "nats://one");

        let found = &addresses("nats://secret@one").unwrap()[0];
        assert!(found.auth == Some(Auth::Token("secret".to_owned())));
        assert_eq!(found.shown, "nats://***@one:4222");
    }

    #[test]
    fn wrong_addresses_are_refused() {
        for wrong in
            ["", ",", "nats://a,", "http://a", "ws://a", "nats://", "nats://a:x", "u:p@a b", "nats://u:1@a,nats://b"]
        {
            let error = error(&Settings::new(wrong.to_owned()));
            assert!(error.contains("Nats::new"), "{error}");
        }
        assert!(!error(&Settings::new("nats://u:secret@a:x".to_owned())).contains("secret"));
    }

    #[test]
    fn numbers_that_cannot_work_are_refused() {
        let settings = || Settings::new("a".to_owned());
        assert!(error(&Settings { subscription_capacity: 0, ..settings() }).contains("subscription_capacity"));
        assert!(error(&Settings { client_capacity: usize::MAX, ..settings() }).contains("client_capacity"));
        assert!(error(&Settings { ping_interval: Duration::ZERO, ..settings() }).contains("ping_interval"));
        assert!(error(&Settings { max_reconnects: Some(0), ..settings() }).contains("max_reconnects"));
        let own = Arc::new(ServerInfo::new("gate", "g 1"));
        assert!(settings().plan(own).is_err());
    }

    #[test]
    fn delays_do_not_grow() {
        let (wait, jitter) = (Duration::from_millis(250), Duration::from_millis(100));
        let delays = Delays { wait, jitter, servers: 1, seed: seed("g1") };
        assert_eq!(delays.before(1), Duration::ZERO);
        let later: Vec<_> = (2..1000).map(|attempt| delays.before(attempt)).collect();
        assert!(later.iter().all(|delay| (wait..=wait + jitter).contains(delay)));
        assert!(later.iter().max() > later.iter().min());
        // Each of two servers is tried as often as the only one.
        let delays = Delays { servers: 2, ..delays };
        assert_eq!((delays.before(2), delays.before(3) < wait), (Duration::ZERO, true));
    }
}
