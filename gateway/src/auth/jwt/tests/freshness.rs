//! When keys are read: over real sockets, by an issuer that changes them, is slow, or is away.

use std::{fs, future::Future};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{task::JoinSet, time::timeout};

use super::{
    issuer::{Answer, Server},
    *,
};

const NEVER: Duration = Duration::from_secs(3_600);

/// Read when a request wants it, and at no other time.
fn on_demand() -> Pace {
    Pace { pause: Duration::ZERO, retry: NEVER, least: NEVER, most: NEVER, ..Pace::default() }
}

/// Far longer than anything here takes.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), work).await.expect("it takes no time to speak of")
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    soon(async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn by_discovery(server: &Server, pace: Pace) -> JwtAuthorizer {
    JwtAuthorizer::with_pace(definition(&server.url(""), JwksSource::Discovery), pace).unwrap()
}

#[tokio::test]
async fn keys_are_found_by_discovery_and_a_new_key_when_a_token_names_it() {
    let (server, old, new) = (Server::start().await, SigningKey::ec("old"), SigningKey::rsa("new"));
    server.publish_issuer(&[&old]);
    let authorizer = by_discovery(&server, on_demand());
    let [by_old, by_new] = [&old, &new].map(|key| key.token(&claims(&server.url(""), json!({}))));
    assert!(soon(check(&authorizer, &by_old)).await.is_ok());
    assert!(soon(check(&authorizer, &by_new)).await.is_err());
    server.publish_issuer(&[&old, &new]);
    assert!(soon(check(&authorizer, &by_new)).await.is_ok());
    assert!(soon(check(&authorizer, &by_old)).await.is_ok());
}

#[tokio::test]
async fn a_configuration_of_another_issuer_is_not_believed() {
    let (server, key) = (Server::start().await, SigningKey::ec("k"));
    server.publish_issuer(&[&key]);
    let path = "/.well-known/openid-configuration";
    let token = key.token(&claims(&server.url(""), json!({})));
    for (metadata, reason) in [
        (json!({"issuer": "https://else/", "jwks_uri": server.url("/keys")}), "is the configuration of"),
        (json!({"issuer": server.url("/"), "jwks_uri": server.url("/keys")}), "is the configuration of"),
        (json!({"issuer": server.url("")}), "missing field `jwks_uri`"),
        (json!({"issuer": server.url(""), "jwks_uri": "file:///etc/passwd"}), "is no URL of a host"),
        (json!({"issuer": server.url(""), "jwks_uri": server.url("/absent")}), "404"),
    ] {
        server.publish(path, Answer::of(metadata.to_string()));
        let refusal = soon(check(&by_discovery(&server, on_demand()), &token)).await.unwrap_err();
        assert_eq!((refusal.outcome, refusal.of_http_api().status().as_u16()), (Outcome::AuthorizerFailure, 500));
        assert_eq!(refusal.challenge, None);
        let detail = refusal.detail.unwrap();
        assert!(detail.contains(reason), "{reason}: {detail}");
    }
}

#[tokio::test]
async fn requests_that_want_the_same_reading_cause_one() {
    let (server, key) = (Server::start().await, SigningKey::ec("k"));
    let slow = Answer { delay: Duration::from_millis(100), ..Answer::of(jwks([&key])) };
    server.publish("/keys", slow);
    let pace = Pace { pause: Duration::from_secs(1), ..on_demand() };
    let definition = definition(ISSUER, JwksSource::Url(server.url("/keys")));
    let authorizer = Arc::new(JwtAuthorizer::with_pace(definition, pace).unwrap());
    let ask = async |token: String, count: usize| {
        let mut requests = JoinSet::new();
        for _ in 0..count {
            let (authorizer, token) = (Arc::clone(&authorizer), token.clone());
            requests.spawn(async move { check(&authorizer, &token).await.map(|_| ()).map_err(|it| it.outcome) });
        }
        soon(requests.join_all()).await
    };
    // The first reading, which nobody needs to ask for.
    let token = key.token(&claims(ISSUER, json!({})));
    assert!(ask(token, 100).await.iter().all(Result::is_ok));
    assert_eq!(server.count("/keys"), 1);
    // Within the pause there is none, whatever tokens name.
    let unknown = |id: &str| SigningKey::ec(id).token(&claims(ISSUER, json!({})));
    assert_eq!(ask(unknown("x"), 1).await, [Err(Outcome::Unauthorized)]);
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    let refused = ask(unknown("y"), 100).await;
    assert!(refused.iter().all(|refused| *refused == Err(Outcome::Unauthorized)));
    assert_eq!(server.count("/keys"), 2);
}

#[tokio::test]
async fn authorizers_of_one_issuer_share_its_keys_and_a_new_configuration_keeps_them() {
    let (server, key) = (Server::start().await, SigningKey::ec("k"));
    server.publish_issuer(&[&key]);
    let pace = Pace { pause: NEVER, ..on_demand() };
    let before = by_discovery(&server, pace);
    let token = key.token(&claims(&server.url(""), json!({})));
    assert!(soon(check(&before, &token)).await.is_ok());
    server.publish("/keys", Answer { status: 503, ..Answer::of("") });
    let after = by_discovery(&server, pace);
    drop(before);
    assert!(soon(check(&after, &token)).await.is_ok());
    assert_eq!(server.count("/keys"), 1);
}

#[test]
fn a_reading_goes_on_whatever_becomes_of_the_thread_that_wanted_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server_runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (server, key) = (server_runtime.block_on(Server::start()), SigningKey::ec("k"));
    server.publish("/keys", Answer { delay: Duration::from_millis(100), ..Answer::of(jwks([&key])) });
    let pace = Pace { pause: NEVER, ..on_demand() };
    let definition = definition(ISSUER, JwksSource::Url(server.url("/keys")));
    let authorizer = runtime().block_on(async { JwtAuthorizer::with_pace(definition, pace) }).unwrap();
    let token = key.token(&claims(ISSUER, json!({})));
    // Asks, and goes away with its runtime.
    runtime().block_on(async {
        tokio::select! {
            biased;
            _ = check(&authorizer, &token) => {}
            () = std::future::ready(()) => {}
        }
    });
    assert!(runtime().block_on(async { soon(check(&authorizer, &token)).await }).is_ok());
    assert_eq!(server.count("/keys"), 1);
    server_runtime.block_on(async { drop(server) });
}

