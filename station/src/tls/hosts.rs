//! The TLS of a listener that serves several names, each with a certificate of its own (SNI, RFC 6066).
//!
//! What always holds: when files change, all certificates are taken anew or none. Sessions are resumed by tickets, which
//! cost no memory here, and across a change of files.

use std::{collections::HashMap, io, path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{ClientHello, ProducesTickets, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_util::sync::CancellationToken;

use super::{IdentityFiles, provider};
use crate::watched::{FileFault, Watched};

/// The certificates of a listener, as the configuration names their files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsTlsConfig {
    /// For clients that name no host, or one that is not below; without it, those are refused.
    pub default: Option<IdentityFiles>,
    /// For the clients of a host, or of all hosts one level below a domain: `*.example.com`. Names are in lower case.
    pub hosts: Vec<(String, IdentityFiles)>,
}

impl HostsTlsConfig {
    /// Whether there is no certificate at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.default.is_none() && self.hosts.is_empty()
    }

    fn load(&self, tickets: &Arc<dyn ProducesTickets>) -> Result<ServerConfig, FileFault> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| FileFault::new(Path::new("TLS"), error.to_string(), "TLS 1.2 or 1.3"))?;
        let default = self.default.as_ref().map(certified).transpose()?;
        let hosts = self.hosts.iter().map(|(host, files)| Ok((host.to_ascii_lowercase(), certified(files)?)));
        let certificates = Certificates { default, hosts: hosts.collect::<Result<_, FileFault>>()? };
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Arc::clone(tickets);
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

fn certified(files: &IdentityFiles) -> Result<Arc<CertifiedKey>, FileFault> {
    let (chain, key) = files.load()?;
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(|error| files.fault(&error))
}

/// The certificates, by the names that they are for.
#[derive(Debug)]
struct Certificates {
    default: Option<Arc<CertifiedKey>>,
    hosts: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    /// A host's own certificate, or else that of its domain, or else the default. `host` is in lower case.
    fn find(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let of_domain = || self.hosts.get(&format!("*{}", &host[host.find('.')?..]));
        self.hosts.get(host).or_else(of_domain).or(self.default.as_ref())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name() {
            Some(host) => self.find(&host.to_ascii_lowercase()).map(Arc::clone),
            None => self.default.clone(),
        }
    }
}

/// The TLS of a listener that serves several names.
#[derive(Debug)]
pub struct HostsTls {
    config: Watched<ServerConfig>,
}

impl HostsTls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn open(config: &HostsTlsConfig) -> Result<Self, FileFault> {
        let tickets = Ticketer::new()
            .map_err(|error| FileFault::new(Path::new("TLS"), error.to_string(), "a source of random keys"))?;
        let identities = config.default.iter().chain(config.hosts.iter().map(|(_, files)| files));
        let files = identities.flat_map(|files| [files.certificate.clone(), files.key.clone()]).collect();
        let config = config.clone();
        Ok(Self { config: Watched::open(files, move || config.load(&tickets))? })
    }

    /// What rustls needs to know, as the files were last read.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.config.current()
    }

    /// Reads the files again if they have changed.
    pub fn look(&self) {
        self.config.look();
    }

    /// Follows the files until `shutdown`.
    ///
    /// # Errors
    /// When the process cannot listen for SIGHUP.
    pub async fn follow(&self, shutdown: CancellationToken) -> io::Result<()> {
        self.config.follow(shutdown).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use weir_tests::{CertificateFiles, Certificates as Authority};

    use super::*;

    fn identity(files: &CertificateFiles) -> IdentityFiles {
        IdentityFiles { certificate: files.certificate.clone(), key: files.key.clone() }
    }

    #[test]
    fn a_host_has_its_own_certificate_or_its_domains_or_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "ca");
        let issue = |name: &str| certified(&identity(&authority.issue(name, &[name]))).unwrap();
        let [own, domain, default] = ["own.test", "domain.test", "default.test"].map(issue);
        let hosts = [("a.example.com", &own), ("*.example.com", &domain)];
        let hosts = hosts.map(|(host, key)| (host.to_owned(), Arc::clone(key)));
        let mut certificates = Certificates { default: Some(Arc::clone(&default)), hosts: HashMap::from(hosts) };
        let found = |certificates: &Certificates, host: &str| {
            let found = certificates.find(host).map(|key| key.cert[0].clone());
            [&own, &domain, &default].iter().position(|key| Some(&key.cert[0]) == found.as_ref())
        };
        let expected =
            [("a.example.com", 0), ("b.example.com", 1), ("c.b.example.com", 2), ("example.com", 2), ("x", 2)];
        for (host, index) in expected {
            assert_eq!(found(&certificates, host), Some(index), "{host}");
        }
        certificates.default = None;
        assert_eq!(found(&certificates, "b.example.com"), Some(1));
        assert_eq!(found(&certificates, "example.com"), None);
    }

    #[test]
    fn all_certificates_change_or_none_does() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "ca");
        let (a, b) = (authority.issue("a", &["a.test"]), authority.issue("b", &["b.test"]));
        let hosts = vec![("a.test".to_owned(), identity(&a)), ("b.test".to_owned(), identity(&b))];
        let tls = HostsTls::open(&HostsTlsConfig { default: None, hosts }).unwrap();
        let before = tls.current();
        drop(authority.issue("a", &["a.test"]));
        fs::write(&b.key, "no key").unwrap();
        let fault = tls.config.refresh().unwrap_err().to_string();
        assert!(fault.contains("b.key: holds no private key"), "{fault}");
        assert!(Arc::ptr_eq(&before, &tls.current()));
        drop(authority.issue("b", &["b.test"]));
        assert_eq!(tls.config.refresh(), Ok(true));
        assert!(!Arc::ptr_eq(&before, &tls.current()));
    }
}
