//! TLS of listeners and of connections to other stations: TLS 1.2 and 1.3 over rustls, certificates and keys in PEM files.
//!
//! What always holds: a certificate is used with the key that belongs to it, or not at all; changed files are taken for the
//! connections that come after ([`crate::watched`]). A client's certificate, where one is asked for, is checked at each
//! connection: none is resumed.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Section,
    watched::{FileFault, Watched},
};

mod hosts;

pub use hosts::{HostsTls, HostsTlsConfig};

const CERTIFICATES: &str = "certificates in PEM, the station's own first";
const AUTHORITIES: &str = "certificates of authorities in PEM";
const KEY: &str = "the private key of the certificate in PEM, without a passphrase";

/// A certificate and its key, in files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdentityFiles {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl IdentityFiles {
    /// Reads `certificate` and `key`; none when there is neither.
    #[must_use]
    pub fn read(section: &Section) -> Option<Self> {
        let (certificate, key) = (section.optional("certificate"), section.optional("key"));
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Self { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                section.fault("key", "is missing beside certificate", KEY);
                None
            }
            (None, Some(_)) => {
                section.fault("certificate", "is missing beside key", CERTIFICATES);
                None
            }
        }
    }

    fn load(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FileFault> {
        let bytes = FileFault::read(&self.key, KEY)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|error| FileFault::new(&self.key, format!("holds no private key: {error}"), KEY))?;
        Ok((certificates(&self.certificate, CERTIFICATES)?, key))
    }

    fn fault(&self, error: &rustls::Error) -> FileFault {
        let problem = format!("cannot be used with the key in {}: {error}", self.key.display());
        FileFault::new(&self.certificate, problem, "a certificate and the key that belongs to it")
    }
}

/// The TLS of a listener, as the configuration names its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTlsConfig {
    /// Who we are.
    pub identity: IdentityFiles,
    /// Authorities whose certificates clients must show: mutual TLS.
    pub client_ca: Option<PathBuf>,
}

impl ServerTlsConfig {
    /// Reads `certificate`, `key` and `client_ca`; none when there is no certificate.
    #[must_use]
    pub fn read(section: &Section) -> Option<Self> {
        let (identity, client_ca) = (IdentityFiles::read(section), section.optional("client_ca"));
        if identity.is_none() && client_ca.is_some() {
            section.fault("client_ca", "stands without certificate and key", "all three for mutual TLS");
        }
        Some(Self { identity: identity?, client_ca })
    }

    fn load(&self) -> Result<ServerConfig, FileFault> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| self.identity.fault(&error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(roots(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                let verifier = verifier.map_err(|error| FileFault::new(file, error.to_string(), AUTHORITIES))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (chain, key) = self.identity.load()?;
        let mut config = builder.with_single_cert(chain, key).map_err(|error| self.identity.fault(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if self.client_ca.is_some() {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

/// The TLS of a listener.
#[derive(Debug)]
pub struct ServerTls {
    config: Watched<ServerConfig>,
    asks_clients: bool,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn open(config: &ServerTlsConfig) -> Result<Self, FileFault> {
        let IdentityFiles { certificate, key } = config.identity.clone();
        let files = [Some(certificate), Some(key), config.client_ca.clone()].into_iter().flatten().collect();
        let asks_clients = config.client_ca.is_some();
        let config = config.clone();
        Ok(Self { config: Watched::open(files, move || config.load())?, asks_clients })
    }

    /// Whether clients must show a certificate: mutual TLS.
    #[must_use]
    pub fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// Does the handshake on a connection.
    ///
    /// # Errors
    /// When the client speaks no TLS, or has no certificate that is asked for.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.current()).accept(stream).await
    }

    /// Follows the files until `shutdown`.
    ///
    /// # Errors
    /// When the process cannot listen for SIGHUP.
    pub async fn follow(&self, shutdown: CancellationToken) -> io::Result<()> {
        self.config.follow(shutdown).await
    }
}

/// The TLS of connections to another station, as the configuration names its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientTlsConfig {
    /// Authorities that the server's certificate must come from; none: those that browsers know.
    pub ca: Option<PathBuf>,
    /// Who we are, for a server that asks.
    pub identity: Option<IdentityFiles>,
    /// The name that the server's certificate must bear, when it is not the one that it is reached by.
    pub server_name: Option<String>,
}

impl ClientTlsConfig {
    /// Reads `ca`, `certificate`, `key` and `server_name`.
    #[must_use]
    pub fn read(section: &Section) -> Self {
        let server_name = section.optional::<String>("server_name");
        if let Some(name) = &server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            section.fault("server_name", format!("is {name:?}"), "a host's name or an IP address");
        }
        Self { ca: section.optional("ca"), identity: IdentityFiles::read(section), server_name }
    }

    fn load(&self, protocol: &[u8]) -> Result<ClientConfig, FileFault> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| FileFault::new(Path::new("TLS"), error.to_string(), "TLS 1.2 or 1.3"))?;
        let builder = builder.with_root_certificates(match &self.ca {
            Some(file) => roots(file)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        });
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.load()?;
                builder.with_client_auth_cert(chain, key).map_err(|error| identity.fault(&error))?
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(config)
    }
}

/// The TLS of connections to another station.
#[derive(Debug)]
pub struct ClientTls {
    config: Watched<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// Reads the files. `protocol` is what the connections are for, as ALPN names it: `h2`, `http/1.1`.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn open(config: &ClientTlsConfig, protocol: &'static [u8]) -> Result<Self, FileFault> {
        let identity = config.identity.iter().flat_map(|own| [own.certificate.clone(), own.key.clone()]);
        let files = config.ca.iter().cloned().chain(identity).collect();
        let server_name = config.server_name.clone().and_then(|name| ServerName::try_from(name).ok());
        let config = config.clone();
        Ok(Self { config: Watched::open(files, move || config.load(protocol))?, server_name })
    }

    /// Reads the files again if they have changed.
    pub fn look(&self) {
        self.config.look();
    }

    /// What rustls needs to know, as the files were last read.
    #[must_use]
    pub fn current(&self) -> Arc<ClientConfig> {
        self.config.current()
    }

    /// Does the handshake on a connection to the server of this host name or IP address.
    ///
    /// # Errors
    /// When the server is not who it should be, or does not want us.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?,
        };
        TlsConnector::from(self.current()).connect(name, stream).await
    }

    /// Follows the files until `shutdown`.
    ///
    /// # Errors
    /// When the process cannot listen for SIGHUP.
    pub async fn follow(&self, shutdown: CancellationToken) -> io::Result<()> {
        self.config.follow(shutdown).await
    }
}

/// Named in so many words: more than one provider may be linked in, and a library must not depend on which was chosen.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(file: &Path) -> Result<RootCertStore, FileFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, AUTHORITIES)? {
        roots.add(certificate).map_err(|error| FileFault::new(file, error.to_string(), AUTHORITIES))?;
    }
    Ok(roots)
}

fn certificates(file: &Path, expected: &'static str) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let bytes = FileFault::read(file, expected)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let read = read.map_err(|error| FileFault::new(file, format!("is no PEM: {error}"), expected))?;
    if read.is_empty() { Err(FileFault::new(file, "holds no certificate", expected)) } else { Ok(read) }
}

#[cfg(test)]
mod tests;
