//! Listening sockets, and the rule that none is open to the world by accident.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

use crate::config::Section;

/// Whether a station may listen, without TLS and authentication, on an address that others can reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exposure {
    /// Only on the loopback addresses.
    #[default]
    Loopback,
    /// Anywhere: the configuration says so in so many words.
    Anywhere,
}

impl Exposure {
    /// Reads the key `allow_plaintext_listener` of a section.
    #[must_use]
    pub fn read(section: &Section) -> Self {
        if section.value("allow_plaintext_listener", false) { Self::Anywhere } else { Self::Loopback }
    }

    /// Whether this address may be listened on, with nothing before it.
    ///
    /// # Errors
    /// When it is not a loopback address and nobody said that this is meant.
    pub fn check(self, address: SocketAddr) -> Result<(), ListenError> {
        self.check_guarded(address, Guard::default())
    }

    /// Whether this address may be listened on, with this before it.
    ///
    /// # Errors
    /// When it is not a loopback address, TLS or authentication is missing, and nobody said that this is meant.
    pub fn check_guarded(self, address: SocketAddr, guard: Guard) -> Result<(), ListenError> {
        match guard.missing() {
            Some(missing) if self == Self::Loopback && !address.ip().is_loopback() => {
                Err(ListenError::Exposed { address, missing })
            }
            _ => Ok(()),
        }
    }
}

/// What stands before a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// TLS: nobody on the way reads or changes what is sent.
    pub tls: bool,
    /// Tokens, or certificates of clients: nobody is let in who is not known.
    pub authentication: bool,
}

impl Guard {
    fn missing(self) -> Option<&'static str> {
        match (self.tls, self.authentication) {
            (true, true) => None,
            (false, true) => Some("TLS"),
            (true, false) => Some("authentication"),
            (false, false) => Some("TLS and authentication"),
        }
    }
}

/// A socket that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is not loopback, and TLS or authentication is missing.
    #[error(
        "will not listen on {address}: others could reach it without {missing}; \
         listen on 127.0.0.1, or set allow_plaintext_listener = true in this section if that is meant"
    )]
    Exposed {
        /// The address asked for.
        address: SocketAddr,
        /// What is missing.
        missing: &'static str,
    },
    /// The system refused.
    #[error("cannot listen on {address}: {}; free the port, choose another, or use port 0 for any free one", reason(.source))]
    Refused {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process already does".to_owned(),
        _ => error.to_string(),
    }
}

/// Listens on an address, with nothing before it; port 0 takes any free one.
///
/// # Errors
/// When the rule or the system refuses.
pub async fn bind(address: SocketAddr, exposure: Exposure) -> Result<TcpListener, ListenError> {
    bind_guarded(address, exposure, Guard::default()).await
}

/// Listens on an address, with this before it; port 0 takes any free one.
///
/// # Errors
/// When the rule or the system refuses.
pub async fn bind_guarded(address: SocketAddr, exposure: Exposure, guard: Guard) -> Result<TcpListener, ListenError> {
    exposure.check_guarded(address, guard)?;
    TcpListener::bind(address).await.map_err(|source| ListenError::Refused { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_others_can_reach_is_refused_unless_it_is_meant() {
        let open: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let error = bind(open, Exposure::Loopback).await.unwrap_err();
        assert!(error.to_string().contains("allow_plaintext_listener"), "{error}");
        assert!(bind(open, Exposure::Anywhere).await.is_ok());
    }

    #[test]
    fn both_tls_and_authentication_stand_before_an_address_that_others_can_reach() {
        let open: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let missing = |tls, authentication| {
            let checked = Exposure::Loopback.check_guarded(open, Guard { tls, authentication });
            checked.err().map(|error| error.to_string())
        };
        assert!(missing(false, false).unwrap().contains("without TLS and authentication;"));
        assert!(missing(true, false).unwrap().contains("without authentication;"));
        assert!(missing(false, true).unwrap().contains("without TLS;"));
        assert_eq!(missing(true, true), None);
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = bind("127.0.0.1:0".parse().unwrap(), Exposure::Loopback).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address, Exposure::Loopback).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: another process")), "{error}");
    }
}
