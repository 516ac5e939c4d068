//! TLS, certificates of clients, and tokens, between real processes; all of them changed while they run.

use std::{fs, path::Path, time::Duration};

use reqwest::{Certificate, Client, Identity, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::{CertificateFiles, Certificates, PATIENCE, Process, Traffic, Upstream, free_port, until_number};

use crate::{bad_input::logs, pipeline::WEIR};

/// The stations on one configuration file, the collector behind mutual TLS and tokens.
struct Secured {
    directory: TempDir,
    certificates: Certificates,
    http: String,
    admin: String,
}

impl Secured {
    async fn new(definitions: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let certificates = Certificates::new(directory.path(), "ca");
        let names = [("collector", "127.0.0.1"), ("gateway", "gateway"), ("query", "query"), ("client", "client")];
        for (name, host) in names {
            let _ = certificates.issue(name, &[host]);
        }
        let [grpc, http, admin] = [(); 3].map(|()| free_port().unwrap());
        let config = format!(
            "data = \"data\"\n[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [collector]\ngrpc = \"127.0.0.1:{grpc}\"\nhttp = \"127.0.0.1:{http}\"\nadmin = \"127.0.0.1:{admin}\"\n\
             token_file = \"tokens\"\n\
             [collector.tls]\ncertificate = \"collector.pem\"\nkey = \"collector.key\"\nclient_ca = \"ca.pem\"\n\
             [query]\nlisten = \"127.0.0.1:0\"\ncollectors = [\"https://127.0.0.1:{admin}\"]\n\
             [query.collector]\ntoken_file = \"query.token\"\n\
             [query.collector.tls]\nca = \"ca.pem\"\ncertificate = \"query.pem\"\nkey = \"query.key\"\n\
             [gateway.telemetry]\ncollector = \"https://127.0.0.1:{grpc}\"\ntoken_file = \"gateway.token\"\n\
             [gateway.telemetry.tls]\nca = \"ca.pem\"\ncertificate = \"gateway.pem\"\nkey = \"gateway.key\"\n{definitions}"
        );
        fs::write(directory.path().join("weir.toml"), config).unwrap();
        let secured = Self {
            certificates,
            http: format!("https://127.0.0.1:{http}"),
            admin: format!("https://127.0.0.1:{admin}"),
            directory,
        };
        secured.new_tokens().await;
        secured
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// New tokens for gateway and query; those from before are let in no longer.
    async fn new_tokens(&self) {
        let mut lines = String::new();
        for holder in ["gateway", "query", "client"] {
            let (token, line) = token(self.path(), holder).await;
            fs::write(self.path().join(format!("{holder}.token")), token).unwrap();
            lines = format!("{lines}{line}\n");
        }
        // At once, as one who changes it under a running station does.
        let next = self.path().join("tokens.next");
        fs::write(&next, lines).unwrap();
        fs::rename(next, self.path().join("tokens")).unwrap();
    }

    async fn start(&self, command: &str, message: &str) -> (Process, Value) {
        let mut process = Process::start(WEIR, command, self.path(), &[command, "--config", "weir.toml"]).unwrap();
        let logged = process.logged(message).await.unwrap();
        (process, logged)
    }

    fn token_of(&self, holder: &str) -> String {
        fs::read_to_string(self.path().join(format!("{holder}.token"))).unwrap()
    }

    /// A client that trusts the authority of now, with or without a certificate of its own.
    fn client(&self, own: Option<&CertificateFiles>) -> Client {
        let ca = Certificate::from_pem(&fs::read(&self.certificates.ca).unwrap()).unwrap();
        let builder = Client::builder().no_proxy().timeout(PATIENCE).tls_certs_only([ca]);
        let Some(own) = own else { return builder.build().unwrap() };
        let mut pem = fs::read(&own.certificate).unwrap();
        pem.extend(fs::read(&own.key).unwrap());
        builder.identity(Identity::from_pem(&pem).unwrap()).build().unwrap()
    }

    fn own(&self) -> CertificateFiles {
        CertificateFiles { certificate: self.path().join("client.pem"), key: self.path().join("client.key") }
    }
}

/// A new token and its line, from the program.
async fn token(directory: &Path, holder: &str) -> (String, String) {
    let made = Process::run(WEIR, directory, &["token", holder]).await.unwrap();
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let (token, line) = made.stdout.trim_end().split_once('\n').unwrap();
    assert!(line.starts_with(&format!("{holder} sha256:")) && !made.stderr.contains(token));
    (token.to_owned(), line.to_owned())
}

async fn post(client: &Client, url: &str, token: Option<&str>, sequence: u64) -> reqwest::Result<reqwest::Response> {
    let request = client.post(format!("{url}/v1/logs")).header("content-type", "application/json");
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.body(logs(sequence, &["a"])).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn stations_that_are_known_are_let_in_and_others_are_not() {
    let upstream = Upstream::start().await.unwrap();
    let secured = Secured::new(&Traffic::definitions(&upstream.url())).await;
    let (collector, _) = secured.start("collector", "collector listens").await;
    let (_gateway, listening) = secured.start("gateway", "gateway listens").await;
    let gateway = format!("http://{}", listening["address"].as_str().unwrap());
    let (_query, listening) = secured.start("serve", "query listens for SQL over HTTP").await;
    let query = format!("http://{}", listening["address"].as_str().unwrap());
    let count = "select count(*) from requests where api <> 'elsewhere'";
    Traffic::new(1).send(&gateway, 100).await.unwrap();
    until_number(&query, count, 100).await.unwrap();

    let (known, stranger) = (secured.client(Some(&secured.own())), secured.client(None));
    let own = secured.token_of("client");
    assert_eq!(post(&known, &secured.http, Some(&own), 1).await.unwrap().status(), StatusCode::OK);
    assert!(post(&stranger, &secured.http, Some(&own), 2).await.is_err());
    let refused = post(&known, &secured.http, None, 2).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"weir\"");
    assert_eq!(post(&known, &secured.http, Some("weir_guessed"), 2).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let question = || known.post(format!("{}/pending", secured.admin)).json(&json!({"tables": {}}));
    assert_eq!(question().send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(question().bearer_auth(&own).send().await.unwrap().status(), StatusCode::OK);
    let metrics = known.get(format!("{}/metrics", secured.admin)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("weir_collector_refused_total{reason=\"unauthenticated\"} 2"), "{metrics}");
    assert!(metrics.contains("{listener=\"http\",reason=\"handshake\"} 1"), "{metrics}");
    let said = collector.said();
    assert!(said.contains("a message was refused") && !said.contains("weir_guessed") && !said.contains(&own));

    // Everything is changed under the running stations.
    secured.new_tokens().await;
    for (name, host) in [("collector", "127.0.0.1"), ("gateway", "gateway"), ("query", "query")] {
        let _ = secured.certificates.issue(name, &[host]);
    }
    let begun = std::time::Instant::now();
    while post(&known, &secured.http, Some(&own), 1).await.unwrap().status() != StatusCode::UNAUTHORIZED {
        assert!(begun.elapsed() < PATIENCE, "an old token is still let in");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Traffic::new(2).send(&gateway, 100).await.unwrap();
    until_number(&query, count, 200).await.unwrap();
    let now = secured.token_of("client");
    assert_eq!(post(&known, &secured.http, Some(&now), 3).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_can_reach_needs_tls_and_authentication() {
    let directory = TempDir::new().unwrap();
    let certificates = Certificates::new(directory.path(), "ca");
    let _ = certificates.issue("collector", &["127.0.0.1"]);
    let (_, line) = token(directory.path(), "a").await;
    fs::write(directory.path().join("tokens"), line).unwrap();
    let start = async |more: &str| {
        let config = format!(
            "data = \"data\"\n[collector]\ngrpc = \"0.0.0.0:0\"\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{more}"
        );
        fs::write(directory.path().join("weir.toml"), config).unwrap();
        let arguments = ["collector", "--config", "weir.toml"];
        Process::start(WEIR, "collector", directory.path(), &arguments).unwrap()
    };
    let tls = "[collector.tls]\ncertificate = \"collector.pem\"\nkey = \"collector.key\"\n";
    for (more, said) in [
        (String::new(), "without TLS and authentication; listen on 127.0.0.1, or set allow_plaintext_listener"),
        (tls.to_owned(), "without authentication;"),
        ("token_file = \"tokens\"\n".to_owned(), "without TLS;"),
        (format!("{tls}client_ca = \"absent.pem\"\n"), "absent.pem: cannot be read"),
        (
            "[collector.tls]\ncertificate = \"ca.pem\"\nkey = \"collector.key\"\n".to_owned(),
            "ca.pem: cannot be used with the key in collector.key",
        ),
        (
            "token_file = \"collector.pem\"\n".to_owned(),
            "collector.pem: line 1 is not understood; expected lines such as",
        ),
    ] {
        let exit = start(&more).await.wait().await.unwrap();
        assert_eq!(exit.code, Some(2), "{}", exit.stderr);
        assert!(exit.stderr.starts_with("weir: collector: ") && exit.stderr.contains(said), "{}", exit.stderr);
    }
    for more in [
        format!("{tls}client_ca = \"ca.pem\"\n"),
        format!("token_file = \"tokens\"\n{tls}"),
        "allow_plaintext_listener = true\n".to_owned(),
    ] {
        let mut collector = start(&more).await;
        collector.logged("collector listens").await.unwrap();
        assert_eq!(collector.terminate().await.unwrap().code, Some(0));
    }
}
