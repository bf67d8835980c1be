use std::{fmt, time::Duration};

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Error, Identity, ServerTlsConfig};

/// What is shown and asked for when connections are encrypted. All of it is in PEM.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// The own certificate, followed by those that lead to the authority, and its key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Who signs servers.
    pub(crate) authority: Option<Vec<u8>>,
    /// Who signs clients.
    pub(crate) client_authority: Option<Vec<u8>>,
    /// Whom a server's certificate names, if not its host.
    pub(crate) name: Option<String>,
}

impl Tls {
    /// How calls are taken in.
    pub(crate) fn server(&self, patience: Duration) -> Result<Option<ServerTlsConfig>, String> {
        let Some(identity) = self.identity()? else {
            return match self.client_authority {
                Some(_) => Err("clients are to show certificates, but `tls_identity` is missing".to_owned()),
                None => Ok(None),
            };
        };
        let config = ServerTlsConfig::new().identity(identity).timeout(patience);
        let authority = certificate("tls_client_ca", self.client_authority.as_deref())?;
        Ok(Some(match authority {
            Some(authority) => config.client_ca_root(authority),
            None => config,
        }))
    }

    /// How others are called.
    pub(crate) fn client(&self, patience: Duration) -> Result<Option<ClientTls>, String> {
        let Some(authority) = certificate("tls_ca", self.authority.as_deref())? else {
            return Ok(None);
        };
        let mut config = ClientTlsConfig::new().ca_certificate(authority).timeout(patience);
        if let Some(identity) = self.identity()? {
            config = config.identity(identity);
        }
        if let Some(name) = &self.name {
            config = config.domain_name(name);
        }
        Ok(Some(ClientTls(config)))
    }

    fn identity(&self) -> Result<Option<Identity>, String> {
        let Some((certificates, key)) = &self.identity else {
            return Ok(None);
        };
        certificate("tls_identity", Some(certificates))?;
        Ok(Some(Identity::from_pem(certificates, key)))
    }
}

/// How others are called: what the library has would tell the key to whoever looks.
#[derive(Clone)]
pub(crate) struct ClientTls(ClientTlsConfig);

impl ClientTls {
    pub(crate) fn apply(&self, endpoint: Endpoint) -> Result<Endpoint, Error> {
        endpoint.tls_config(self.0.clone())
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

/// Text without a certificate would be taken for an authority that has signed nobody.
fn certificate(setting: &str, pem: Option<&[u8]>) -> Result<Option<Certificate>, String> {
    let Some(pem) = pem else {
        return Ok(None);
    };
    if !String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(format!("there is no certificate in what `{setting}` was given: it takes the text of a PEM file"));
    }
    Ok(Some(Certificate::from_pem(pem)))
}

/// Why the library does not take certificates or keys.
pub(crate) fn unusable(error: &Error) -> String {
    format!("the certificates or the key cannot be used: {}", super::chain(error))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (identity, authority) = (self.identity.is_some(), self.authority.is_some());
        f.debug_struct("Tls").field("identity", &identity).field("authority", &authority).finish_non_exhaustive()
    }
}
