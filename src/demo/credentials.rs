//! The demo's keys and tokens, made anew at each start: nothing secret stands in the program.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// How long the demo's token holds: longer than anybody watches a demo.
const TOKEN_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What the demo's clients prove themselves with.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// A key that the gateway knows.
    pub(crate) api_key: String,
    /// A token that holds.
    pub(crate) token: String,
    /// A token whose time is over.
    pub(crate) expired_token: String,
    /// The public half of the tokens' key, as a JWKS.
    pub(crate) jwks: Value,
}

impl Credentials {
    /// Makes a key pair and signs the tokens (ES256, RFC 7518 section 3.4).
    pub(crate) fn make() -> anyhow::Result<Self> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| anyhow!("cannot make a key pair for the demo"))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())
            .map_err(|_| anyhow!("cannot read the demo's key pair"))?;
        // An uncompressed point (SEC 1, 2.3.3): 4, then x and y.
        let point = pair.public_key().as_ref();
        let (x, y) = point.get(1..).and_then(|point| point.split_at_checked(32)).context("no P-256 point")?;
        let coordinate = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({
            "kty": "EC", "crv": "P-256", "kid": "demo", "alg": "ES256", "use": "sig", "x": coordinate(x), "y": coordinate(y),
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let signing_key = EncodingKey::from_ec_der(pkcs8.as_ref());
        let sign = |expires: Duration| {
            let header = Header { kid: Some("demo".to_owned()), ..Header::new(Algorithm::ES256) };
            let claims = json!({
                "iss": "https://demo.weir.example/", "aud": "shop", "sub": "ada", "exp": expires.as_secs(),
            });
            jsonwebtoken::encode(&header, &claims, &signing_key)
        };
        Ok(Self {
            api_key: format!("demo-{}", uuid::Uuid::new_v4()),
            token: sign(now + TOKEN_LIFE)?,
            expired_token: sign(now.saturating_sub(Duration::from_secs(3_600)))?,
            jwks: json!({ "keys": [key] }),
        })
    }
}
