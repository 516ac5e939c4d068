//! `[[api_key]]`, read.

use weir_station::config::{Secret, Section};

use super::{apis::one_of, definitions::ApiDefinition};

/// An API key.
#[derive(Clone, Debug)]
pub struct KeyDefinition {
    /// Its id: what records name it by.
    pub id: String,
    /// What is known of the key itself.
    pub value: KeyValue,
    /// The APIs that it opens; none for all.
    pub apis: Option<Vec<String>>,
    /// The stages that it opens; none for all.
    pub stages: Option<Vec<String>>,
}

/// An API key, or what it hashes to.
#[derive(Clone, Debug)]
pub enum KeyValue {
    /// The key.
    Plain(Secret),
    /// Its SHA-256, hexadecimal.
    Sha256(String),
}

/// Reads a key.
pub(super) fn read_key(section: &Section, apis: &[ApiDefinition]) -> Option<KeyDefinition> {
    let id = section.required::<String>("id");
    let (plain, hash) = (section.secret("key"), section.optional::<String>("sha256"));
    let value = match (plain, hash) {
        // API Gateway: a key has 20 to 128 characters.
        (Some(key), None) if (20..=128).contains(&key.expose().len()) => Some(KeyValue::Plain(key)),
        (Some(_), None) => {
            section.fault("key", "is too short or too long", "a key of 20 to 128 characters");
            None
        }
        (None, Some(hash)) if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Some(KeyValue::Sha256(hash.to_ascii_lowercase()))
        }
        (None, Some(_)) => {
            section.fault("sha256", "is no SHA-256", "64 hexadecimal digits");
            None
        }
        (Some(_), Some(_)) | (None, None) => {
            section.fault("key", "needs exactly one of key and sha256", "key = \"…\", or sha256 = the key's SHA-256");
            None
        }
    };
    let only = section.optional::<Vec<String>>("apis");
    for name in only.iter().flatten() {
        if !apis.iter().any(|api| api.name == *name) {
            let names: Vec<_> = apis.iter().map(|api| api.name.clone()).collect();
            section.fault("apis", format!("names {name:?}, which is no API"), one_of(&names));
        }
    }
    Some(KeyDefinition { id: id?, value: value?, apis: only, stages: section.optional("stages") })
}

