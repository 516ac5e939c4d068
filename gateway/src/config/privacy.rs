//! `[api.privacy]`, read: what is recorded of those who ask.

use weir_station::config::Section;

use super::definitions::{AddressPrivacy, PrincipalPrivacy, Privacy};

/// Reads the table `privacy` of an API.
pub(super) fn read(section: &Section) -> Privacy {
    let client_address = match section.value("client_address", "full".to_owned()).as_str() {
        "full" => AddressPrivacy::Full,
        "network" => AddressPrivacy::Network,
        "none" => AddressPrivacy::None,
        other => {
            let expected = "\"full\", \"network\" (the /24 of IPv4, the /48 of IPv6) or \"none\"";
            section.fault("client_address", format!("is {other:?}"), expected);
            AddressPrivacy::None
        }
    };
    let key = section.secret("principal_key");
    let principal = match (section.value("principal", "plain".to_owned()).as_str(), key) {
        ("plain", _) => PrincipalPrivacy::Plain,
        ("none", _) => PrincipalPrivacy::None,
        ("hash", Some(key)) if key.expose().len() >= 16 => PrincipalPrivacy::Hash(key),
        ("hash", _) => {
            section.fault("principal_key", "is missing or too short", "a secret of at least 16 characters");
            PrincipalPrivacy::None
        }
        (other, _) => {
            section.fault("principal", format!("is {other:?}"), "\"plain\", \"hash\" or \"none\"");
            PrincipalPrivacy::None
        }
    };
    let query = section.value("query", Vec::new());
    Privacy { client_address, query, user_agent: section.value("user_agent", true), principal }
}
