//! What of those who ask goes into a record, and from there into its spans and its access-log line.
//!
//! What always holds: a value that the API's configuration keeps back stands nowhere in the record.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aws_lc_rs::hmac;
use weir_record::{AccessRecord, keys};

use crate::config::definitions::{AddressPrivacy, PrincipalPrivacy, Privacy as Definition};

/// Digits of a principal's hash: 128 bits of it.
const HASH_BYTES: usize = 16;

/// What is recorded of those who ask.
#[derive(Debug)]
pub(crate) struct Privacy {
    address: AddressPrivacy,
    query: Vec<String>,
    user_agent: bool,
    principal: Principal,
}

#[derive(Debug)]
enum Principal {
    Plain,
    Hash(Box<hmac::Key>),
    None,
}

impl Privacy {
    /// What the definition says.
    pub(crate) fn new(definition: &Definition) -> Self {
        let principal = match &definition.principal {
            PrincipalPrivacy::Plain => Principal::Plain,
            PrincipalPrivacy::Hash(key) => {
                Principal::Hash(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes())))
            }
            PrincipalPrivacy::None => Principal::None,
        };
        Self {
            address: definition.client_address,
            query: definition.query.clone(),
            user_agent: definition.user_agent,
            principal,
        }
    }

    /// Whether who asked may be told as it is.
    pub(crate) fn tells_principal(&self) -> bool {
        matches!(self.principal, Principal::Plain)
    }

    /// What may be recorded of an address; `text` is the address as text, where it is there already.
    pub(crate) fn shown(&self, address: IpAddr, text: Option<&str>) -> Option<String> {
        match self.address {
            AddressPrivacy::Full => Some(text.map_or_else(|| address.to_string(), str::to_owned)),
            AddressPrivacy::Network => Some(network(address).to_string()),
            AddressPrivacy::None => None,
        }
    }

    /// Makes a record say of who asks, and of the query, what it may. The client's address it has already
    /// ([`Self::shown`]).
    pub(crate) fn apply(&self, record: &mut AccessRecord, query: Option<&str>) {
        if !self.user_agent {
            record.user_agent = None;
        }
        match &self.principal {
            Principal::Plain => {}
            Principal::Hash(key) => record.principal = record.principal.take().map(|name| hash(key, &name)),
            Principal::None => record.principal = None,
        }
        if let Some(query) = query.filter(|_| !self.query.is_empty()) {
            let allowed = query.split('&').filter(|pair| {
                let name = pair.split('=').next().unwrap_or_default();
                self.query.iter().any(|own| own == name)
            });
            let allowed = allowed.collect::<Vec<_>>().join("&");
            if !allowed.is_empty() {
                record.attributes.insert(keys::URL_QUERY.to_owned(), allowed);
            }
        }
    }
}

/// The /24 of an IPv4 address, the /48 of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80)).into(),
    }
}

fn hash(key: &hmac::Key, name: &str) -> String {
    let tag = hmac::sign(key, name.as_bytes());
    tag.as_ref()[..HASH_BYTES].iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> AccessRecord {
        AccessRecord { principal: Some("somebody".into()), user_agent: Some("curl".into()), ..AccessRecord::default() }
    }

    fn applied(definition: &Definition, address: &str, query: Option<&str>) -> AccessRecord {
        let (mut record, privacy) = (record(), Privacy::new(definition));
        record.client_address = privacy.shown(address.parse().unwrap(), None);
        privacy.apply(&mut record, query);
        record
    }

    #[test]
    fn unless_configured_all_but_the_query_is_recorded() {
        let told = applied(&Definition::default(), "10.1.2.3", Some("token=secret"));
        assert_eq!(told, AccessRecord { client_address: Some("10.1.2.3".into()), ..record() });
    }

    #[test]
    fn an_address_is_known_by_its_network_alone() {
        let definition = Definition { client_address: AddressPrivacy::Network, ..Definition::default() };
        for (address, network) in
            [("10.1.2.3", "10.1.2.0"), ("::ffff:10.1.2.3", "10.1.2.0"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1::")]
        {
            assert_eq!(applied(&definition, address, None).client_address.as_deref(), Some(network));
        }
        let none = Definition { client_address: AddressPrivacy::None, user_agent: false, ..Definition::default() };
        let told = applied(&none, "10.1.2.3", None);
        assert_eq!((told.client_address, told.user_agent), (None, None));
    }

    #[test]
    fn a_hashed_principal_is_the_same_under_the_same_key_and_another_under_another() {
        let with = |key: &str| Definition {
            principal: PrincipalPrivacy::Hash(key.to_owned().into()),
            ..Definition::default()
        };
        let told = |key| applied(&with(key), "::1", None).principal.unwrap();
        assert_eq!(told("0123456789abcdef"), told("0123456789abcdef"));
        assert_ne!(told("0123456789abcdef"), told("0123456789abcdeX"));
        assert_eq!(told("0123456789abcdef").len(), 2 * HASH_BYTES);
        let none = Definition { principal: PrincipalPrivacy::None, ..Definition::default() };
        assert_eq!(applied(&none, "::1", None).principal, None);
    }

    proptest! {
        #[test]
        fn parameters_that_are_not_allowed_stand_nowhere(
            pairs in prop::collection::vec(("[a-d]{1,2}", "s[0-9]{6}"), 0..8),
        ) {
            let query = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
            let definition = Definition { query: vec!["a".into(), "bc".into()], ..Definition::default() };
            let told = format!("{:?}", applied(&definition, "::1", Some(&query)));
            for (name, value) in &pairs {
                let others = pairs.iter().any(|(other, own)| own == value && ["a", "bc"].contains(&other.as_str()));
                prop_assert_eq!(told.contains(value), others || ["a", "bc"].contains(&name.as_str()));
            }
        }
    }
}
