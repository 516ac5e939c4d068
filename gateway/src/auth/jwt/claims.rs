//! What a verified token says, and the checks of it, in API Gateway's order
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>).

use std::{borrow::Cow, fmt};

use serde_json::{Map, Value};

use super::fault::TokenFault;

/// Seconds since 1970 that numbers in a token may differ from ours: `leeway` beyond each end of a token's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Now.
    pub now_s: f64,
    /// How far the issuer's clock may be from ours.
    pub leeway_s: f64,
}

/// What a token must say, besides bearing a signature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'r> {
    /// Its `iss`.
    pub issuer: &'r str,
    /// One of these its `aud`, or where it has none its `client_id`, must name; none when nothing is asked.
    pub audience: Option<&'r [String]>,
}

/// What a token says that was verified.
pub(crate) struct Claims {
    /// All claims.
    pub all: Map<String, Value>,
    /// The scopes of `scope`, or else of `scp`.
    pub scopes: Vec<String>,
    /// `exp`: from then on the token does not hold; seconds since 1970.
    expires_s: f64,
    /// The later of `nbf` and `iat`: before it the token does not hold; seconds since 1970.
    begins_s: f64,
}

/// The names alone: what a token says of a person belongs in no log.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.all.keys()).finish()
    }
}

#[cfg(test)]
impl Claims {
    /// What this JSON says, of no token.
    pub(crate) fn unchecked(text: &str) -> Self {
        let all: Map<String, Value> = serde_json::from_str(text).unwrap();
        Self { scopes: scopes(&all), all, expires_s: f64::INFINITY, begins_s: 0.0 }
    }
}

impl Claims {
    /// Checks what a token says whose signature holds.
    pub(super) fn check(all: Map<String, Value>, expected: Expected<'_>, clock: Clock) -> Result<Self, TokenFault> {
        if all.get("iss").and_then(Value::as_str) != Some(expected.issuer) {
            return Err(TokenFault::Issuer);
        }
        let is_meant = |audience: &[String]| {
            let named = present(&all, "aud").or_else(|| present(&all, "client_id"));
            let is_own = |value: &Value| value.as_str().is_some_and(|name| audience.iter().any(|own| own == name));
            named.is_some_and(|named| named.as_array().map_or_else(|| is_own(named), |names| names.iter().any(is_own)))
        };
        if !expected.audience.is_none_or(is_meant) {
            return Err(TokenFault::Audience);
        }
        let expires_s = time(&all, "exp")?.ok_or(TokenFault::NoExpiry)?;
        let not_before_s = time(&all, "nbf")?.unwrap_or(0.0);
        let issued_s = time(&all, "iat")?.unwrap_or(0.0);
        let begins_s = not_before_s.max(issued_s);
        let claims = Self { scopes: scopes(&all), all, expires_s, begins_s };
        match claims.check_time(clock) {
            Err(TokenFault::NotYet) if not_before_s <= clock.now_s + clock.leeway_s => Err(TokenFault::IssuedLater),
            checked => checked.map(|()| claims),
        }
    }

    /// Whether the token holds at this time.
    pub(super) fn check_time(&self, clock: Clock) -> Result<(), TokenFault> {
        if self.expires_s <= clock.now_s - clock.leeway_s {
            return Err(TokenFault::Expired);
        }
        if self.begins_s > clock.now_s + clock.leeway_s { Err(TokenFault::NotYet) } else { Ok(()) }
    }

    /// Whether the token has one of these scopes; none asked for is none needed.
    pub(crate) fn has_scope_of(&self, scopes: &[String]) -> bool {
        scopes.is_empty() || self.scopes.iter().any(|own| scopes.contains(own))
    }

    /// Who asks: `sub`, or the client itself (`client_id`).
    pub(crate) fn principal(&self) -> Option<&str> {
        self.string("sub").or_else(|| self.string("client_id"))
    }

    /// A claim that is a text.
    pub(crate) fn string(&self, name: &str) -> Option<&str> {
        self.all.get(name).and_then(Value::as_str)
    }

    /// A claim as API Gateway hands it on, in `$context.authorizer.claims` and in a function's event: texts as they are,
    /// lists as `[a b]`, all else as JSON.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.all.get(name).map(text)
    }
}

fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(values) => {
            let texts: Vec<_> = values.iter().map(text).collect();
            Cow::Owned(format!("[{}]", texts.join(" ")))
        }
        other => Cow::Owned(other.to_string()),
    }
}

/// A claim that says something: null says nothing.
fn present<'a>(all: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    all.get(name).filter(|value| !value.is_null())
}

/// A time, seconds since 1970 (RFC 7519, `NumericDate`: fractions are allowed).
fn time(all: &Map<String, Value>, name: &str) -> Result<Option<f64>, TokenFault> {
    match present(all, name) {
        None => Ok(None),
        Some(value) => value.as_f64().filter(|time| time.is_finite()).map(Some).ok_or(TokenFault::Malformed),
    }
}

fn scopes(all: &Map<String, Value>) -> Vec<String> {
    match present(all, "scope").or_else(|| present(all, "scp")) {
        Some(Value::String(text)) => text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
