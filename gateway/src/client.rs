//! Who is at the other end of a connection.

use std::net::{IpAddr, SocketAddr};

/// The client of a connection; shared by its requests.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The TLS that was agreed on; none for plain text.
    pub tls: Option<TlsFacts>,
}

/// What a TLS handshake came to.
#[derive(Clone, Debug)]
pub(crate) struct TlsFacts {
    /// `TLSv1.2`, `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's name.
    pub cipher: &'static str,
    /// The server name that the client asked for.
    pub server_name: Option<String>,
}

impl Client {
    /// Its address.
    pub(crate) fn address(&self) -> IpAddr {
        self.peer.ip()
    }
}
