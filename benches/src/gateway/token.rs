//! A token that holds, and the key set it is checked with: RS256 (RFC 7518, section 3.3), as most issuers sign.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// How long the token holds: longer than any run.
const LIFE: Duration = Duration::from_secs(24 * 3_600);

/// Makes a key, and signs a token with it; gives the token and the key set.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn make() -> anyhow::Result<(String, Value)> {
    let failed = |_| anyhow!("cannot make an RSA key");
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
    // RFC 8017, A.1.1: a sequence of the modulus, 2048 bits with a zero before them, and the exponent 65537.
    let modulus = pair.public_key().as_ref().get(9..265).context("no RSA key of 2048 bits")?;
    let keys = json!({ "keys": [{
        "kty": "RSA", "kid": "bench", "alg": "RS256", "use": "sig", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB",
    }] });
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + LIFE;
    let claims = json!({
        "iss": "https://issuer.example/", "aud": "bench", "sub": "ada", "exp": expires.as_secs(), "scope": "items/read",
    });
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(json!({ "alg": "RS256", "typ": "JWT", "kid": "bench" })), encode(claims));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).map_err(failed)?;
    Ok((format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)), keys))
}
