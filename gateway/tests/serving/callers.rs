//! Who may call: bearers of tokens and of keys, and what the records say of them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    recorded,
    script::{Act, Scripted},
    setting::Setting,
};

/// An issuer of tokens.
struct TokenIssuer(EcdsaKeyPair);

impl TokenIssuer {
    fn new() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap())
    }

    fn key_set(&self) -> String {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (BASE64_URL_SAFE_NO_PAD.encode(x), BASE64_URL_SAFE_NO_PAD.encode(y));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "use": "sig", "x": x, "y": y }] })
            .to_string()
    }

    fn token(&self, scope: &str, lives_for: i64) -> String {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({ "iss": "https://issuer.example", "aud": "shop", "sub": "alice", "scope": scope, "iat": now - 7_200, "exp": now + lives_for });
        let signed = format!("{}.{}", part(json!({ "alg": "ES256", "kid": "k" })), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

#[tokio::test]
async fn a_bearer_passes_whose_token_holds_and_every_other_is_told_what_is_wanted() {
    let server = Scripted::start(|_| Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into())).await;
    let issuer = TokenIssuer::new();
    let served = format!(
        "{}auth = \"jwt:c\"\nscopes = [\"read\"]\n[[jwt_authorizer]]\nname = \"c\"\nissuer = \"https://issuer.example\"\naudience = [\"shop\"]\njwks = \"keys.json\"\n",
        recorded(server.address, "")
    );
    let setting = Setting::with_files(&[("keys.json", &issuer.key_set())], &served).await;
    let (good, other, old) = (issuer.token("read write", 600), issuer.token("write", 600), issuer.token("read", -600));
    let forged = TokenIssuer::new().token("read", 600);
    let cases = [
        (Some(&good), "200", ""),
        (None, "401", "Bearer"),
        (Some(&forged), "401", "error=\"invalid_token\""),
        (Some(&old), "401", "error=\"invalid_token\""),
        (Some(&other), "403", "error=\"insufficient_scope\""),
    ];
    for (token, status, challenge) in cases {
        let header = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let answer = setting.send(&format!("GET /a/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{header}\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        let told = answer.lines().find_map(|line| line.strip_prefix("www-authenticate: ")).unwrap_or_default();
        assert!(told.contains(challenge) && told.is_empty() == challenge.is_empty(), "{answer}");
    }
    assert_eq!(server.seen().len(), 1);
    let records = setting.records(cases.len()).await;
    let outcomes: Vec<_> = records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["ok", "missing_identity", "unauthorized", "expired_token", "access_denied"]);
    assert_eq!((&records[0]["principal"], &records[0]["authorizer_status"]), (&"alice".into(), &200.into()));
    let us = |name: &str| records[0][name].as_u64().unwrap();
    assert_eq!(us("authorizer_latency_us") + us("integration_latency_us") + us("gateway_latency_us"), us("latency_us"));
    assert!(!setting.file("RECORDS").contains(&good) && !setting.log().contains(&good));
}

#[tokio::test]
async fn a_key_is_asked_for_and_the_record_says_whose_it_was_and_which_limit_refused() {
    let server = Scripted::start(|_| Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into())).await;
    let served = format!(
        "{}api_key_required = true\n[[api_key]]\nid = \"k\"\nkey = \"0123456789-0123456789\"\n[[usage_plan]]\nname = \"gold\"\nkeys = [\"k\"]\nthrottle = {{ rate = 0.001, burst = 1 }}\nstages = [{{ api = \"a\", stage = \"$default\" }}]\n",
        recorded(server.address, "")
    );
    let setting = Setting::start(&served).await;
    let ask = |key: &str| format!("GET /a/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-api-key: {key}\r\n\r\n");
    for (key, status) in
        [("0123456789-0123456780", "403"), ("0123456789-0123456789", "200"), ("0123456789-0123456789", "429")]
    {
        let answer = setting.send(&ask(key)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(answer.contains("\r\nretry-after: "), status == "429", "{answer}");
    }
    let records = setting.records(3).await;
    assert_eq!(records[0]["outcome"], "invalid_api_key");
    assert_eq!((&records[1]["api_key_id"], &records[1]["usage_plan"]), (&"k".into(), &"gold".into()));
    assert_eq!((&records[2]["outcome"], &records[2]["throttle_scope"]), (&"throttled".into(), &"plan".into()));
    assert!(!setting.file("RECORDS").contains("0123456789-"));
}
