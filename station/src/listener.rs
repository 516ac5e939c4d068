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

    /// Whether this address may be listened on.
    ///
    /// # Errors
    /// When it is not a loopback address and nobody said that this is meant.
    pub fn check(self, address: SocketAddr) -> Result<(), ListenError> {
        if self == Self::Anywhere || address.ip().is_loopback() {
            return Ok(());
        }
        Err(ListenError::Exposed { address })
    }
}

/// A socket that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is not loopback and there is neither TLS nor authentication.
    #[error(
        "will not listen on {address}: others could reach it without TLS and authentication; \
         listen on 127.0.0.1, or set allow_plaintext_listener = true in this section if that is meant"
    )]
    Exposed {
        /// The address asked for.
        address: SocketAddr,
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

/// Listens on an address; port 0 takes any free one.
///
/// # Errors
/// When the rule or the system refuses.
pub async fn bind(address: SocketAddr, exposure: Exposure) -> Result<TcpListener, ListenError> {
    exposure.check(address)?;
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

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = bind("127.0.0.1:0".parse().unwrap(), Exposure::Loopback).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address, Exposure::Loopback).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: another process")), "{error}");
    }
}
