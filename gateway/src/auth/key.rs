//! API keys: the header `x-api-key`, or what an authorizer gave as `usageIdentifierKey`. Kept as their SHA-256; the key
//! itself is never kept, logged or recorded.
//!
//! A key opens the stages of its usage plans. A key that is in no plan opens the stages that no plan names, so that a
//! small set-up needs no plan; API Gateway would refuse it.

use std::{collections::HashMap, fmt, sync::Arc};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use http::HeaderMap;
use weir_record::Outcome;

use crate::{
    limits::{PlanEntry, StageId},
    refusal::Refusal,
};

const HEADER: &str = "x-api-key";

/// What a key is known by: its SHA-256. It is not shown either.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key that is fit to be one.
    ///
    /// # Errors
    /// What is wrong with it, in API Gateway's words as far as it has any.
    pub fn of_key(key: &str) -> Result<Self, &'static str> {
        match key.chars().count() {
            ..20 => Err("API Key value should be at least 20 characters"),
            129.. => Err("API Key value exceeds maximum size of 128 characters"),
            _ if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Self::of(key.as_bytes())),
            _ => Err("has a character that a header cannot carry"),
        }
    }

    /// A hash in hexadecimal; none when it is not one.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        let is_hash = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash { unhex(digits).try_into().ok().map(Self) } else { None }
    }

    fn of(key: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, key).as_ref());
        Self(bytes)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

/// All keys of a configuration, and the stages that they open.
#[derive(Debug, Default)]
pub(crate) struct ApiKeys {
    keys: HashMap<KeyHash, ApiKey>,
    /// Of each stage, whether a plan names it.
    planned: Box<[bool]>,
}

/// A key.
#[derive(Debug)]
pub(crate) struct ApiKey {
    /// Its id: what records name it by.
    pub id: Arc<str>,
    /// Whether it opens anything.
    pub is_enabled: bool,
    /// What its plans allow it, by stage; few.
    pub plans: Vec<(StageId, Arc<PlanEntry>)>,
}

/// A key that opens a stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted<'k> {
    /// Its id.
    pub id: &'k Arc<str>,
    /// What its plan allows it in this stage, if it is in one.
    pub plan: Option<&'k Arc<PlanEntry>>,
}

impl ApiKeys {
    /// Keys by their hashes; `planned` says of each stage whether a plan names it.
    pub(crate) fn new(keys: HashMap<KeyHash, ApiKey>, planned: Box<[bool]>) -> Self {
        Self { keys, planned }
    }

    /// The key that a request bears in its header, if it opens the stage.
    ///
    /// # Errors
    /// 403 when it does not, and when there is no such header, or more than one.
    pub(crate) fn admit(&self, headers: &HeaderMap, stage: StageId) -> Result<Admitted<'_>, Refusal> {
        let mut values = headers.get_all(HEADER).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Refusal::with_detail(Outcome::InvalidApiKey, "no x-api-key header, or several"));
        };
        self.admit_value(value.as_bytes(), stage)
    }

    /// The same for a key that an authorizer gave (`usageIdentifierKey`).
    ///
    /// # Errors
    /// 403 when it does not open the stage.
    pub(crate) fn admit_value(&self, key: &[u8], stage: StageId) -> Result<Admitted<'_>, Refusal> {
        let hash = KeyHash::of(key);
        // Found by its hash, which tells nobody anything of the key; compared once more in constant time.
        let found = self.keys.get_key_value(&hash).filter(|(own, _)| verify_slices_are_equal(&own.0, &hash.0).is_ok());
        let Some((_, key)) = found else { return Err(Refusal::with_detail(Outcome::InvalidApiKey, "unknown API key")) };
        let refused = |why| Refusal::with_detail(Outcome::InvalidApiKey, format!("API key {:?} {why}", key.id));
        if !key.is_enabled {
            return Err(refused("is not enabled"));
        }
        if let Some((_, plan)) = key.plans.iter().find(|(own, _)| *own == stage) {
            return Ok(Admitted { id: &key.id, plan: Some(plan) });
        }
        let is_planned = self.planned.get(stage.index()).copied().unwrap_or(true);
        if is_planned || !key.plans.is_empty() {
            return Err(refused("is in no usage plan of this stage"));
        }
        Ok(Admitted { id: &key.id, plan: None })
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len() / 2)
        .filter_map(|index| u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const KEY: &str = "0123456789-0123456789";

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (http::HeaderName::from_static(HEADER), HeaderValue::from_static(value))).collect()
    }

    /// A key without a plan, and a stage that no plan names beside one that a plan does.
    fn keys(is_enabled: bool) -> ApiKeys {
        let key = ApiKey { id: "k1".into(), is_enabled, plans: Vec::new() };
        ApiKeys::new(HashMap::from([(KeyHash::of_key(KEY).unwrap(), key)]), Box::new([false, true]))
    }

    #[test]
    fn a_key_without_a_plan_opens_the_stages_that_no_plan_names() {
        let (free, planned) = (StageId::at(0), StageId::at(1));
        assert_eq!(&**keys(true).admit(&headers(&[KEY]), free).unwrap().id, "k1");
        for (values, is_enabled, stage) in [
            (vec![KEY], true, planned),
            (vec![KEY], false, free),
            (vec![], true, free),
            (vec![KEY, KEY], true, free),
            (vec!["something-else-0000000"], true, free),
        ] {
            let refusal = keys(is_enabled).admit(&headers(&values), stage).unwrap_err();
            assert_eq!(refusal.outcome, Outcome::InvalidApiKey, "{values:?} {is_enabled} {stage:?}");
        }
    }
}
