//! What a station shows to another one, and whom it trusts: the client's side of [`crate::tls`] and [`crate::token`].

use std::{future::pending, io, path::PathBuf};

use axum::http::HeaderValue;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Section,
    tls::{ClientTls, ClientTlsConfig},
    token::OwnToken,
    watched::FileFault,
};

/// How another station is reached, as the configuration says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialsConfig {
    /// For addresses that begin with `https://`.
    pub tls: ClientTlsConfig,
    /// The file of the token that is shown.
    pub token_file: Option<PathBuf>,
}

impl CredentialsConfig {
    /// Reads the key `token_file` and the table `tls`. A token is not shown to one of `addresses` that could be overheard:
    /// that is a fault.
    #[must_use]
    pub fn read(section: &Section, addresses: &[String]) -> Self {
        let config =
            Self { tls: ClientTlsConfig::read(&section.section("tls")), token_file: section.optional("token_file") };
        let overheard = addresses.iter().find(|address| !is_https(address) && !is_loopback(address));
        if let (Some(_), Some(address)) = (&config.token_file, overheard) {
            section.fault(
                "token_file",
                format!("would be shown to {address:?} in plain text"),
                "\"https://host:port\"",
            );
        }
        config
    }
}

/// What is shown and trusted now.
#[derive(Debug)]
pub struct Credentials {
    /// For addresses that begin with `https://`; none when there are no such addresses.
    pub tls: Option<ClientTls>,
    token: Option<OwnToken>,
}

impl Credentials {
    /// Reads the files. `protocol` is what the connections are for, as ALPN names it: `h2`, `http/1.1`.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn open(config: &CredentialsConfig, addresses: &[String], protocol: &'static [u8]) -> Result<Self, FileFault> {
        let needs_tls = addresses.iter().any(|address| is_https(address));
        let tls = if needs_tls { Some(ClientTls::open(&config.tls, protocol)?) } else { None };
        Ok(Self { tls, token: config.token_file.as_deref().map(OwnToken::open).transpose()? })
    }

    /// The value of the `authorization` header, if a token is shown.
    #[must_use]
    pub fn authorization(&self) -> Option<HeaderValue> {
        self.token.as_ref().map(OwnToken::header)
    }

    /// Reads the files again if they have changed: for a station that asks seldom, and can look each time.
    pub fn look(&self) {
        if let Some(tls) = &self.tls {
            tls.look();
        }
        if let Some(token) = &self.token {
            token.look();
        }
    }

    /// Follows the files until `shutdown`.
    ///
    /// # Errors
    /// When the process cannot listen for SIGHUP.
    pub async fn follow(&self, shutdown: CancellationToken) -> io::Result<()> {
        let tls = async {
            match &self.tls {
                Some(tls) => tls.follow(shutdown.clone()).await,
                None => pending().await,
            }
        };
        let token = async {
            match &self.token {
                Some(token) => token.follow(shutdown.clone()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ended = tls => ended,
            ended = token => ended,
        }
    }
}

fn is_https(address: &str) -> bool {
    address.starts_with("https://")
}

fn is_loopback(address: &str) -> bool {
    let authority = address.trim_start_matches("http://");
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Document;

    #[test]
    fn a_token_is_not_sent_where_it_could_be_overheard() {
        let faults = |address: &str| {
            let document = Document::parse("[a]\ntoken_file = \"t\"", Vec::new()).unwrap();
            let _config = CredentialsConfig::read(&document.section("a"), &[address.to_owned()]);
            document.finish(&[]).err().map(|faults| faults.to_string())
        };
        for address in ["http://127.0.0.1:4317", "http://localhost:4317", "http://[::1]:4317", "https://far:4317"] {
            assert_eq!(faults(address), None);
        }
        assert!(faults("http://far:4317").unwrap().starts_with("a.token_file: would be shown to \"http://far:4317\""));
    }
}
