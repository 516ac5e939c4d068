//! Which tokens hold, and what a client is told of those that do not.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::*;

struct Issuer {
    pkcs8: Vec<u8>,
    directory: tempfile::TempDir,
}

impl Issuer {
    fn new(id: &str) -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let issuer = Self { pkcs8: pkcs8.as_ref().to_vec(), directory: tempfile::tempdir().unwrap() };
        issuer.publish(id);
        issuer
    }

    fn publish(&self, id: &str) {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8).unwrap();
        let point = pair.public_key().as_ref();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        let key = json!({"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "x": part(1..33), "y": part(33..65)});
        fs::write(self.directory.path().join("jwks.json"), json!({ "keys": [key] }).to_string()).unwrap();
    }

    fn authorizer(&self) -> JwtAuthorizer {
        JwtAuthorizer::new(JwtDefinition {
            name: "a".into(),
            issuer: "https://issuer/".into(),
            audience: vec!["shop".into()],
            jwks: JwksSource::File(self.directory.path().join("jwks.json")),
            header: "authorization".into(),
        })
        .unwrap()
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        let header = Header { kid: Some(id.into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&self.pkcs8)).unwrap()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({"iss": "https://issuer/", "aud": "shop", "sub": "ada", "exp": now() + 600})
}

fn headers(token: &str) -> HeaderMap {
    [(http::header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap())].into_iter().collect()
}

#[tokio::test]
async fn a_token_that_holds_names_its_principal() {
    let issuer = Issuer::new("k");
    let authorizer = issuer.authorizer();
    let mut several = claims();
    several["aud"] = json!(["other", "shop"]);
    let mut by_client = claims();
    by_client["aud"] = Value::Null;
    by_client["client_id"] = json!("shop");
    for claims in [claims(), several, by_client] {
        let principal = authorizer.check(&headers(&issuer.token("k", &claims))).await.unwrap();
        assert_eq!(principal.as_deref(), Some("ada"));
    }
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_refused_with_the_reason() {
    let issuer = Issuer::new("k");
    let authorizer = issuer.authorizer();
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        issuer.token("k", &claims)
    };
    let good = issuer.token("k", &claims());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let none = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), head.split_once('.').unwrap().1);
    let hmac_header = Header { kid: Some("k".into()), ..Header::new(Algorithm::HS256) };
    let hmac = jsonwebtoken::encode(&hmac_header, &claims(), &EncodingKey::from_secret(b"the public key")).unwrap();
    for (token, outcome, reason) in [
        (with("exp", json!(now() - 10)), Outcome::ExpiredToken, "the token has expired"),
        (with("nbf", json!(now() + 600)), Outcome::Unauthorized, "the token is not valid yet"),
        (with("iss", json!("https://else/")), Outcome::Unauthorized, "the issuer that is asked for"),
        (with("aud", json!("else")), Outcome::Unauthorized, "the token does not have a valid audience"),
        (
            format!("{head}.{}", signature.chars().rev().collect::<String>()),
            Outcome::Unauthorized,
            "signature does not hold",
        ),
        (Issuer::new("k").token("k", &claims()), Outcome::Unauthorized, "signature does not hold"),
        (issuer.token("unknown", &claims()), Outcome::Unauthorized, "the token's key is unknown"),
        (none, Outcome::Unauthorized, "the token is malformed"),
        (hmac, Outcome::Unauthorized, "the token's algorithm is not supported"),
        ("x".repeat(MOST_TOKEN_BYTES + 1), Outcome::Unauthorized, "the token is too large"),
    ] {
        let refusal = authorizer.check(&headers(&token)).await.unwrap_err();
        assert_eq!(refusal.outcome, outcome, "{reason}");
        let challenge = refusal.challenge.unwrap();
        assert!(challenge.contains(reason) && challenge.contains("error=\"invalid_token\""), "{reason}: {challenge}");
    }
    let refusal = authorizer.check(&HeaderMap::new()).await.unwrap_err();
    assert_eq!(refusal.challenge.as_deref(), Some("Bearer"));
}

#[tokio::test]
async fn a_key_that_is_new_in_the_set_is_found_and_unknown_ones_do_not_make_it_read_again() {
    let issuer = Issuer::new("old");
    let authorizer = issuer.authorizer();
    issuer.publish("new");
    assert!(authorizer.check(&headers(&issuer.token("new", &claims()))).await.is_ok());
    issuer.publish("newer");
    // Within the pause the set is not read again, whatever ids tokens name.
    assert!(authorizer.check(&headers(&issuer.token("newer", &claims()))).await.is_err());
    assert!(authorizer.check(&headers(&issuer.token("new", &claims()))).await.is_ok());
}
