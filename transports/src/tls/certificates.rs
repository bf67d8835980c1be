use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use thiserror::Error;

/// Certificates and keys, for all connections of any number of endpoints. Cheap to clone; clones share what is reloaded.
///
/// ```no_run
/// use cereus_transports::{Tcp, TlsConfig};
///
/// let tls = TlsConfig::from_files("server.crt", "server.key")?.add_files("play.example.com", "play.crt", "play.key")?;
/// let endpoint = Tcp::bind("0.0.0.0:3250").tls(&tls);
/// assert_eq!(endpoint.to_string(), "tls://0.0.0.0:3250");
///
/// // Later, when the files are new ones: connections that are open go on with the old ones.
/// tls.reload()?;
/// # Ok::<(), cereus_transports::TlsConfigError>(())
/// ```
#[derive(Clone)]
pub struct TlsConfig {
    rustls: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

impl TlsConfig {
    /// A certificate chain and its private key, in PEM files, for every name that a client asks for.
    ///
    /// # Errors
    ///
    /// A file cannot be read, holds no certificate or no key, or they do not belong together.
    pub fn from_files(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsConfigError> {
        Self::new(Source::Files { chain: chain.into(), key: key.into() })
    }

    /// A certificate chain and its private key, as PEM text, for every name that a client asks for.
    ///
    /// # Errors
    ///
    /// It holds no certificate or no key, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsConfigError> {
        Self::new(Source::memory(chain, key))
    }

    fn new(source: Source) -> Result<Self, TlsConfigError> {
        let provider = Arc::new(ring::default_provider());
        let default = Entry::load(source, &provider)?;
        let table = RwLock::new(Table { default, by_name: BTreeMap::new() });
        let certificates = Arc::new(Certificates { provider: Arc::clone(&provider), table });
        let rustls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsConfigError::Unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        Ok(Self { rustls: Arc::new(rustls), certificates })
    }

    /// Others for clients that ask for this name (SNI), in PEM files.
    ///
    /// # Errors
    ///
    /// As [`from_files`](Self::from_files).
    pub fn add_files(
        self,
        name: impl Into<String>,
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsConfigError> {
        self.add(name.into(), Source::Files { chain: chain.into(), key: key.into() })
    }

    /// Others for clients that ask for this name (SNI), as PEM text. A name that is there already gets new ones.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem).
    pub fn add_pem(self, name: impl Into<String>, chain: &[u8], key: &[u8]) -> Result<Self, TlsConfigError> {
        self.add(name.into(), Source::memory(chain, key))
    }

    fn add(self, name: String, source: Source) -> Result<Self, TlsConfigError> {
        let entry = Entry::load(source, &self.certificates.provider)?;
        self.certificates.change(|table| drop(table.by_name.insert(name.to_ascii_lowercase(), entry)));
        Ok(self)
    }

    /// Reads all files again, for connections to come. When one of them is wrong everything stays as it was.
    ///
    /// # Errors
    ///
    /// As [`from_files`](Self::from_files).
    pub fn reload(&self) -> Result<(), TlsConfigError> {
        let Table { default, by_name } = self.certificates.read(Table::clone);
        let load = |entry: Entry| Entry::load(entry.source, &self.certificates.provider);
        let default = load(default)?;
        let by_name = by_name.into_iter().map(|(name, entry)| Ok((name, load(entry)?)));
        let by_name = by_name.collect::<Result<_, TlsConfigError>>()?;
        self.certificates.change(|table| *table = Table { default, by_name });
        Ok(())
    }

    /// Takes other ones than before for every name that has none of its own, as PEM text, for connections to come.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem); then everything stays as it was.
    pub fn replace_pem(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsConfigError> {
        let default = Entry::load(Source::memory(chain, key), &self.certificates.provider)?;
        self.certificates.change(|table| table.default = default);
        Ok(())
    }

    pub(super) const fn rustls(&self) -> &Arc<ServerConfig> {
        &self.rustls
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.certificates.read(|table| table.by_name.keys().cloned().collect());
        f.debug_struct("TlsConfig").field("names", &names).finish_non_exhaustive()
    }
}

/// Why certificates or keys cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// There is no certificate, or none that can be read.
    #[error("{place} has no certificate chain in PEM form: {error}")]
    Chain {
        /// Where it was looked for.
        place: String,
        /// Why.
        #[source]
        error: pem::Error,
    },
    /// There is no private key, or none that can be read.
    #[error("{place} has no private key in PEM form: {error}")]
    Key {
        /// Where it was looked for.
        place: String,
        /// Why.
        #[source]
        error: pem::Error,
    },
    /// No certificate authority is known.
    #[error("there are no certificate authorities to trust {0}")]
    NoRoots(String),
    /// This is no name that a certificate could be for.
    #[error("`{0}` is neither the name of a server nor an address")]
    Name(String),
    /// They cannot be used, or not with each other.
    #[error("the certificate chain and the private key cannot be used: {0}")]
    Unusable(#[source] rustls::Error),
}

/// Where a chain and its key come from.
#[derive(Clone)]
enum Source {
    Files { chain: PathBuf, key: PathBuf },
    Memory { chain: Arc<[u8]>, key: Arc<[u8]> },
}

impl Source {
    fn memory(chain: &[u8], key: &[u8]) -> Self {
        Self::Memory { chain: chain.into(), key: key.into() }
    }
}

#[derive(Clone)]
struct Entry {
    source: Source,
    certified: Arc<CertifiedKey>,
}

impl Entry {
    fn load(source: Source, provider: &CryptoProvider) -> Result<Self, TlsConfigError> {
        let certified = match &source {
            Source::Files { chain, key } => certify(
                (&read(chain)?, chain.display().to_string()),
                (&read(key)?, key.display().to_string()),
                provider,
            )?,
            Source::Memory { chain, key } => {
                certify((chain, "the text".to_owned()), (key, "the text".to_owned()), provider)?
            }
        };
        Ok(Self { source, certified: Arc::new(certified) })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsConfigError> {
    fs::read(file).map_err(|error| TlsConfigError::File { file: file.to_owned(), error })
}

fn certify(
    (chain, chain_place): (&[u8], String),
    (key, key_place): (&[u8], String),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsConfigError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) });
    let chain = chain.map_err(|error| TlsConfigError::Chain { place: chain_place, error })?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsConfigError::Key { place: key_place, error })?;
    CertifiedKey::from_der(chain, key, provider).map_err(TlsConfigError::Unusable)
}

/// What is shown to whom.
struct Certificates {
    provider: Arc<CryptoProvider>,
    table: RwLock<Table>,
}

#[derive(Clone)]
struct Table {
    default: Entry,
    by_name: BTreeMap<String, Entry>,
}

impl Certificates {
    // Nothing panics with the lock held.
    fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has checked the name and made it lower case.
        self.read(|table| {
            let named = hello.server_name().and_then(|name| table.by_name.get(name));
            Some(Arc::clone(&named.unwrap_or(&table.default).certified))
        })
    }
}
