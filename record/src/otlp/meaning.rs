//! What the key of an attribute means to a record.
//!
//! A sender's records bear the same keys in the same places, nearly always: [`Keys`] remembers those of the record before, and
//! what is the same again needs neither be checked nor looked up.

use super::walk::Rejection;
use crate::keys;

/// The field of a record that an attribute goes to, or that it stays an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Attribute,
    RequestId,
    Api,
    Stage,
    Route,
    Method,
    Path,
    Protocol,
    Domain,
    Status,
    Outcome,
    ThrottleScope,
    Latency,
    IntegrationLatency,
    AuthorizerLatency,
    IntegrationStatus,
    AuthorizerStatus,
    RequestBytes,
    ResponseBytes,
    ClientAddress,
    UserAgent,
    Principal,
    ApiKeyId,
    UsagePlan,
    Cache,
    Canary,
    TraceKept,
    ErrorMessage,
}

impl Meaning {
    fn of(key: &str) -> Self {
        match key {
            keys::REQUEST_ID => Self::RequestId,
            keys::API => Self::Api,
            keys::STAGE => Self::Stage,
            keys::HTTP_ROUTE => Self::Route,
            keys::HTTP_METHOD => Self::Method,
            keys::URL_PATH => Self::Path,
            keys::PROTOCOL_VERSION => Self::Protocol,
            keys::SERVER_ADDRESS => Self::Domain,
            keys::HTTP_STATUS => Self::Status,
            keys::OUTCOME => Self::Outcome,
            keys::THROTTLE_SCOPE => Self::ThrottleScope,
            keys::LATENCY => Self::Latency,
            keys::INTEGRATION_LATENCY => Self::IntegrationLatency,
            keys::AUTHORIZER_LATENCY => Self::AuthorizerLatency,
            keys::INTEGRATION_STATUS => Self::IntegrationStatus,
            keys::AUTHORIZER_STATUS => Self::AuthorizerStatus,
            keys::HTTP_REQUEST_BYTES => Self::RequestBytes,
            keys::HTTP_RESPONSE_BYTES => Self::ResponseBytes,
            keys::CLIENT_ADDRESS => Self::ClientAddress,
            keys::USER_AGENT => Self::UserAgent,
            keys::PRINCIPAL => Self::Principal,
            keys::API_KEY_ID => Self::ApiKeyId,
            keys::USAGE_PLAN => Self::UsagePlan,
            keys::CACHE => Self::Cache,
            keys::CANARY => Self::Canary,
            keys::TRACE_KEPT => Self::TraceKept,
            keys::ERROR_MESSAGE => Self::ErrorMessage,
            _ => Self::Attribute,
        }
    }

    /// The longest text that its field keeps, bytes.
    pub(super) const fn most_bytes(self) -> usize {
        match self {
            Self::Path => 8 * 1_024,
            Self::ErrorMessage => 4 * 1_024,
            Self::UserAgent => 2 * 1_024,
            _ => 1_024,
        }
    }
}

/// A key, and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    pub(super) text: &'a str,
    pub(super) meaning: Meaning,
}

impl<'a> Key<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, meaning: Meaning::of(text) }
    }
}

/// The first keys of the record before, in their places.
#[derive(Debug, Default)]
pub(super) struct Keys<'a> {
    before: Vec<Key<'a>>,
    next: usize,
}

impl<'a> Keys<'a> {
    /// Places that are remembered.
    const MOST: usize = 64;

    /// Begins the next record.
    pub(super) fn restart(&mut self) {
        self.next = 0;
    }

    /// The record's next key.
    ///
    /// # Errors
    /// When the bytes are not UTF-8.
    #[inline]
    pub(super) fn read(&mut self, bytes: &'a [u8]) -> Result<Key<'a>, Rejection> {
        let place = self.next;
        self.next += 1;
        match self.before.get(place) {
            Some(key) if key.text.as_bytes() == bytes => Ok(*key),
            _ => self.learn(place, bytes),
        }
    }

    #[cold]
    fn learn(&mut self, place: usize, bytes: &'a [u8]) -> Result<Key<'a>, Rejection> {
        let key = Key::new(std::str::from_utf8(bytes).map_err(|_| Rejection::InvalidUtf8)?);
        match self.before.get_mut(place) {
            Some(before) => *before = key,
            // A place may have been left out, by a key that was not UTF-8.
            None if place < Self::MOST => self.before.resize(place + 1, key),
            None => {}
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn a_key_reads_the_same_whatever_was_read_before(
            records in vec(vec(prop_oneof!["[a-c]{0,2}".prop_map(String::into_bytes), vec(any::<u8>(), 0..3)], 0..100), 0..5)
        ) {
            let mut keys = Keys::default();
            for record in &records {
                keys.restart();
                for bytes in record {
                    let expected = std::str::from_utf8(bytes).map(Key::new).map_err(|_| Rejection::InvalidUtf8);
                    prop_assert_eq!(keys.read(bytes), expected);
                }
            }
        }
    }
}
