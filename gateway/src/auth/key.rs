//! API keys: the header `x-api-key`. Kept as their SHA-256; the key itself is never kept, logged or recorded.

use std::collections::HashMap;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use http::HeaderMap;
use weir_record::Outcome;

use crate::{
    config::apis::{KeyDefinition, KeyValue},
    refusal::Refusal,
};

const HEADER: &str = "x-api-key";

/// All keys that the gateway knows.
#[derive(Debug, Default)]
pub(crate) struct Keys(HashMap<Vec<u8>, Key>);

#[derive(Debug)]
struct Key {
    id: String,
    apis: Option<Vec<String>>,
    stages: Option<Vec<String>>,
}

impl Keys {
    /// Hashes the keys of the configuration.
    pub(crate) fn new(definitions: &[KeyDefinition]) -> Self {
        let keys = definitions.iter().map(|definition| {
            let hash = match &definition.value {
                KeyValue::Plain(key) => hash(key.expose().as_bytes()),
                KeyValue::Sha256(digits) => unhex(digits),
            };
            let (apis, stages) = (definition.apis.clone(), definition.stages.clone());
            (hash, Key { id: definition.id.clone(), apis, stages })
        });
        Self(keys.collect())
    }

    /// The id of the key that the request bears, if it opens this stage of this API.
    pub(crate) fn check(&self, headers: &HeaderMap, api: &str, stage: &str) -> Result<String, Refusal> {
        let mut values = headers.get_all(HEADER).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Refusal::with_detail(Outcome::InvalidApiKey, "no x-api-key header, or several"));
        };
        let hash = hash(value.as_bytes());
        // Found by its hash, which tells nobody anything of the key; compared once more in constant time.
        let found = self.0.get_key_value(&hash).filter(|(own, _)| verify_slices_are_equal(own, &hash).is_ok());
        let Some((_, key)) = found else { return Err(Refusal::with_detail(Outcome::InvalidApiKey, "unknown API key")) };
        let opens =
            |only: &Option<Vec<String>>, name| only.as_ref().is_none_or(|only| only.iter().any(|own| own == name));
        if !opens(&key.apis, api) || !opens(&key.stages, stage) {
            let detail = format!("API key {:?} does not open this stage", key.id);
            return Err(Refusal::with_detail(Outcome::InvalidApiKey, detail));
        }
        Ok(key.id.clone())
    }
}

fn hash(key: &[u8]) -> Vec<u8> {
    digest(&SHA256, key).as_ref().to_vec()
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

    fn keys() -> Keys {
        let digits = hash(KEY.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Keys::new(&[KeyDefinition {
            id: "k1".into(),
            value: KeyValue::Sha256(digits),
            apis: Some(vec!["shop".into()]),
            stages: Some(vec!["prod".into()]),
        }])
    }

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (http::HeaderName::from_static(HEADER), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_key_opens_its_own_stage_and_no_other() {
        let keys = keys();
        assert_eq!(keys.check(&headers(&[KEY]), "shop", "prod").unwrap(), "k1");
        for (values, api, stage) in [
            (vec![KEY], "shop", "dev"),
            (vec![KEY], "media", "prod"),
            (vec![], "shop", "prod"),
            (vec![KEY, KEY], "shop", "prod"),
            (vec!["something-else-0000000"], "shop", "prod"),
        ] {
            let refusal = keys.check(&headers(&values), api, stage).unwrap_err();
            assert_eq!(refusal.outcome, Outcome::InvalidApiKey, "{values:?} {api} {stage}");
        }
    }
}
