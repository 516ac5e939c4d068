//! Which tokens hold, and what a client is told of those that do not.

mod freshness;
pub(crate) mod issuer;
mod texts;

use std::{path::Path, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use issuer::{SigningKey, claims, encode, headers, jwks, now_s};
use serde_json::{Value, json};

use super::{identity::IdentitySource, *};

const ISSUER: &str = "https://issuer/";

fn definition(issuer: &str, jwks: JwksSource) -> JwtDefinition {
    JwtDefinition {
        name: "a".into(),
        issuer: issuer.into(),
        audience: vec!["shop".into()],
        jwks,
        ca: None,
        identity_source: vec![IdentitySource::Header(header::AUTHORIZATION)],
        leeway: Duration::ZERO,
    }
}

/// An authorizer with the keys of this text, in a file that is read once.
fn authorizer_with(keys: &str, change: impl FnOnce(&mut JwtDefinition)) -> Result<JwtAuthorizer, KeySetError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    std::fs::write(&file, keys).unwrap();
    let mut definition = definition(ISSUER, JwksSource::File(file));
    change(&mut definition);
    JwtAuthorizer::new(definition)
}

fn authorizer(keys: &[&SigningKey]) -> JwtAuthorizer {
    authorizer_with(&jwks(keys.iter().copied()), |_| {}).unwrap()
}

async fn check(authorizer: &JwtAuthorizer, token: &str) -> Result<Arc<Claims>, Refusal> {
    authorizer.check(&headers(token), None, &[]).await
}

#[tokio::test]
async fn a_token_that_holds_says_who_asks_and_what_else_its_issuer_knows() {
    let key = SigningKey::ec("k");
    let authorizer = authorizer(&[&key]);
    for (changes, principal) in [
        (json!({}), Some("ada")),
        (json!({"aud": ["other", "shop"]}), Some("ada")),
        (json!({"aud": null, "client_id": "shop"}), Some("ada")),
        (json!({"aud": null, "client_id": "shop", "sub": null}), Some("shop")),
        (json!({"sub": null}), None),
        (json!({"nbf": now_s(), "iat": now_s() - 1, "exp": (now_s() + 60) as f64 + 0.5}), Some("ada")),
    ] {
        let token = key.token(&claims(ISSUER, changes.clone()));
        // Twice: the second time it is known.
        for _ in 0..2 {
            let claims = check(&authorizer, &token).await.unwrap();
            assert_eq!(claims.principal(), principal, "{changes}");
        }
    }
    let changes = json!({"groups": ["a", "b"], "level": 3, "admin": true, "scope": "read  write"});
    let claims = check(&authorizer, &key.token(&claims(ISSUER, changes))).await.unwrap();
    assert_eq!(claims.scopes, ["read", "write"]);
    let texts: Vec<_> = ["groups", "level", "admin", "sub"].map(|name| claims.text(name).unwrap().into_owned()).into();
    assert_eq!(texts, ["[a b]", "3", "true", "ada"]);
    assert_eq!(claims.text("absent"), None);
}

#[tokio::test]
async fn each_algorithm_of_the_list_is_taken_with_a_key_of_its_own() {
    let rsa = SigningKey::rsa("rsa");
    let curves = ["P-256", "P-384", "P-521"].map(|curve| SigningKey::on_curve(curve, curve));
    let authorizer = authorizer(&[&rsa, &curves[0], &curves[1], &curves[2]]);
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let header = json!({"alg": algorithm, "kid": "rsa"}).to_string();
        let taken = check(&authorizer, &rsa.token_with(&header, &claims(ISSUER, json!({})))).await;
        assert!(taken.is_ok(), "{algorithm}: {taken:?}");
    }
    for key in &curves {
        let taken = check(&authorizer, &key.token(&claims(ISSUER, json!({})))).await;
        assert!(taken.is_ok(), "{}: {taken:?}", key.id);
    }
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused_with_the_reason_in_the_order_of_the_checks() {
    let key = SigningKey::ec("k");
    let authorizer = authorizer(&[&key]);
    let (past, future) = (now_s() - 10, now_s() + 600);
    for (changes, outcome, reason) in [
        (json!({"exp": past}), Outcome::ExpiredToken, "the token has expired"),
        (json!({"exp": now_s()}), Outcome::ExpiredToken, "the token has expired"),
        (json!({"exp": -1}), Outcome::ExpiredToken, "the token has expired"),
        (json!({"exp": null}), Outcome::Unauthorized, "the token does not have an expiration time"),
        (json!({"exp": "4102444800"}), Outcome::Unauthorized, "the token is malformed"),
        (json!({"nbf": future}), Outcome::Unauthorized, "the token is not valid yet"),
        (json!({"iat": future}), Outcome::Unauthorized, "the token was issued in the future"),
        (json!({"iss": "https://else/"}), Outcome::Unauthorized, "the token does not have a valid issuer"),
        (json!({"iss": ["https://issuer/"]}), Outcome::Unauthorized, "the token does not have a valid issuer"),
        (json!({"iss": null}), Outcome::Unauthorized, "the token does not have a valid issuer"),
        (json!({"aud": "else"}), Outcome::Unauthorized, "the token does not have a valid audience"),
        (json!({"aud": []}), Outcome::Unauthorized, "the token does not have a valid audience"),
        (json!({"aud": null}), Outcome::Unauthorized, "the token does not have a valid audience"),
        (
            json!({"aud": "else", "client_id": "shop"}),
            Outcome::Unauthorized,
            "the token does not have a valid audience",
        ),
        (json!({"aud": "else", "exp": past}), Outcome::Unauthorized, "the token does not have a valid audience"),
        (json!({"iss": "else", "aud": "else"}), Outcome::Unauthorized, "the token does not have a valid issuer"),
        (json!({"nbf": future, "exp": past}), Outcome::ExpiredToken, "the token has expired"),
    ] {
        let refusal = check(&authorizer, &key.token(&claims(ISSUER, changes.clone()))).await.unwrap_err();
        assert_eq!(refusal.outcome, outcome, "{changes}");
        let challenge = format!("Bearer scope=\"\" error=\"invalid_token\" error_description=\"{reason}\"");
        assert_eq!(refusal.challenge, Some(challenge), "{changes}");
        assert_eq!(refusal.of_http_api().status(), 401);
    }
}

