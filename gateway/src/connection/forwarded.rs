//! Who a client is when it comes through proxies: what they forward is believed from configured networks alone.
//!
//! The client is the right-most address that is not one of the trusted proxies': everything to the left of it was written
//! by someone whom nobody here knows.

use std::{net::IpAddr, str::FromStr};

use http::{HeaderMap, HeaderName, header};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// What a network may look like.
pub(crate) const EXPECTED_NETWORK: &str = "networks such as \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.7\"";

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or(())?,
        };
        Ok(Self { address, bits })
    }
}

impl Network {
    /// Whether an address belongs to it.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let equal_bits = |own: u128, other: u128, width: u8| {
            let ignored = u32::from(width - self.bits);
            own.checked_shr(ignored) == other.checked_shr(ignored)
        };
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                equal_bits(u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => equal_bits(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

/// The proxies whose word is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(pub Vec<Network>);

impl TrustedProxies {
    /// Whether this is one of them.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Who sent a request that came from this trusted proxy: by `x-forwarded-for`, or else by `forwarded` (RFC 7239).
    /// Where an entry is no address, the proxy that wrote it is as far as is known.
    pub(crate) fn client(&self, proxy: IpAddr, headers: &HeaderMap) -> IpAddr {
        let entry: fn(&str) -> Option<IpAddr>;
        let name = if headers.contains_key(&X_FORWARDED_FOR) {
            entry = node;
            X_FORWARDED_FOR
        } else {
            entry = forwarded_for;
            header::FORWARDED
        };
        let mut client = proxy;
        for line in headers.get_all(name).iter().rev() {
            let Ok(line) = line.to_str() else { return client };
            for text in line.rsplit(',') {
                let Some(address) = entry(text.trim()) else { return client };
                client = address;
                if !self.contains(address) {
                    return client;
                }
            }
        }
        client
    }
}

/// The address of `192.0.2.7`, `192.0.2.7:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if text.matches(':').count() == 1 => text.split_once(':')?.0,
        None => text,
    };
    address.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// The address in `for=192.0.2.7;proto=http` or `For="[2001:db8::1]:80"`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    node(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trusted() -> TrustedProxies {
        TrustedProxies(["10.0.0.0/8", "192.0.2.1", "fd00::/8"].map(|text| text.parse().unwrap()).to_vec())
    }

    fn client(name: &'static str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().unwrap());
        }
        trusted().client("10.1.1.1".parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_no_trusted_proxy() {
        let name = "x-forwarded-for";
        assert_eq!(client(name, &[]), "10.1.1.1");
        assert_eq!(client(name, &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(name, &["1.1.1.1, 203.0.113.9, 10.9.9.9,192.0.2.1"]), "203.0.113.9");
        assert_eq!(client(name, &["1.1.1.1", "203.0.113.9", "10.9.9.9"]), "203.0.113.9");
        assert_eq!(client(name, &["10.0.0.7, 10.0.0.8"]), "10.0.0.7");
        assert_eq!(client(name, &["203.0.113.9:4711, [fd00::1]:80"]), "203.0.113.9");
        assert_eq!(client(name, &["2001:db8::1, ::ffff:10.2.3.4"]), "2001:db8::1");
        assert_eq!(client(name, &["1.1.1.1, unknown, 10.2.2.2"]), "10.2.2.2");
        assert_eq!(client(name, &["1.1.1.1,"]), "10.1.1.1");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        let name = "forwarded";
        assert_eq!(client(name, &["for=1.1.1.1, for=203.0.113.9;proto=https, For=10.9.9.9"]), "203.0.113.9");
        assert_eq!(client(name, &["by=10.0.0.1; for=\"[2001:db8:cafe::17]:4711\""]), "2001:db8:cafe::17");
        assert_eq!(client(name, &["for=1.1.1.1, for=_hidden"]), "10.1.1.1");
        assert_eq!(client(name, &["for=\"1.1.1.1"]), "1.1.1.1");
        assert_eq!(client(name, &["proto=https"]), "10.1.1.1");
    }

    #[test]
    fn a_network_has_an_address_and_bits() {
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "host", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        let contains =
            |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(contains("0.0.0.0/0", "255.1.2.3") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "ff::1") && contains("10.0.0.8/29", "10.0.0.15"));
        assert!(!contains("10.0.0.8/29", "10.0.0.16") && !contains("192.0.2.1", "192.0.2.2"));
    }

    proptest! {
        #[test]
        fn whatever_is_forwarded_is_read_without_panic(line in "[ -~]{0,60}") {
            client("x-forwarded-for", &[&line]);
            client("forwarded", &[&line]);
        }
    }
}
