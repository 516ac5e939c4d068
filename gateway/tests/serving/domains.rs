//! Names: those that clients reach the gateway by, and those of servers that it reaches by TLS.

use std::{process::Command, sync::Arc};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::{
    route,
    script::{Act, Scripted},
    setting::{Setting, until},
};

#[tokio::test]
async fn each_domain_shows_its_own_certificate_and_serves_what_is_mapped_to_it() {
    let pair = |name: &str| {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    };
    let (one, two) = (pair("one.example"), pair("two.example"));
    let domain = |name: &str, mapping: &str| {
        format!(
            "[[domain]]\nname = \"{name}.example\"\ncertificate = \"{name}.pem\"\nkey = \"{name}.key\"\n[[domain.mapping]]\n{mapping}\napi = \"a\"\n"
        )
    };
    let served = format!(
        "[gateway]\nlisten_tls = \"127.0.0.1:0\"\n{}{}{}",
        route("a", "GET /x", "{ type = \"mock\", body = \"mapped\" }", "path = \"off\""),
        domain("one", "path = \"v1/shop\""),
        domain("two", ""),
    );
    let files = [("one.pem", &*one.0), ("one.key", &*one.1), ("two.pem", &*two.0), ("two.key", &*two.1)];
    let setting = Setting::with_files(&files, &served).await;
    let port = setting.tls_address().port();
    let get = |name: &str, path: &str| {
        let (ca, resolve) = (setting.named(&format!("{name}.pem")), format!("{name}.example:{port}:127.0.0.1"));
        let curl = Command::new("curl")
            .args(["-s", "--max-time", "30", "--noproxy", "*", "--cacert", &ca, "--resolve", &resolve])
            .args(["-w", " %{http_code}", &format!("https://{name}.example:{port}{path}")])
            .output()
            .unwrap();
        assert!(curl.status.success(), "{curl:?}");
        String::from_utf8(curl.stdout).unwrap()
    };
    assert_eq!(get("one", "/v1/shop/x"), "mapped 200");
    assert_eq!(get("two", "/x"), "mapped 200");
    assert_eq!(get("one", "/v1/x"), "{\"message\":\"Forbidden\"} 403");
    assert_eq!(get("one", "/x"), "{\"message\":\"Forbidden\"} 403");
    until(|| async { setting.metrics().await.contains("outcome=\"unmapped_host\"} 2\n") }).await;
    assert!(setting.get("/a/x").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_server_by_tls_is_believed_only_under_its_name_and_by_its_authority() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["inner.example".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let tls = tls.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let answer = |_: &str| Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into());
    let server = Scripted::start_tls(answer, TlsAcceptor::from(Arc::new(tls))).await;
    let uri = format!("type = \"http_proxy\", uri = \"https://{}/\"", server.address);
    let served = [
        route(
            "known",
            "GET /x",
            &format!("{{ {uri}, tls = {{ ca = \"ca.pem\", server_name = \"inner.example\" }} }}"),
            "",
        ),
        route("name", "GET /x", &format!("{{ {uri}, tls = {{ ca = \"ca.pem\" }} }}"), ""),
        route("ca", "GET /x", &format!("{{ {uri}, tls = {{ server_name = \"inner.example\" }} }}"), ""),
    ];
    let setting = Setting::with_files(&[("ca.pem", &cert.pem())], &served.concat()).await;
    assert!(setting.get("/known/x").await.ends_with("\r\n\r\nok"));
    for wrong in ["/name/x", "/ca/x"] {
        let answer = setting.get(wrong).await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.ends_with("{\"message\":\"Service Unavailable\"}"),
            "{answer}"
        );
    }
    assert_eq!(server.seen().len(), 1);
    until(|| async { setting.metrics().await.contains("outcome=\"integration_failure\"} 2\n") }).await;
}