#[tokio::test]
async fn keys_that_cannot_be_read_again_stay_and_known_ones_do_not_wait() {
    let (server, key) = (Server::start().await, SigningKey::ec("k"));
    server.publish_issuer(&[&key]);
    let authorizer = by_discovery(&server, on_demand());
    let known = key.token(&claims(&server.url(""), json!({})));
    let unknown = SigningKey::ec("x").token(&claims(&server.url(""), json!({})));
    assert!(soon(check(&authorizer, &known)).await.is_ok());
    for answer in [
        Answer { status: 500, ..Answer::of("") },
        Answer { status: 302, ..Answer::of("") },
        Answer::of("no keys"),
        Answer::of("{\"keys\":[]}"),
        Answer::of(format!("{}{}", jwks([&key]), " ".repeat(150_000))),
    ] {
        server.publish("/keys", answer.clone());
        let before = server.count("/keys");
        let refused = soon(check(&authorizer, &unknown)).await.unwrap_err();
        assert_eq!((server.count("/keys"), refused.outcome), (before + 1, Outcome::Unauthorized));
        let another = key.token(&claims(&server.url(""), json!({"jti": before})));
        assert!(soon(check(&authorizer, &another)).await.is_ok());
    }
    // An issuer that takes its time: the reading is given up, and nobody with a known key waits for it.
    server.publish("/keys", Answer { delay: NEVER, ..Answer::of(jwks([&key])) });
    let headers = headers(&unknown);
    let mut waiting = Box::pin(authorizer.check(&headers, None, &[]));
    let before = server.count("/keys");
    until(async || timeout(Duration::from_millis(5), &mut waiting).await.is_err() && server.count("/keys") > before)
        .await;
    let another = key.token(&claims(&server.url(""), json!({"jti": "slow"})));
    assert!(timeout(Duration::from_millis(500), check(&authorizer, &another)).await.expect("it does not wait").is_ok());
    assert_eq!(soon(waiting).await.unwrap_err().outcome, Outcome::Unauthorized);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_our_failure_until_it_comes_back() {
    let (server, key) = (Server::start().await, SigningKey::ec("k"));
    let authorizer = by_discovery(&server, on_demand());
    let token = key.token(&claims(&server.url(""), json!({})));
    let refusal = soon(check(&authorizer, &token)).await.unwrap_err();
    assert_eq!(refusal.outcome, Outcome::AuthorizerFailure);
    server.publish_issuer(&[&key]);
    assert!(soon(check(&authorizer, &token)).await.is_ok());
}

#[tokio::test]
async fn keys_that_are_too_old_are_not_used() {
    let (server, key) = (Server::start().await, SigningKey::ec("k"));
    server.publish_issuer(&[&key]);
    let pace =
        Pace { least: Duration::ZERO, most: Duration::from_millis(300), pause: NEVER, retry: NEVER, ..on_demand() };
    let authorizer = by_discovery(&server, pace);
    let token = key.token(&claims(&server.url(""), json!({})));
    assert!(soon(check(&authorizer, &token)).await.is_ok());
    server.publish("/keys", Answer { status: 503, ..Answer::of("") });
    // Remembered or not.
    until(async || check(&authorizer, &token).await.is_err_and(|it| it.outcome == Outcome::AuthorizerFailure)).await;
}

#[tokio::test]
async fn keys_are_read_before_their_time_is_over_and_one_that_was_removed_is_forgotten() {
    let (server, old, new) = (Server::start().await, SigningKey::ec("old"), SigningKey::ec("new"));
    let short = |keys: String| Answer { cache_control: "public, max-age=0", ..Answer::of(keys) };
    server.publish("/keys", short(jwks([&old])));
    let pace = Pace { least: Duration::from_millis(20), pause: NEVER, ..on_demand() };
    let definition = definition(ISSUER, JwksSource::Url(server.url("/keys")));
    let authorizer = JwtAuthorizer::with_pace(definition, pace).unwrap();
    until(async || server.count("/keys") > 3).await;
    let [by_old, by_new] = [&old, &new].map(|key| key.token(&claims(ISSUER, json!({}))));
    assert!(soon(check(&authorizer, &by_old)).await.is_ok());
    server.publish("/keys", short(jwks([&new])));
    until(async || check(&authorizer, &by_old).await.is_err()).await;
    assert!(soon(check(&authorizer, &by_new)).await.is_ok());
}

#[tokio::test]
async fn a_file_is_read_again_too() {
    let (old, new) = (SigningKey::ec("old"), SigningKey::ec("new"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    fs::write(&file, jwks([&old])).unwrap();
    let authorizer = JwtAuthorizer::with_pace(definition(ISSUER, JwksSource::File(file.clone())), on_demand()).unwrap();
    let [by_old, by_new] = [&old, &new].map(|key| key.token(&claims(ISSUER, json!({}))));
    assert!(check(&authorizer, &by_old).await.is_ok());
    fs::write(&file, jwks([&new])).unwrap();
    assert!(soon(check(&authorizer, &by_new)).await.is_ok());
    assert_eq!(soon(check(&authorizer, &by_old)).await.unwrap_err().outcome, Outcome::Unauthorized);
}

#[tokio::test]
async fn an_issuer_proves_itself_with_a_certificate_of_an_authority_that_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    fs::write(path("ca.pem"), params.self_signed(&authority_key).unwrap().pem()).unwrap();
    let authority = Issuer::new(params, authority_key);
    let own = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&own, &authority).unwrap();
    fs::write(path("own.pem"), certificate.pem()).unwrap();
    fs::write(path("own.key"), own.serialize_pem()).unwrap();

    let (server, key) = (Server::start_tls(path("own.pem"), path("own.key")).await, SigningKey::ec("k"));
    server.publish_issuer(&[&key]);
    let token = key.token(&claims(&server.url(""), json!({})));
    let mut definition = definition(&server.url(""), JwksSource::Discovery);
    let unknown = JwtAuthorizer::with_pace(definition.clone(), on_demand()).unwrap();
    let refusal = soon(check(&unknown, &token)).await.unwrap_err();
    assert_eq!(refusal.outcome, Outcome::AuthorizerFailure);
    assert!(refusal.detail.unwrap().contains("certificate"));
    definition.ca = Some(path("ca.pem"));
    let trusting = JwtAuthorizer::with_pace(definition.clone(), on_demand()).unwrap();
    assert!(soon(check(&trusting, &token)).await.is_ok());
    drop(trusting);
    // An issuer with TLS does not send us to keys without.
    let metadata = json!({"issuer": server.url(""), "jwks_uri": "http://127.0.0.1:1/keys"});
    server.publish("/.well-known/openid-configuration", Answer::of(metadata.to_string()));
    let refusal = soon(check(&JwtAuthorizer::with_pace(definition, on_demand()).unwrap(), &token)).await.unwrap_err();
    assert!(refusal.detail.unwrap().contains("without TLS"));
}
