//! Signing keys: a secret access key is never used as it is, but derived for a day, a region and a service
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#derive-signing-key>).

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, Tag, sign};

use super::{ALGORITHM, TERMINATOR, moment::Moment};

/// What a signing key is good for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// `20150830`.
    pub(crate) date: &'a str,
    /// `eu-central-1`.
    pub(crate) region: &'a str,
    /// `execute-api`.
    pub(crate) service: &'a str,
}

/// A secret access key, and the signing key that was last derived from it: the next request most likely wants the same.
/// The secret itself is not kept.
pub(crate) struct SecretKey {
    root: Key,
    last: RwLock<Option<Arc<SigningKey>>>,
}

/// A signing key.
pub(crate) struct SigningKey {
    /// Date, region and service, one behind the other with slashes.
    scope: String,
    key: Key,
}

impl SecretKey {
    /// The key that this secret is.
    pub(crate) fn new(secret: &str) -> Self {
        Self { root: Key::new(HMAC_SHA256, format!("AWS4{secret}").as_bytes()), last: RwLock::default() }
    }

    /// The signing key for a scope.
    pub(crate) fn signing_key(&self, scope: Scope<'_>) -> Arc<SigningKey> {
        if let Some(last) = self.last.read().unwrap_or_else(PoisonError::into_inner).as_ref()
            && last.is_for(scope)
        {
            return Arc::clone(last);
        }
        let next = |key: &Key, part: &str| Key::new(HMAC_SHA256, sign(key, part.as_bytes()).as_ref());
        let region = next(&next(&self.root, scope.date), scope.region);
        let key = next(&next(&region, scope.service), TERMINATOR);
        let key = Arc::new(SigningKey { scope: format!("{}/{}/{}", scope.date, scope.region, scope.service), key });
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&key));
        key
    }
}

impl SigningKey {
    /// The signature of a canonical request of this hash, in digits, that was made at this moment.
    pub(crate) fn sign(&self, moment: Moment, canonical_hash: &str) -> Tag {
        sign(&self.key, format!("{ALGORITHM}\n{moment}\n{}/{TERMINATOR}\n{canonical_hash}", self.scope).as_bytes())
    }

    fn is_for(&self, scope: Scope<'_>) -> bool {
        let mut parts = self.scope.splitn(3, '/');
        [scope.date, scope.region, scope.service].into_iter().all(|part| parts.next() == Some(part))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_for_its_own_scope_alone() {
        let kept = SecretKey::new("secret");
        let moment = Moment::parse_basic("20150830T123600Z").unwrap();
        let (date, region, service) = ("20150830", "us-east-1", "lambda");
        let scope = Scope { date, region, service };
        let others = [
            Scope { date: "20150831", ..scope },
            Scope { region: "us-east-2", ..scope },
            Scope { service: "lambd", ..scope },
            Scope { region: "us-east-1/lambda", service: "", ..scope },
        ];
        for other in others {
            let fresh = |scope| SecretKey::new("secret").signing_key(scope).sign(moment, "").as_ref().to_vec();
            for scope in [scope, scope, other, other, scope] {
                assert_eq!(kept.signing_key(scope).sign(moment, "").as_ref(), fresh(scope), "{scope:?}");
            }
            assert_ne!(fresh(scope), fresh(other));
        }
    }
}
