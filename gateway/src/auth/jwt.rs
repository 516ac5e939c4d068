//! JSON Web Tokens: API Gateway's JWT authorizer for HTTP APIs
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>), RS256 and ES256.
//!
//! The algorithm is one of an allow-list and must be that of the key it is checked with: a token cannot choose how it
//! is checked. Keys come from a JWKS, which is read again when a token names a key that is not in it, at most once in
//! [`REFRESH_PAUSE`] however many such tokens come.

use std::{
    fs,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use http::{HeaderMap, Uri};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    errors::ErrorKind,
    jwk::{Jwk, JwkSet},
};
use serde_json::Value;
use tokio::sync::Mutex;
use weir_record::Outcome;

use crate::{
    config::apis::{JwksSource, JwtDefinition},
    refusal::Refusal,
    upstream::fetch,
};

/// Between two readings of a key set.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);

/// The largest token that is looked at, bytes.
const MOST_TOKEN_BYTES: usize = 16 << 10;

const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];

/// Takes tokens of one issuer.
#[derive(Debug)]
pub(crate) struct JwtAuthorizer {
    definition: JwtDefinition,
    keys: RwLock<Arc<Vec<NamedKey>>>,
    /// When the keys were last read. Whoever holds it reads them; the others wait and look again.
    last_read: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct NamedKey {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// A key set that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the key set of jwt_authorizer {name:?} cannot be read from {from}: {reason}")]
pub struct KeySetError {
    name: String,
    from: String,
    reason: String,
}

impl JwtAuthorizer {
    /// An authorizer; a key set in a file is read now, one at a URL when the first token comes.
    ///
    /// # Errors
    /// When the file cannot be read or is no key set.
    pub(crate) fn new(definition: JwtDefinition) -> Result<Self, KeySetError> {
        let keys = match &definition.jwks {
            JwksSource::File(path) => {
                let text = fs::read(path).map_err(|error| key_set_error(&definition, &error))?;
                parse_keys(&text).map_err(|error| key_set_error(&definition, &error))?
            }
            JwksSource::Url(_) => Vec::new(),
        };
        Ok(Self { definition, keys: RwLock::new(Arc::new(keys)), last_read: Mutex::new(None) })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.definition.name
    }

    /// The `sub` of the request's token, if the token holds.
    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
        let mut values = headers.get_all(self.definition.header.as_str()).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(unauthorized("there is no token, or there are several", None));
        };
        let text = value.to_str().map_err(|_| invalid("the token is no text"))?;
        let token = text
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or(text, |(_, token)| token);
        if token.len() > MOST_TOKEN_BYTES {
            return Err(invalid("the token is too large"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid("the token is malformed"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(invalid("the token's algorithm is not supported"));
        }
        let keys = self.keys_with(header.kid.as_deref()).await?;
        let mut candidates = keys.iter().filter(|key| {
            (header.kid.is_none() || key.id == header.kid)
                && key.algorithm.is_none_or(|algorithm| algorithm == header.alg)
        });
        let key = candidates.next().ok_or_else(|| invalid("the token's key is unknown"))?;
        self.verify(token, header.alg, &key.key)
    }

    fn verify(&self, token: &str, algorithm: Algorithm, key: &DecodingKey) -> Result<Option<String>, Refusal> {
        let mut validation = Validation::new(algorithm);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.definition.issuer]);
        validation.set_required_spec_claims(&["exp", "iss"]);
        // An access token may bear client_id in place of aud; both are looked at below.
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Value>(token, key, &validation).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => {
                Refusal { outcome: Outcome::ExpiredToken, ..invalid("the token has expired") }
            }
            ErrorKind::ImmatureSignature => invalid("the token is not valid yet"),
            ErrorKind::InvalidIssuer => invalid("the token does not have the issuer that is asked for"),
            ErrorKind::MissingRequiredClaim(_) => invalid("the token lacks a claim"),
            _ => invalid("the token's signature does not hold"),
        })?;
        let claims = claims.claims;
        let named = if claims["aud"].is_null() { &claims["client_id"] } else { &claims["aud"] };
        let is_meant = |value: &Value| self.definition.audience.iter().any(|own| value.as_str() == Some(own));
        if !(is_meant(named) || named.as_array().is_some_and(|values| values.iter().any(is_meant))) {
            return Err(invalid("the token does not have a valid audience"));
        }
        Ok(claims["sub"].as_str().map(str::to_owned))
    }

    /// The key set; read again when it lacks the key of this id.
    async fn keys_with(&self, id: Option<&str>) -> Result<Arc<Vec<NamedKey>>, Refusal> {
        let has = |keys: &[NamedKey]| match id {
            Some(_) => keys.iter().any(|key| key.id.as_deref() == id),
            None => !keys.is_empty(),
        };
        let keys = self.keys();
        if has(&keys) {
            return Ok(keys);
        }
        let mut last_read = self.last_read.lock().await;
        let keys = self.keys();
        if has(&keys) || last_read.is_some_and(|last| last.elapsed() < REFRESH_PAUSE) {
            return Ok(keys);
        }
        *last_read = Some(Instant::now());
        match self.read_keys().await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&keys);
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!(%error, "token refused");
                Err(Refusal::with_detail(Outcome::AuthorizerFailure, error.to_string()))
            }
        }
    }

    fn keys(&self) -> Arc<Vec<NamedKey>> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn read_keys(&self) -> Result<Vec<NamedKey>, KeySetError> {
        let failed = |error: &dyn std::fmt::Display| key_set_error(&self.definition, error);
        let text = match &self.definition.jwks {
            JwksSource::File(path) => tokio::fs::read(path).await.map_err(|error| failed(&error))?,
            JwksSource::Url(url) => {
                let uri: Uri = url.parse().map_err(|error| failed(&error))?;
                fetch(&uri).await.map_err(|error| failed(&error))?.to_vec()
            }
        };
        parse_keys(&text).map_err(|error| failed(&error))
    }
}

/// The keys of a set that tokens here can be checked with; others are passed over.
fn parse_keys(text: &[u8]) -> Result<Vec<NamedKey>, serde_json::Error> {
    let set: JwkSet = serde_json::from_slice(text)?;
    let usable = |jwk: &Jwk| {
        let algorithm = jwk.common.key_algorithm.and_then(|algorithm| algorithm.to_string().parse().ok());
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(NamedKey { id: jwk.common.key_id.clone(), algorithm, key })
    };
    Ok(set.keys.iter().filter_map(usable).collect())
}

fn key_set_error(definition: &JwtDefinition, reason: &dyn std::fmt::Display) -> KeySetError {
    let from = match &definition.jwks {
        JwksSource::File(path) => path.display().to_string(),
        JwksSource::Url(url) => url.clone(),
    };
    KeySetError { name: definition.name.clone(), from, reason: reason.to_string() }
}

/// RFC 6750, section 3.1: `invalid_token`.
fn invalid(description: &str) -> Refusal {
    unauthorized(description, Some("invalid_token"))
}

fn unauthorized(description: &str, error: Option<&str>) -> Refusal {
    let challenge = match error {
        Some(error) => format!("Bearer scope=\"\" error=\"{error}\" error_description=\"{description}\""),
        None => "Bearer".to_owned(),
    };
    Refusal { challenge: Some(challenge), ..Refusal::with_detail(Outcome::Unauthorized, description) }
}

#[cfg(test)]
mod tests;
