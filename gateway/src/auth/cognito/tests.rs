//! Which tokens of user pools are taken.

use http::{HeaderMap, header};
use serde_json::{Value, json};
use weir_record::Outcome;

use super::*;
use crate::{
    auth::jwt::{
        identity::IdentitySource,
        tests::issuer::{Answer, Server, SigningKey, claims, headers, jwks, now_s},
    },
    config::authorizers::UserPool,
};

/// Two pools behind one server, and an authorizer that takes tokens of both.
struct Pools {
    server: Server,
    keys: [SigningKey; 2],
}

impl Pools {
    async fn start() -> Self {
        let (server, keys) = (Server::start().await, [SigningKey::ec("k"), SigningKey::ec("k")]);
        for (name, key) in ["/a", "/b"].iter().zip(&keys) {
            server.publish(&format!("{name}/.well-known/jwks.json"), Answer::of(jwks([key])));
        }
        Self { server, keys }
    }

    fn issuer(&self, pool: usize) -> String {
        self.server.url(["/a", "/b"][pool])
    }

    fn authorizer(&self, pattern: Option<&str>) -> CognitoAuthorizer {
        let user_pools = [0, 1].map(|pool| UserPool::parse(&self.issuer(pool)).unwrap()).into();
        CognitoAuthorizer::new(CognitoDefinition {
            name: "pools".into(),
            user_pools,
            ca: None,
            identity_source: vec![IdentitySource::Header(header::AUTHORIZATION)],
            audience_pattern: pattern.map(|text| Pattern::parse(text).unwrap()),
        })
        .unwrap()
    }

    fn token(&self, pool: usize, changes: Value) -> HeaderMap {
        headers(&self.keys[pool].token(&claims(&self.issuer(pool), changes)))
    }
}

#[tokio::test]
async fn a_method_without_scopes_takes_id_tokens_and_one_with_scopes_access_tokens() {
    let pools = Pools::start().await;
    let authorizer = pools.authorizer(None);
    let access = json!({"token_use": "access", "aud": null, "client_id": "shop"});
    for (changes, scopes, is_taken) in [
        (json!({"token_use": "id"}), &[][..], true),
        (json!({"token_use": "id"}), &["read"], false),
        (access.clone(), &[], false),
        (access.clone(), &["admin", "read"], true),
        (access, &["admin"], false),
        (json!({}), &[], false),
        (json!({"token_use": ["id"]}), &[], false),
    ] {
        let scopes: Vec<_> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        for pool in [0, 1] {
            let checked = authorizer.check(&pools.token(pool, changes.clone()), None, &scopes).await;
            assert_eq!(checked.is_ok(), is_taken, "{changes} {scopes:?}");
            let Err(refusal) = checked else { continue };
            assert_eq!((refusal.outcome, refusal.challenge), (Outcome::Unauthorized, None));
        }
    }
}

#[tokio::test]
async fn a_token_is_checked_with_the_keys_of_the_pool_that_it_names() {
    let pools = Pools::start().await;
    let authorizer = pools.authorizer(None);
    // Signed by one pool in the name of the other.
    let foreign = headers(&pools.keys[0].token(&claims(&pools.issuer(1), json!({"token_use": "id"}))));
    let unknown = headers(&pools.keys[0].token(&claims("https://else/", json!({"token_use": "id"}))));
    for (headers, outcome, detail) in [
        (foreign, Outcome::Unauthorized, "the token's signature is invalid"),
        (unknown, Outcome::Unauthorized, "the token does not have a valid issuer"),
        (HeaderMap::new(), Outcome::MissingIdentity, "there is no token"),
    ] {
        let refusal = authorizer.check(&headers, None, &[]).await.unwrap_err();
        assert_eq!((refusal.outcome, refusal.challenge), (outcome, None));
        assert_eq!(refusal.detail.as_deref(), Some(detail));
    }
}

#[tokio::test]
async fn a_token_past_its_time_is_told_apart() {
    let pools = Pools::start().await;
    let expired = pools.token(0, json!({"token_use": "id", "exp": now_s() - 1}));
    let refusal = pools.authorizer(None).check(&expired, None, &[]).await.unwrap_err();
    assert_eq!(refusal.outcome, Outcome::ExpiredToken);
    assert_eq!(refusal.of_http_api().status(), 401);
    assert_eq!(refusal.detail.as_deref(), Some("The incoming token has expired"));
}

#[tokio::test]
async fn a_pattern_must_fit_the_whole_audience() {
    let pools = Pools::start().await;
    let authorizer = pools.authorizer(Some("shop-[0-9]+|web"));
    for (changes, scopes, is_taken) in [
        (json!({"aud": "shop-12"}), &[][..], true),
        (json!({"aud": "web"}), &[], true),
        (json!({"aud": "shop-12x"}), &[], false),
        (json!({"aud": "xweb"}), &[], false),
        (json!({"aud": null}), &[], false),
        (json!({"aud": null, "token_use": "access"}), &["read"], false),
    ] {
        let mut own = json!({"token_use": "id"});
        own.as_object_mut().unwrap().extend(changes.as_object().cloned().unwrap());
        let scopes: Vec<_> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let checked = authorizer.check(&pools.token(1, own), None, &scopes).await;
        assert_eq!(checked.is_ok(), is_taken, "{changes}");
    }
}
