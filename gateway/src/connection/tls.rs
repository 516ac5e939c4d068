//! The TLS handshake of a client, and why it fails.

use std::{io, sync::Arc, time::Duration};

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible, ProtocolVersion, ServerConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The answer to a client that speaks HTTP where TLS is spoken.
const PLAIN_HTTP_ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 66\r\n\
connection: close\r\n\r\n{\"message\":\"The plain HTTP request was sent to an HTTPS address\"}\n";

/// How long it may take to hear that.
const PLAIN_HTTP_LINGER: Duration = Duration::from_millis(500);

/// Why there was no handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// The client speaks neither TLS 1.2 nor 1.3.
    NoCommonVersion,
    /// No cipher suite, group or signature scheme that both know.
    NoCommonCipher,
    /// The client named a host for which there is no certificate, or none, and there is no default.
    UnknownName,
    /// The client does not want our certificate.
    CertificateRefused,
    /// It took too long.
    Timeout,
    /// The client speaks HTTP without TLS.
    PlainHttp,
    /// The client went away.
    Closed,
    /// What the client says is no TLS, or breaks its rules.
    Malformed,
}

impl TlsFailure {
    /// Every reason, in its order.
    pub(crate) const ALL: [Self; 8] = [
        Self::NoCommonVersion,
        Self::NoCommonCipher,
        Self::UnknownName,
        Self::CertificateRefused,
        Self::Timeout,
        Self::PlainHttp,
        Self::Closed,
        Self::Malformed,
    ];

    /// Its one spelling, in metrics and records.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NoCommonVersion => "no_common_version",
            Self::NoCommonCipher => "no_common_cipher",
            Self::UnknownName => "unknown_name",
            Self::CertificateRefused => "certificate_refused",
            Self::Timeout => "timeout",
            Self::PlainHttp => "plain_http",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
        }
    }

    fn of(error: &io::Error) -> Self {
        let Some(tls) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else { return Self::Closed };
        match tls {
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            )
            | Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => Self::NoCommonVersion,
            // Clients of before TLS 1.2 do not say which they sign with.
            Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired) => Self::NoCommonVersion,
            Error::PeerIncompatible(_) | Error::AlertReceived(AlertDescription::HandshakeFailure) => {
                Self::NoCommonCipher
            }
            // What rustls says when there is no certificate for the name.
            Error::General(_) => Self::UnknownName,
            Error::AlertReceived(
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::UnrecognisedName,
            ) => Self::CertificateRefused,
            Error::AlertReceived(AlertDescription::CloseNotify | AlertDescription::UserCanceled) => Self::Closed,
            _ => Self::Malformed,
        }
    }
}

/// What a handshake came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFacts {
    /// As API Gateway spells it in `$context.tlsVersion`: `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its name at IANA: `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The host that the client named.
    pub sni: Option<String>,
    /// Whether HTTP/2 was agreed on (ALPN).
    pub is_http2: bool,
}

/// Does the handshake, within a time.
pub(crate) async fn handshake(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    limit: Duration,
) -> Result<(TlsStream<TcpStream>, TlsFacts), TlsFailure> {
    let deadline = Instant::now() + limit;
    let mut first = [0];
    match timeout_at(deadline, stream.peek(&mut first)).await {
        Ok(Ok(1..)) if first[0].is_ascii_uppercase() => {
            answer_plain_http(stream).await;
            return Err(TlsFailure::PlainHttp);
        }
        Ok(Ok(1..)) => {}
        Ok(Ok(0) | Err(_)) => return Err(TlsFailure::Closed),
        Err(_) => return Err(TlsFailure::Timeout),
    }
    let accepted = timeout_at(deadline, TlsAcceptor::from(config).accept(stream)).await;
    let stream = accepted.map_err(|_| TlsFailure::Timeout)?.map_err(|error| TlsFailure::of(&error))?;
    let (_, session) = stream.get_ref();
    let facts = TlsFacts {
        version: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).map_or("", iana),
        sni: session.server_name().map(str::to_owned),
        is_http2: session.alpn_protocol() == Some(b"h2"),
    };
    Ok((stream, facts))
}

/// Whether the client hears it is its own affair.
async fn answer_plain_http(mut stream: TcpStream) {
    let answer = async {
        stream.write_all(PLAIN_HTTP_ANSWER).await?;
        stream.shutdown().await?;
        // A close with something unread would take the answer back.
        let mut request = [0; 1_024];
        while stream.read(&mut request).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(PLAIN_HTTP_LINGER, answer).await;
}

/// A TLS 1.3 suite's name at IANA: rustls marks them with the version.
fn iana(name: &'static str) -> &'static str {
    match name {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        other => other,
    }
}
