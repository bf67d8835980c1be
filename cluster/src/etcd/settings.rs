use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

/// How often etcd is asked for a sign of life. It turns away who asks more often than every 5 s, which is to the tick.
const PING_INTERVAL: Duration = Duration::from_secs(6);
/// The least that an answer to that is waited for.
const MIN_PING_TIMEOUT: Duration = Duration::from_secs(1);

/// What an [`Etcd`](super::Etcd) was told.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) endpoints: Vec<String>,
    pub(super) prefix: String,
    pub(super) user: Option<(String, String)>,
    pub(super) ca_certificate: Option<Vec<u8>>,
    pub(super) client_certificate: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) domain_name: Option<String>,
    pub(super) dial_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) silence_timeout: Duration,
}

impl Settings {
    pub(super) fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            prefix: "pitaya/".to_owned(),
            user: None,
            ca_certificate: None,
            client_certificate: None,
            domain_name: None,
            dial_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            silence_timeout: Duration::from_secs(10),
        }
    }

    /// The error tells what to change.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.endpoints.is_empty() {
            return Err("etcd has no endpoints: give at least one, such as http://localhost:2379".to_owned());
        }
        for endpoint in &self.endpoints {
            self.check_endpoint(endpoint).map_err(|wrong| {
                format!("the etcd endpoint `{endpoint}` {wrong}: write it as http://host:port or https://host:port")
            })?;
        }
        self.check_certificates()?;
        for (name, timeout) in [("dial_timeout", self.dial_timeout), ("request_timeout", self.request_timeout)] {
            if timeout.is_zero() {
                return Err(format!("etcd's `{name}` is zero: nothing would ever be in time"));
            }
        }
        if self.silence_timeout < PING_INTERVAL + MIN_PING_TIMEOUT {
            return Err("etcd's `silence_timeout` is less than 7 s".to_owned());
        }
        Ok(())
    }

    fn check_endpoint(&self, endpoint: &str) -> Result<(), &'static str> {
        let (scheme, authority) = endpoint.split_once("://").unwrap_or(("", endpoint));
        match (scheme, &self.ca_certificate) {
            ("", _) | ("https", Some(_)) | ("http", None) => {}
            ("https", None) => return Err("needs `Etcd::ca_certificate`: those of the system are not looked at"),
            ("http", Some(_)) => return Err("is not encrypted, although there is a CA certificate"),
            _ => return Err("is neither http nor https"),
        }
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#', '@']) || authority.contains(char::is_whitespace) {
            return Err("is more than a host and a port");
        }
        // The colons of an IPv6 address are in brackets.
        let host_end = authority.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match authority[host_end..].split_once(':') {
            Some((host, port)) => (&authority[..host_end + host.len()], port.parse::<u16>().ok()),
            None => (authority, Some(1)),
        };
        if host.is_empty() {
            return Err("has no host");
        }
        if port.is_none_or(|port| port == 0) { Err("has a port that is none") } else { Ok(()) }
    }

    fn check_certificates(&self) -> Result<(), String> {
        let is_pem = |text: &[u8], kind: &str| String::from_utf8_lossy(text).contains(kind);
        const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
        match &self.ca_certificate {
            None if self.client_certificate.is_some() || self.domain_name.is_some() => {
                return Err("etcd's client certificate and domain name are for https, which `Etcd::ca_certificate` \
                            turns on"
                    .to_owned());
            }
            Some(ca) if !is_pem(ca, CERTIFICATE) => {
                return Err("etcd's CA certificate is none: give the content of a PEM file".to_owned());
            }
            _ => {}
        }
        match &self.client_certificate {
            Some((certificate, key)) if !is_pem(certificate, CERTIFICATE) || !is_pem(key, "PRIVATE KEY-----") => {
                Err("etcd's client certificate or its key is none: give the contents of PEM files".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The options for a client.
    pub(super) fn options(&self, with_user: bool) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.dial_timeout)
            .with_keep_alive(PING_INTERVAL, self.silence_timeout.saturating_sub(PING_INTERVAL))
            // etcd turns away who asks although nothing is under way.
            .with_keep_alive_while_idle(false)
            // A member that is cut off from the others would answer nothing, and its watches would tell nothing.
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = self.user.as_ref().filter(|_| with_user) {
            options = options.with_user(name, password);
        }
        if let Some(ca) = &self.ca_certificate {
            let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(ca));
            if let Some((certificate, key)) = &self.client_certificate {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            if let Some(name) = &self.domain_name {
                tls = tls.domain_name(name);
            }
            options = options.with_tls(tls);
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\n";

    fn check(endpoint: &str) -> Result<(), String> {
        Settings::new(vec![endpoint.to_owned()]).check()
    }

    #[test]
    fn takes_endpoints() {
        for endpoint in ["http://localhost:2379", "http://10.0.0.1:2379/", "etcd:2379", "etcd", "http://[::1]:2379"] {
            assert_eq!(check(endpoint), Ok(()), "{endpoint}");
        }
        let mut secure = Settings::new(vec!["https://etcd:2379".to_owned(), "etcd:2379".to_owned()]);
        secure.ca_certificate = Some(PEM.into());
        assert_eq!(secure.check(), Ok(()));
    }

    #[test]
    fn says_what_is_wrong_with_an_endpoint() {
        for (endpoint, expected) in [
            ("", "no host"),
            ("http://", "no host"),
            ("http://:2379", "no host"),
            ("etcd://a:2379", "neither"),
            ("http://a:b", "port"),
            ("http://a:0", "port"),
            ("http://a:70000", "port"),
            ("http://a:2379/path", "more than"),
            ("http://user@a:2379", "more than"),
            ("http://a:2379,http://b:2379", "more than"),
            ("https://a:2379", "ca_certificate"),
        ] {
            let error = check(endpoint).unwrap_err();
            assert!(error.contains(expected) && error.contains("http://host:port"), "{endpoint}: {error}");
        }
        assert!(Settings::new(vec![]).check().unwrap_err().contains("at least one"));
    }

    #[test]
    fn says_what_is_wrong_with_the_rest() {
        fn check(change: impl FnOnce(&mut Settings)) -> String {
            let mut settings = Settings::new(vec!["etcd:2379".to_owned()]);
            change(&mut settings);
            settings.check().unwrap_err()
        }
        assert!(check(|settings| settings.dial_timeout = Duration::ZERO).contains("dial_timeout"));
        assert!(check(|settings| settings.request_timeout = Duration::ZERO).contains("request_timeout"));
        assert!(check(|settings| settings.silence_timeout = Duration::from_secs(6)).contains("silence_timeout"));
        assert!(check(|settings| settings.domain_name = Some("etcd".to_owned())).contains("ca_certificate"));
        assert!(check(|settings| settings.ca_certificate = Some(b"/etc/ca.pem".into())).contains("PEM"));
        let error = check(|settings| {
            settings.ca_certificate = Some(PEM.into());
            settings.client_certificate = Some((PEM.into(), PEM.into()));
        });
        assert!(error.contains("its key"), "{error}");
    }
}
