//! Names: those that clients reach the gateway by, and those of servers that it reaches by TLS.

use std::{net::TcpListener, process::Command};

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::{
    route,
    setting::{Setting, until},
};

#[tokio::test]
async fn each_domain_shows_its_own_certificate_and_serves_what_is_mapped_to_it() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
        "[gateway]\nlisten_tls = \"127.0.0.1:{port}\"\n{}{}{}",
        route("a", "GET /x", "{ type = \"mock\", body = \"mapped\" }", "path = \"off\""),
        domain("one", "path = \"v1/shop\""),
        domain("two", ""),
    );
    let files = [("one.pem", &*one.0), ("one.key", &*one.1), ("two.pem", &*two.0), ("two.key", &*two.1)];
    let setting = Setting::with_files(&files, &served).await;
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