#[tokio::test]
async fn a_clock_that_differs_is_allowed_for_where_the_configuration_says_so() {
    let key = SigningKey::ec("k");
    let authorizer = authorizer_with(&jwks([&key]), |own| own.leeway = Duration::from_secs(60)).unwrap();
    for (changes, is_taken) in [
        (json!({"exp": now_s() - 30}), true),
        (json!({"nbf": now_s() + 30, "iat": now_s() + 30}), true),
        (json!({"exp": now_s() - 90}), false),
        (json!({"nbf": now_s() + 90}), false),
    ] {
        let token = key.token(&claims(ISSUER, changes.clone()));
        assert_eq!(check(&authorizer, &token).await.is_ok(), is_taken, "{changes}");
    }
}

#[tokio::test]
async fn what_one_authorizer_remembers_is_nothing_to_another() {
    let key = SigningKey::ec("k");
    let mine = authorizer(&[&key]);
    let others = authorizer_with(&jwks([&key]), |own| own.audience = vec!["else".into()]).unwrap();
    let same_id = authorizer(&[&SigningKey::ec("k")]);
    let token = key.token(&claims(ISSUER, json!({})));
    for _ in 0..2 {
        assert!(check(&mine, &token).await.is_ok());
        assert!(check(&others, &token).await.is_err());
        assert!(check(&same_id, &token).await.is_err());
    }
}

/// A token is found by its whole text: one that ends alike has the same place.
#[tokio::test]
async fn a_token_that_ends_like_one_that_is_remembered_is_none() {
    let key = SigningKey::ec("k");
    let authorizer = authorizer(&[&key]);
    let [ada, eve] = ["ada", "eve"].map(|name| key.token(&claims(ISSUER, json!({"sub": name}))));
    assert!(check(&authorizer, &ada).await.is_ok());
    let (_, signature) = ada.rsplit_once('.').unwrap();
    let (signed, _) = eve.rsplit_once('.').unwrap();
    assert!(check(&authorizer, &format!("{signed}.{signature}")).await.is_err());
}

#[tokio::test]
async fn more_tokens_than_are_remembered_are_all_taken() {
    let key = SigningKey::ec("k");
    let authorizer = authorizer(&[&key]);
    let tokens: Vec<_> =
        (0..5_000).map(|number| key.token(&claims(ISSUER, json!({"sub": number.to_string()})))).collect();
    for _ in 0..2 {
        for (number, token) in tokens.iter().enumerate() {
            let claims = check(&authorizer, token).await.unwrap();
            assert_eq!(claims.principal(), Some(number.to_string().as_str()));
        }
    }
}

