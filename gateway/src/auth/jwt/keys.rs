//! A JSON Web Key Set (RFC 7517), ready to verify with.
//!
//! What always holds: a key verifies only what its type, its `alg`, its `use` and its `key_ops` allow. Keys that cannot
//! be used here are passed over, as RFC 7517, section 5, wants it.

use std::fmt;

use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{
    algorithm::{Algorithm, Curve, RSA},
    fault::TokenFault,
    token::Token,
};

/// RSA moduli that are taken, bits. Shorter ones are factored by those who can afford it (NIST SP 800-131A).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// The largest RSA exponent, bytes: what the verifying library takes too.
const MOST_EXPONENT_BYTES: usize = 5;

/// The keys of an issuer.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    /// The key for each algorithm that it may be used with.
    uses: Vec<(Algorithm, ParsedPublicKey)>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let is_same =
            |((own, key), (others, other)): (&(Algorithm, ParsedPublicKey), &(Algorithm, ParsedPublicKey))| {
                own == others && key.as_ref() == other.as_ref()
            };
        self.id == other.id && self.uses.len() == other.uses.len() && self.uses.iter().zip(&other.uses).all(is_same)
    }
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a key set.
    ///
    /// # Errors
    /// When the text is no key set, or has no key that can be used.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let set: Jwks = serde_json::from_slice(text).map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
        let jwks = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<_> = jwks.filter_map(|jwk| Some(Key { uses: jwk.uses()?, id: jwk.kid })).collect();
        if keys.is_empty() {
            return Err("it has no key that signatures can be verified with".to_owned());
        }
        Ok(Self { keys })
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether a token's key is here.
    pub(super) fn has(&self, token: &Token<'_>) -> bool {
        self.candidates(token).next().is_some()
    }

    /// Verifies a token's signature. Where it names no key, there must be one alone that it can mean.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), TokenFault> {
        let mut candidates = self.candidates(token).peekable();
        candidates.peek().ok_or(TokenFault::UnknownKey)?;
        if token.key_id.is_none() && self.candidates(token).nth(1).is_some() {
            return Err(TokenFault::UnknownKey);
        }
        // Ids need not be unique (RFC 7517, section 4.5).
        let holds = |key: &ParsedPublicKey| key.verify_sig(token.signed.as_bytes(), &token.signature).is_ok();
        if candidates.any(holds) { Ok(()) } else { Err(TokenFault::Signature) }
    }

    fn candidates(&self, token: &Token<'_>) -> impl Iterator<Item = &ParsedPublicKey> {
        let named = |key: &&Key| token.key_id.is_none() || key.id == token.key_id;
        let fit = |key| {
            let Key { uses, .. }: &Key = key;
            uses.iter().find(|(algorithm, _)| *algorithm == token.algorithm).map(|(_, key)| key)
        };
        self.keys.iter().filter(named).filter_map(fit)
    }
}

impl Jwk {
    /// The key for each algorithm that it may be used with; none when it cannot be used.
    fn uses(&self) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
        let is_for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|name| name == "verify"));
        let only = match &self.alg {
            Some(name) => Some(Algorithm::from_name(name)?),
            None => None,
        };
        let mut uses = match self.kty.as_str() {
            _ if !is_for_signatures => return None,
            "RSA" => self.rsa()?,
            "EC" => self.ec()?,
            _ => return None,
        };
        uses.retain(|(algorithm, _)| only.is_none_or(|only| only == *algorithm));
        (!uses.is_empty()).then_some(uses)
    }

    fn rsa(&self) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
        let (n, e) = (decode(self.n.as_deref()?)?, decode(self.e.as_deref()?)?);
        let (n, e) = (without_leading_zeros(&n), without_leading_zeros(&e));
        let bits = n.len() * 8 - usize::try_from(n.first()?.leading_zeros()).ok()?;
        let is_odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last % 2 == 1);
        if !RSA_BITS.contains(&bits) || !is_odd(n) || !is_odd(e) || e == [1] || e.len() > MOST_EXPONENT_BYTES {
            return None;
        }
        let parse = |(algorithm, parameters)| {
            let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).ok()?;
            Some((algorithm, key))
        };
        RSA.into_iter().map(parse).collect()
    }

    fn ec(&self) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
        let curve = Curve::from_name(self.crv.as_deref()?)?;
        let (x, y) = (decode(self.x.as_deref()?)?, decode(self.y.as_deref()?)?);
        // RFC 7518, section 6.2.1.2: the full size of a coordinate, so that a point has one spelling.
        if x.len() != curve.coordinate_bytes || y.len() != curve.coordinate_bytes {
            return None;
        }
        let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
        Some(vec![(curve.algorithm, ParsedPublicKey::new(curve.verification, point).ok()?)])
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Some issuers write the sign byte of ASN.1, which RFC 7518, section 2, forbids; the number is the same.
fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]
}
