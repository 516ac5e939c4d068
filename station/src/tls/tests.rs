//! TLS between both ends of a connection on the loopback address, with certificates that are made here.

use std::fs;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use weir_tests::Certificates;

use super::*;
use crate::config::Document;

fn identity(files: &weir_tests::CertificateFiles) -> IdentityFiles {
    IdentityFiles { certificate: files.certificate.clone(), key: files.key.clone() }
}

/// Whether a byte comes through, and why not.
async fn exchange(server: &ServerTls, client: &ClientTls, host: &str) -> io::Result<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let stream = TcpStream::connect(listener.local_addr()?).await?;
    let serve = async {
        let mut stream = server.accept(listener.accept().await?.0).await?;
        stream.write_u8(7).await?;
        stream.shutdown().await
    };
    let ask = async {
        let mut stream = client.connect(host, stream).await?;
        let byte = stream.read_u8().await?;
        stream.shutdown().await?;
        Ok(byte)
    };
    let (served, byte) = tokio::join!(serve, ask);
    served.and(byte)
}

#[tokio::test]
async fn a_client_trusts_the_authority_that_it_was_told_of_and_the_name_that_it_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, others) = (Certificates::new(directory.path(), "ca"), Certificates::new(directory.path(), "other"));
    let own = identity(&ours.issue("server", &["localhost", "127.0.0.1"]));
    let server = ServerTls::open(&ServerTlsConfig { identity: own, client_ca: None }).unwrap();
    let client = |ca: &Certificates, server_name: Option<&str>| {
        let config =
            ClientTlsConfig { ca: Some(ca.ca.clone()), identity: None, server_name: server_name.map(str::to_owned) };
        ClientTls::open(&config, b"h2").unwrap()
    };
    assert_eq!(exchange(&server, &client(&ours, None), "127.0.0.1").await.unwrap(), 7);
    assert_eq!(exchange(&server, &client(&ours, Some("localhost")), "elsewhere").await.unwrap(), 7);
    assert!(exchange(&server, &client(&ours, None), "elsewhere").await.is_err());
    assert!(exchange(&server, &client(&others, None), "localhost").await.is_err());
}

#[tokio::test]
async fn mutual_tls_takes_the_clients_of_its_authority_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, others) = (Certificates::new(directory.path(), "ca"), Certificates::new(directory.path(), "other"));
    let own = identity(&ours.issue("server", &["localhost"]));
    let server = ServerTls::open(&ServerTlsConfig { identity: own, client_ca: Some(ours.ca.clone()) }).unwrap();
    assert!(server.asks_clients());
    let client = |files: Option<weir_tests::CertificateFiles>| {
        let identity = files.as_ref().map(identity);
        ClientTls::open(&ClientTlsConfig { ca: Some(ours.ca.clone()), identity, server_name: None }, b"h2").unwrap()
    };
    let known = client(Some(ours.issue("client", &["client"])));
    for _ in 0..2 {
        assert_eq!(exchange(&server, &known, "localhost").await.unwrap(), 7);
    }
    assert!(exchange(&server, &client(Some(others.issue("stranger", &["client"]))), "localhost").await.is_err());
    assert!(exchange(&server, &client(None), "localhost").await.is_err());
}

#[tokio::test]
async fn new_files_are_taken_and_halves_of_them_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Certificates::new(directory.path(), "old"), Certificates::new(directory.path(), "new"));
    let files = old.issue("server", &["localhost"]);
    let server = ServerTls::open(&ServerTlsConfig { identity: identity(&files), client_ca: None }).unwrap();
    let client = |ca: &Certificates| {
        ClientTls::open(&ClientTlsConfig { ca: Some(ca.ca.clone()), ..ClientTlsConfig::default() }, b"h2").unwrap()
    };
    let next = new.issue("next", &["localhost"]);
    fs::copy(&next.certificate, &files.certificate).unwrap();
    let fault = server.config.refresh().unwrap_err().to_string();
    assert!(fault.contains("server.pem: cannot be used with the key in"), "{fault}");
    assert_eq!(exchange(&server, &client(&old), "localhost").await.unwrap(), 7);
    fs::copy(&next.key, &files.key).unwrap();
    assert_eq!(server.config.refresh(), Ok(true));
    assert!(exchange(&server, &client(&old), "localhost").await.is_err());
    assert_eq!(exchange(&server, &client(&new), "localhost").await.unwrap(), 7);
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let ours = Certificates::new(directory.path(), "ca");
    let good = identity(&ours.issue("server", &["localhost"]));
    let text = directory.path().join("text");
    fs::write(&text, "no PEM").unwrap();
    let absent = directory.path().join("absent");
    let open = |certificate: &Path, key: &Path, client_ca: Option<&Path>| {
        let identity = IdentityFiles { certificate: certificate.to_owned(), key: key.to_owned() };
        let config = ServerTlsConfig { identity, client_ca: client_ca.map(Path::to_owned) };
        ServerTls::open(&config).unwrap_err().to_string()
    };
    assert!(open(&text, &good.key, None).contains("text: holds no certificate; expected certificates in PEM"));
    assert!(open(&good.certificate, &text, None).contains("text: holds no private key"));
    assert!(open(&good.certificate, &absent, None).contains("absent: cannot be read"));
    let fault = open(&good.certificate, &good.key, Some(&text));
    assert!(fault.contains("text: holds no certificate; expected certificates of authorities"), "{fault}");
}

#[test]
fn a_certificate_without_its_key_is_a_fault_of_the_configuration() {
    let text = "[a]\ncertificate = \"c\"\n[b]\nclient_ca = \"c\"\n[c]\nserver_name = \"a b\"\nkey = \"k\"";
    let document = Document::parse(text, Vec::new()).unwrap();
    assert_eq!(ServerTlsConfig::read(&document.section("a")), None);
    assert_eq!(ServerTlsConfig::read(&document.section("b")), None);
    let _config = ClientTlsConfig::read(&document.section("c"));
    let faults = document.finish(&[]).unwrap_err().to_string();
    for path in ["a.key: is missing", "b.client_ca: stands without", "c.server_name: is", "c.certificate: is missing"] {
        assert!(faults.contains(path), "{faults}");
    }
}