#[tokio::test]
async fn a_token_that_is_remembered_expires_all_the_same() {
    let key = SigningKey::ec("k");
    let authorizer = authorizer(&[&key]);
    let soon = precisely_now_s() + 0.3;
    let token = key.token(&claims(ISSUER, json!({"exp": soon})));
    assert!(check(&authorizer, &token).await.is_ok());
    while precisely_now_s() <= soon {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(check(&authorizer, &token).await.unwrap_err().outcome, Outcome::ExpiredToken);
}

fn precisely_now_s() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[tokio::test]
async fn one_of_the_routes_scopes_is_needed_and_lacking_it_is_403() {
    let key = SigningKey::ec("k");
    let authorizer = authorizer(&[&key]);
    let scopes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (changes, asked, is_taken) in [
        (json!({}), &["read"][..], true),
        (json!({}), &["admin", "write"], true),
        (json!({}), &["admin"], false),
        (json!({}), &["read write"], false),
        (json!({}), &["READ"], false),
        (json!({"scope": null, "scp": ["admin"]}), &["admin"], true),
        (json!({"scope": null, "scp": "x admin"}), &["admin"], true),
        (json!({"scope": null, "scp": 3}), &["3"], false),
        (json!({"scope": null}), &["admin"], false),
        (json!({"scope": ""}), &[""], false),
        (json!({"scope": null}), &[], true),
    ] {
        let headers = headers(&key.token(&claims(ISSUER, changes.clone())));
        let checked = authorizer.check(&headers, None, &scopes(asked)).await;
        assert_eq!(checked.is_ok(), is_taken, "{changes} {asked:?}");
        let Err(refusal) = checked else { continue };
        assert_eq!((refusal.outcome, refusal.of_http_api().status().as_u16()), (Outcome::AccessDenied, 403));
        let challenge = refusal.challenge.unwrap();
        let expected = format!("Bearer scope=\"{}\" error=\"insufficient_scope\" ", asked.join(" "));
        assert!(challenge.starts_with(&expected), "{challenge}");
    }
}

#[tokio::test]
async fn a_request_has_one_token_in_one_of_the_places_that_are_named() {
    let key = SigningKey::ec("k");
    let sources =
        ["$request.header.Authorization", "$request.querystring.access_token", "method.request.header.X-Token"];
    let sources: Vec<_> = sources.iter().filter_map(|text| IdentitySource::parse(text)).collect();
    let authorizer = authorizer_with(&jwks([&key]), |own| own.identity_source = sources).unwrap();
    let token = key.token(&claims(ISSUER, json!({})));
    let (bare, bearer, query) = (token.clone(), format!("bEARER {token}"), format!("a=b&access_token={token}&c"));
    let twice = format!("{query}&access_token={token}");
    let no_token = "there is no token";
    for (own, query, expected) in [
        (vec![("authorization", bare.as_str())], None, Ok(())),
        (vec![("authorization", &bearer)], None, Ok(())),
        (vec![("x-token", &bearer)], Some("x=y"), Ok(())),
        (vec![], Some(query.as_str()), Ok(())),
        (vec![], None, Err(no_token)),
        (vec![("x-other", &bare)], Some("Access_Token=x"), Err(no_token)),
        (vec![("authorization", &bare), ("authorization", &bare)], None, Err("the request has several tokens")),
        (vec![("authorization", &bare)], Some(&query), Err("the request has several tokens")),
        (vec![("authorization", &bare), ("x-token", &bare)], None, Err("the request has several tokens")),
        (vec![], Some(&twice), Err("the request has several tokens")),
        (vec![("authorization", "Basic YTpi")], None, Err("token contains an invalid number of segments")),
        (vec![("authorization", "")], None, Err("token contains an invalid number of segments")),
        (vec![("authorization", "Bearer a.\u{e9}.b")], None, Err("the token is malformed")),
    ] {
        let mut headers = HeaderMap::new();
        for (name, value) in own {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let checked = authorizer.check(&headers, query, &[]).await;
        let reason = checked.as_ref().map(|_| ()).map_err(|refusal| refusal.detail.as_deref().unwrap_or_default());
        assert_eq!(reason, expected);
        if expected == Err(no_token) {
            assert_eq!(checked.unwrap_err().challenge.as_deref(), Some("Bearer"));
        }
    }
}

/// Neither a token nor a part of it is in what is logged or recorded.
#[tokio::test]
async fn a_refusal_does_not_repeat_the_token() {
    let key = SigningKey::ec("k");
    let refusal = check(&authorizer(&[&key]), "abc.def.ghi").await.unwrap_err();
    assert!(!format!("{refusal:?}").contains("def"));
}

#[test]
fn a_file_that_has_no_key_is_an_error_at_the_start() {
    let weak = json!({"keys": [{"kty": "RSA", "n": encode(&[0xff; 128]), "e": "AQAB"}]}).to_string();
    for (keys, reason) in [
        ("", "it is no JSON Web Key Set"),
        ("{}", "it is no JSON Web Key Set"),
        ("{\"keys\": []}", "it has no key that signatures can be verified with"),
        (&weak, "it has no key that signatures can be verified with"),
    ] {
        let error = authorizer_with(keys, |_| {}).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("jwks.json"), "{error}");
    }
    let absent = JwtAuthorizer::new(definition(ISSUER, JwksSource::File(Path::new("/absent/jwks").into())));
    assert!(absent.unwrap_err().to_string().contains("No such file"));
    let ca = authorizer_with(&jwks([&SigningKey::ec("k")]), |own| own.ca = Some("/absent/ca".into()));
    assert!(ca.unwrap_err().to_string().contains("/absent/ca"));
}
