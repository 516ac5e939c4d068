//! Tokens that were made to be taken for others, and texts that are no tokens: none passes, none stops the reader.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::{super::fuzzing::is_verified, *};

/// Each is made of a token that holds.
#[tokio::test]
async fn attacks_are_refused_with_the_reason() {
    let (rsa, ec) = (SigningKey::rsa("rsa"), SigningKey::ec("ec"));
    let authorizer = authorizer(&[&rsa, &ec]);
    let good = rsa.token(&claims(ISSUER, json!({})));
    assert!(check(&authorizer, &good).await.is_ok());
    let parts: Vec<_> = good.split('.').collect();
    let (claims_segment, signature) = (parts[1], parts[2]);
    let headed = |header: Value| format!("{}.{claims_segment}.{signature}", encode(header.to_string().as_bytes()));
    let signed = |key: &SigningKey, more: Value| {
        let mut header = json!({"alg": if key.id == "rsa" { "RS256" } else { "ES256" }, "kid": key.id});
        header.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_else(Map::new));
        key.token_with(&header.to_string(), &claims(ISSUER, json!({})))
    };
    let text = claims(ISSUER, json!({})).to_string();
    let twice = text.replacen('{', "{\"iss\":\"https://else/\",", 1);
    let deeply = text.replacen('{', "{\"a\":{\"b\":1,\"b\":2},", 1);
    let header = r#"{"alg":"RS256","kid":"rsa"}"#;
    let escaped = r#"{"alg":"RS256","kid":"rsa","\u006bid":"ec"}"#;
    let attacks = [
        ("none", headed(json!({"alg": "none", "kid": "rsa"})), "signing method"),
        ("none without a signature", format!("{}.{claims_segment}.", encode(br#"{"alg":"none"}"#)), "signing method"),
        ("None", headed(json!({"alg": "None", "kid": "rsa"})), "signing method"),
        ("HMAC with the public key", headed(json!({"alg": "HS256", "kid": "rsa"})), "signing method"),
        ("no algorithm", headed(json!({"kid": "rsa"})), "malformed"),
        ("an algorithm of another type", headed(json!({"alg": ["RS256"], "kid": "rsa"})), "malformed"),
        ("an algorithm of another key", headed(json!({"alg": "ES256", "kid": "rsa"})), "key is unknown"),
        ("an algorithm for the same key", headed(json!({"alg": "PS256", "kid": "rsa"})), "signature is invalid"),
        ("the id of another key", headed(json!({"alg": "RS256", "kid": "ec"})), "key is unknown"),
        ("an id that is a path", headed(json!({"alg": "RS256", "kid": "../../dev/null"})), "key is unknown"),
        ("an id of another type", headed(json!({"alg": "RS256", "kid": 1})), "malformed"),
        ("a key of its own", signed(&SigningKey::ec("ec"), json!({"jwk": ec.jwk()})), "a member that is not accepted"),
        ("the URL of a key set", signed(&rsa, json!({"jku": "https://else/"})), "a member that is not accepted"),
        ("the URL of a certificate", signed(&rsa, json!({"x5u": "https://else/"})), "a member that is not accepted"),
        ("a certificate", signed(&rsa, json!({"x5c": ["MII"]})), "a member that is not accepted"),
        ("an extension", signed(&rsa, json!({"crit": ["b64"], "b64": false})), "a member that is not accepted"),
        ("another key of the same id", SigningKey::ec("ec").token(&claims(ISSUER, json!({}))), "signature is invalid"),
        ("claims of another token", good.replace(claims_segment, &encode(twice.as_bytes())), "signature is invalid"),
        ("an issuer twice", rsa.token_of(header, &twice), "malformed"),
        ("a member twice, deep down", rsa.token_of(header, &deeply), "malformed"),
        ("an id twice, once escaped", rsa.token_of(escaped, &text), "malformed"),
        ("claims that are no object", rsa.token_of(header, "[]"), "malformed"),
        ("claims with something behind", rsa.token_of(header, &format!("{text}{{}}")), "malformed"),
        ("no signature", good.replace(signature, ""), "signature is invalid"),
        ("half a signature", good.replace(signature, &signature[..100]), "signature is invalid"),
        ("an ECDSA signature of zeros", zero_signature(&ec), "signature is invalid"),
        ("padding", format!("{good}=="), "malformed"),
        ("a space", format!(" {good}"), "malformed"),
        ("a space behind", format!("{good} "), "malformed"),
        ("another alphabet", good.replacen(signature, &signature.replace(['-', '_'], "+"), 1), "malformed"),
        ("a fourth segment", format!("{good}.x"), "invalid number of segments"),
        ("two segments", format!("{}.{claims_segment}", parts[0]), "invalid number of segments"),
        ("nothing", String::new(), "invalid number of segments"),
        ("two tokens", format!("{good},{good}"), "invalid number of segments"),
        ("a large token", format!("{good}{}", "x".repeat(16 << 10)), "too large"),
        ("depth", format!("{}.x.x", encode("[".repeat(9_000).as_bytes())), "malformed"),
    ];
    for (name, token, reason) in attacks {
        let refusal = check(&authorizer, &token).await.expect_err(name);
        assert_eq!(refusal.outcome, Outcome::Unauthorized, "{name}");
        let challenge = refusal.challenge.unwrap();
        assert!(challenge.contains(reason) && challenge.contains("error=\"invalid_token\""), "{name}: {challenge}");
    }
}

fn zero_signature(key: &SigningKey) -> String {
    let token = key.token(&claims(ISSUER, json!({})));
    let (signed, _) = token.rsplit_once('.').unwrap();
    format!("{signed}.{}", encode(&[0; 64]))
}

#[test]
fn a_key_is_used_only_as_it_says() {
    let (rsa, ec) = (SigningKey::rsa("k"), SigningKey::ec("k"));
    let token = |key: &SigningKey| key.token(&claims(ISSUER, json!({})));
    let with = |key: &SigningKey, more: Value| {
        let mut jwk = key.jwk();
        jwk.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        json!({"keys": [jwk]}).to_string()
    };
    let n = |bytes: &[u8]| encode(&[&[0], bytes].concat());
    for (key, more, is_usable) in [
        (&rsa, json!({}), true),
        (&rsa, json!({"alg": "RS256", "use": "sig", "key_ops": ["verify"]}), true),
        (&rsa, json!({"alg": "RS512"}), false),
        (&rsa, json!({"alg": "RSA-OAEP"}), false),
        (&rsa, json!({"alg": "HS256"}), false),
        (&rsa, json!({"use": "enc"}), false),
        (&rsa, json!({"key_ops": ["encrypt"]}), false),
        (&rsa, json!({"kid": "else"}), false),
        (&rsa, json!({"kty": "EC"}), false),
        (&rsa, json!({"kty": "oct"}), false),
        (&rsa, json!({"e": "AQ"}), false),
        (&rsa, json!({"e": "Ag"}), false),
        (&rsa, json!({"e": "AQAAAAAB"}), false),
        (&rsa, json!({"n": ""}), false),
        (&rsa, json!({"n": n(&[0xff; 255])}), false),
        (&rsa, json!({"n": n(&[0xff; 1_025])}), false),
        (&rsa, json!({"n": 3}), false),
        (&ec, json!({}), true),
        (&ec, json!({"alg": "ES256"}), true),
        (&ec, json!({"alg": "ES384"}), false),
        (&ec, json!({"crv": "P-384"}), false),
        (&ec, json!({"crv": "secp256k1"}), false),
        (&ec, json!({"x": encode(&[1; 32])}), false),
        (&ec, json!({"x": encode(&[1; 31])}), false),
        (&ec, json!({"y": null}), false),
    ] {
        let keys = with(key, more.clone());
        assert_eq!(is_verified(keys.as_bytes(), &token(key)), is_usable, "{more}");
    }
}

#[test]
fn a_token_that_names_no_key_needs_one_alone_that_it_can_mean() {
    let (first, second) = (SigningKey::ec("a"), SigningKey::ec("b"));
    let token = first.token_with(r#"{"alg":"ES256"}"#, &claims(ISSUER, json!({})));
    assert!(is_verified(jwks([&first]).as_bytes(), &token));
    assert!(is_verified(jwks([&SigningKey::rsa("r"), &first]).as_bytes(), &token));
    assert!(!is_verified(jwks([&first, &second]).as_bytes(), &token));
    // Two keys of one id, as some issuers have while they change them.
    let mut same = second;
    same.id = "a".into();
    let token = first.token(&claims(ISSUER, json!({})));
    assert!(is_verified(jwks([&same, &first]).as_bytes(), &token));
}

proptest! {
    #[test]
    fn a_token_that_was_changed_anywhere_does_not_pass(
        at in 0_usize..10_000,
        length in 0_usize..4,
        by in "[-A-Za-z0-9_.=+/ {}\"]{0,4}",
        is_rsa in any::<bool>(),
    ) {
        thread_local! {
            static KNOWN: [(String, String); 2] = [SigningKey::rsa("k"), SigningKey::ec("k")]
                .map(|key| (jwks([&key]), key.token(&claims(ISSUER, json!({})))));
        }
        let (keys, token) = KNOWN.with(|known| known[usize::from(is_rsa)].clone());
        let at = at % (token.len() + 1);
        let changed = format!("{}{by}{}", &token[..at], &token[(at + length).min(token.len())..]);
        prop_assert!(is_verified(keys.as_bytes(), &token));
        prop_assert_eq!(is_verified(keys.as_bytes(), &changed), changed == token);
    }

    #[test]
    fn no_text_stops_the_reader(
        token in "\\PC{0,40}(\\.\\PC{0,40}){0,3}",
        header in "\\{(\"(alg|kid|crit|x)\":(\"RS256\"|\"k\"|1|null|\\[\\]),?){0,4}\\}",
        keys in any::<Vec<u8>>(),
    ) {
        let _ = is_verified(&keys, &token);
        let known = jwks([&SigningKey::rsa("k")]);
        let token = format!("{}.{}.{}", encode(header.as_bytes()), encode(b"{}"), encode(&keys));
        prop_assert!(!is_verified(known.as_bytes(), &token));
    }
}
