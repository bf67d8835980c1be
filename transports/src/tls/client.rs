use std::{fmt, fs, path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem, pem::PemObject},
    server::ParsedCertificate,
};

use thiserror::Error;

use super::TlsConfigError;

/// Whom a client takes for its server. Cheap to clone.
///
/// ```no_run
/// use cereus_transports::TlsClientConfig;
///
/// // As a browser does it, and only with the key that one knows.
/// let tls = TlsClientConfig::system()?.pin_pem(b"the certificate")?;
/// // A server with a certificate of its own making, by its key alone.
/// let own = TlsClientConfig::pinned_pem(b"the certificate")?;
/// # Ok::<(), cereus_transports::TlsConfigError>(())
/// ```
#[derive(Clone)]
pub struct TlsClientConfig {
    rustls: Arc<ClientConfig>,
    verifier: Verifier,
}

impl TlsClientConfig {
    /// Servers with a certificate for the name that is connected to, from one whom this machine trusts.
    ///
    /// # Errors
    ///
    /// The machine has no such list.
    pub fn system() -> Result<Self, TlsConfigError> {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            return Err(TlsConfigError::NoRoots(found.errors.first().map(ToString::to_string).unwrap_or_default()));
        }
        Self::with_roots(found.certs)
    }

    /// Servers with a certificate for the name that is connected to, from one of these authorities, as PEM text.
    ///
    /// # Errors
    ///
    /// There is no certificate in it, or one that cannot be read.
    pub fn roots_pem(authorities: &[u8]) -> Result<Self, TlsConfigError> {
        Self::with_roots(read_pem(authorities, "the text")?)
    }

    /// As [`roots_pem`](Self::roots_pem), from a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, there is no certificate in it, or one that cannot be read.
    pub fn roots_file(authorities: impl Into<PathBuf>) -> Result<Self, TlsConfigError> {
        let file = authorities.into();
        let text = fs::read(&file).map_err(|error| TlsConfigError::File { file: file.clone(), error })?;
        Self::with_roots(read_pem(&text, &file.display().to_string())?)
    }

    /// Servers that have the public key of one of these certificates, as PEM text, whatever else theirs says.
    ///
    /// # Errors
    ///
    /// As [`roots_pem`](Self::roots_pem).
    pub fn pinned_pem(certificates: &[u8]) -> Result<Self, TlsConfigError> {
        Self::new(Verifier { roots: None, pins: Some(read_keys(certificates)?), algorithms: algorithms() })
    }

    /// Any server at all: for tests, and for a look at a server of one's own. Whoever is in between can read and change
    /// everything.
    ///
    /// # Errors
    ///
    /// None on any platform that is known.
    pub fn unverified() -> Result<Self, TlsConfigError> {
        Self::new(Verifier { roots: None, pins: None, algorithms: algorithms() })
    }

    /// Of these, only servers that have the public key of one of these certificates, as PEM text.
    ///
    /// # Errors
    ///
    /// As [`roots_pem`](Self::roots_pem).
    pub fn pin_pem(self, certificates: &[u8]) -> Result<Self, TlsConfigError> {
        Self::new(Verifier { pins: Some(read_keys(certificates)?), ..self.verifier })
    }

    fn with_roots(authorities: Vec<CertificateDer<'static>>) -> Result<Self, TlsConfigError> {
        let mut roots = RootCertStore::empty();
        // Those of a system may hold some that are too old to be read.
        roots.add_parsable_certificates(authorities);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .map_err(|error| TlsConfigError::NoRoots(error.to_string()))?;
        Self::new(Verifier { roots: Some(verifier), pins: None, algorithms: algorithms() })
    }

    fn new(verifier: Verifier) -> Result<Self, TlsConfigError> {
        let rustls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsConfigError::Unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier.clone()))
            .with_no_client_auth();
        Ok(Self { rustls: Arc::new(rustls), verifier })
    }

    pub(super) const fn rustls(&self) -> &Arc<ClientConfig> {
        &self.rustls
    }
}

impl fmt::Debug for TlsClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verifier { roots, pins, .. } = &self.verifier;
        let pins = pins.as_ref().map(|pins| pins.len());
        f.debug_struct("TlsClientConfig").field("checks_name", &roots.is_some()).field("pins", &pins).finish()
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    ring::default_provider().signature_verification_algorithms
}

fn read_pem(text: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let read = read.and_then(|all| if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) });
    read.map_err(|error| TlsConfigError::Chain { place: place.to_owned(), error })
}

fn read_keys(certificates: &[u8]) -> Result<Arc<[Vec<u8>]>, TlsConfigError> {
    let certificates = read_pem(certificates, "the text")?;
    certificates.iter().map(|certificate| public_key(certificate).map_err(TlsConfigError::Unusable)).collect()
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, rustls::Error> {
    Ok(ParsedCertificate::try_from(certificate)?.subject_public_key_info().to_vec())
}

#[derive(Debug, Error)]
#[error("the server's public key is not one of those that are pinned")]
struct NotPinned;

/// Looks at what a server shows.
#[derive(Clone, Debug)]
struct Verifier {
    roots: Option<Arc<WebPkiServerVerifier>>,
    pins: Option<Arc<[Vec<u8>]>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        if let Some(pins) = &self.pins
            && !pins.contains(&public_key(end_entity)?)
        {
            return Err(CertificateError::Other(OtherError(Arc::new(NotPinned))).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
