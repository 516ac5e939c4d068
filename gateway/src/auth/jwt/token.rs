//! A token as it stands in a request: a JSON Web Signature in compact form (RFC 7515), read strictly.
//!
//! What always holds: one text is one token. Base64 is canonical (no padding, no stray bits), no object names a member
//! twice at any depth, and the header cannot bring a key of its own; so nobody downstream reads another token here.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{algorithm::Algorithm, fault::TokenFault};

/// The largest token that is looked at, bytes.
pub(super) const MOST_BYTES: usize = 16 << 10;

/// Header members by which a token would bring its own key (RFC 7515, sections 4.1.2 to 4.1.6), or ask for extensions
/// that are not understood here (section 4.1.11).
const REFUSED_MEMBERS: [&str; 5] = ["jwk", "jku", "x5u", "x5c", "crit"];

/// The parts of a token. Nothing of it is verified.
pub(super) struct Token<'t> {
    /// What its header says it is signed with.
    pub algorithm: Algorithm,
    /// The key's id, when the header names one.
    pub key_id: Option<String>,
    /// What is signed: header and claims as they came.
    pub signed: &'t str,
    /// The signature.
    pub signature: Vec<u8>,
    claims: &'t str,
}

impl<'t> Token<'t> {
    /// Takes a text apart.
    pub(super) fn parse(text: &'t str) -> Result<Self, TokenFault> {
        if text.len() > MOST_BYTES {
            return Err(TokenFault::TooLarge);
        }
        let mut segments = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(TokenFault::Segments);
        };
        let mut members = object(header)?;
        if REFUSED_MEMBERS.iter().any(|name| members.contains_key(*name)) {
            return Err(TokenFault::Header);
        }
        let algorithm = members.get("alg").and_then(Value::as_str).ok_or(TokenFault::Malformed)?;
        let algorithm = Algorithm::from_name(algorithm).ok_or(TokenFault::Algorithm)?;
        let key_id = match members.remove("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(TokenFault::Malformed),
        };
        let signature = decode(signature)?;
        Ok(Self { algorithm, key_id, signed: &text[..header.len() + 1 + claims.len()], signature, claims })
    }

    /// The claims.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, TokenFault> {
        object(self.claims)
    }
}

fn decode(segment: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| TokenFault::Malformed)
}

fn object(segment: &str) -> Result<Map<String, Value>, TokenFault> {
    match serde_json::from_slice(&decode(segment)?) {
        Ok(Strict(Value::Object(members))) => Ok(members),
        _ => Err(TokenFault::Malformed),
    }
}

/// JSON in which no object names a member twice (RFC 7519, section 4, leaves it to the reader to refuse them).
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(members))
    }
}
