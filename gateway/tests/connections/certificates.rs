//! TLS on real sockets: certificates by name, what was agreed on, and handshakes that fail.

use std::{fs, path::Path, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, pki_types::ServerName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::setting::{Setting, rest};

/// An authority in a directory.
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    roots: RootCertStore,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone()).unwrap();
        Self { directory: TempDir::new().unwrap(), issuer: Issuer::new(params, key), roots }
    }

    /// Writes `own.pem` and `own.key` for this host; the keys of `[gateway.tls]`.
    fn issue(&self, host: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        fs::write(Path::new(&path("own.pem")), certificate.pem()).unwrap();
        fs::write(Path::new(&path("own.key")), key.serialize_pem()).unwrap();
        format!(
            "listen_tls = \"127.0.0.1:0\"\n[gateway.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
            path("own.pem"),
            path("own.key")
        )
    }

    fn client(&self, protocols: &[&str]) -> ClientConfig {
        let mut config = ClientConfig::builder().with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

async fn connect(
    setting: &Setting,
    config: &Arc<ClientConfig>,
    host: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(setting.tls_address.unwrap()).await?;
    TlsConnector::from(Arc::clone(config)).connect(ServerName::try_from(host).unwrap(), stream).await
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET /mock HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn requests_come_by_tls_and_sessions_are_resumed() {
    let authority = Authority::new();
    let setting = Setting::start(&authority.issue("a.test")).await;
    let config = Arc::new(authority.client(&["http/1.1"]));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let mut stream = connect(&setting, &config, "a.test").await.unwrap();
        assert!(ask(&mut stream).await.ends_with("mocked"));
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind));
    }
    let both = Arc::new(authority.client(&["h2", "http/1.1"]));
    let stream = connect(&setting, &both, "a.test").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let asked = async {
        let request = http::Request::get("https://a.test/mock").body(()).unwrap();
        client.send_request(request, true).unwrap().0.await.unwrap().status()
    };
    tokio::select! {
        status = asked => assert_eq!(status, 200),
        ended = connection => panic!("{ended:?}"),
    }
    // What hides in a TLS connection is refused as elsewhere.
    let mut stream = connect(&setting, &config, "a.test").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: 1\ny: 2\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.starts_with(b"HTTP/1.1 400"), "{}", bytes.escape_ascii());
    setting.ended().await;
}

#[tokio::test]
async fn a_new_certificate_is_taken_for_the_connections_that_come_after() {
    let authority = Authority::new();
    let setting = Setting::start(&authority.issue("a.test")).await;
    let fresh = || Arc::new(authority.client(&["http/1.1"]));
    assert!(connect(&setting, &fresh(), "a.test").await.is_ok());
    assert!(connect(&setting, &fresh(), "b.test").await.is_err());
    authority.issue("b.test");
    while connect(&setting, &fresh(), "b.test").await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    setting.ended().await;
}

#[tokio::test]
async fn handshakes_that_fail_are_counted_by_their_reason() {
    let authority = Authority::new();
    let config = authority.issue("a.test").replace("[gateway.tls]", "[gateway.tls]\nhandshake_timeout = \"300ms\"");
    let setting = Setting::start(&config).await;
    let address = setting.tls_address.unwrap();
    let mut http = TcpStream::connect(address).await.unwrap();
    http.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let answer = rest(&mut http).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("HTTPS"), "{answer}");
    let mut silent = TcpStream::connect(address).await.unwrap();
    drop(TcpStream::connect(address).await.unwrap());
    let mut malformed = TcpStream::connect(address).await.unwrap();
    malformed.write_all(&[0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9]).await.unwrap();
    let mut bytes = Vec::new();
    malformed.read_to_end(&mut bytes).await.unwrap();
    // A ClientHello of TLS 1.0.
    let mut old = TcpStream::connect(address).await.unwrap();
    let hello = [&[3, 1], [7; 32].as_slice(), &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let handshake = [&[1, 0, 0, u8::try_from(hello.len()).unwrap()], &hello[..]].concat();
    let record = [&[0x16, 3, 1, 0, u8::try_from(handshake.len()).unwrap()], &handshake[..]].concat();
    old.write_all(&record).await.unwrap();
    old.read_to_end(&mut bytes).await.unwrap();
    assert!(connect(&setting, &Arc::new(authority.client(&[])), "other.test").await.is_err());
    assert_eq!(rest(&mut silent).await, "");
    for reason in ["plain_http", "timeout", "closed", "malformed", "no_common_version", "certificate_refused"] {
        setting.until(&format!("weir_gateway_tls_failures_total{{reason=\"{reason}\"}}"), 1).await;
    }
    setting.ended().await;
}
