//! Certificates for tests, made on the spot by an authority of their own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority, and the directory where its certificates go.
#[derive(Debug)]
pub struct Certificates {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    pub ca: PathBuf,
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificates {
    /// A new authority; its certificate is `NAME.pem`.
    ///
    /// # Panics
    /// When it cannot be made or written: then the test cannot go on.
    #[must_use]
    pub fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("keys can be made");
        let ca = directory.join(format!("{name}.pem"));
        let certificate = params.self_signed(&key).expect("an authority signs itself");
        fs::write(&ca, certificate.pem()).expect("the directory of a test can be written");
        Self { directory: directory.to_owned(), issuer: Issuer::new(params, key), ca }
    }

    /// Issues a certificate for these names, `NAME.pem` and `NAME.key`; written over those from before.
    ///
    /// # Panics
    /// When it cannot be made or written: then the test cannot go on.
    #[must_use]
    pub fn issue(&self, name: &str, hosts: &[&str]) -> CertificateFiles {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let params = CertificateParams::new(hosts).expect("the names are names");
        let own = KeyPair::generate().expect("keys can be made");
        let certificate = params.signed_by(&own, &self.issuer).expect("the authority signs");
        let files = CertificateFiles {
            certificate: self.directory.join(format!("{name}.pem")),
            key: self.directory.join(format!("{name}.key")),
        };
        fs::write(&files.certificate, certificate.pem()).expect("the directory of a test can be written");
        fs::write(&files.key, own.serialize_pem()).expect("the directory of a test can be written");
        files
    }
}
