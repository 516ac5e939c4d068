//! How clients may connect: `[gateway.limits]`, `[gateway.tls]`, `[gateway.http2]`, and which proxies are trusted.

use std::{net::SocketAddr, time::Duration};

use weir_station::{
    config::Section,
    tls::{HostsTlsConfig, IdentityFiles},
};

use super::definitions::DomainDefinition;
use crate::connection::forwarded::{EXPECTED_NETWORK, TrustedProxies};

/// How clients may connect.
#[derive(Clone, Debug)]
pub struct ConnectionsConfig {
    /// Where it serves requests by TLS.
    pub listen_tls: Option<SocketAddr>,
    /// The certificates of that.
    pub tls: HostsTlsConfig,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// What a client may use.
    pub limits: LimitsConfig,
    /// Proxies that are believed whom they forward for.
    pub trusted_proxies: TrustedProxies,
    /// How long the gateway still takes connections after it has said that it will end: `/ready` is 503 meanwhile.
    pub drain_delay: Duration,
}

/// What a client may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Bytes of a request line and its headers.
    pub header_bytes: usize,
    /// Bytes of a request target.
    pub url_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// How long a body may come slower than `body_bytes_per_s`.
    pub body_timeout: Duration,
    /// How fast a body must come.
    pub body_bytes_per_s: u64,
    /// How long a client may take nothing of a response.
    pub write_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address; 0 for any number.
    pub connections_per_address: u32,
    /// Requests on a connection; 0 for any number.
    pub requests_per_connection: u64,
    /// Streams at once on an HTTP/2 connection.
    pub http2_streams: u32,
    /// HTTP/2 frames in a second that ask for nothing.
    pub http2_idle_frames_per_s: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            header_bytes: 10_240,
            url_bytes: 8_192,
            headers: 100,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            body_bytes_per_s: 500,
            write_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            connections: 10_000,
            connections_per_address: 0,
            requests_per_connection: 10_000,
            http2_streams: 128,
            http2_idle_frames_per_s: 1_000,
        }
    }
}

/// The most that a target may have: hyper's own bound.
const MOST_URL_BYTES: usize = 65_534;

/// The most that a head may have. Each connection that sends one takes as much memory.
const MOST_HEADER_BYTES: usize = 1 << 20;

impl ConnectionsConfig {
    /// Reads `[gateway]` and what is below it; domains may have certificates of their own.
    pub(super) fn read(gateway: &Section, domains: &[DomainDefinition]) -> Self {
        let tls = gateway.section("tls");
        let listen_tls = gateway.optional("listen_tls");
        let own = |domain: &DomainDefinition| Some((domain.name.clone(), domain.identity.clone()?));
        let hosts = domains.iter().filter_map(own).collect();
        let certificates = HostsTlsConfig { default: IdentityFiles::read(&tls), hosts };
        let mut networks = Vec::new();
        for text in gateway.value("trusted_proxies", Vec::<String>::new()) {
            match text.parse() {
                Ok(network) => networks.push(network),
                Err(()) => gateway.fault("trusted_proxies", format!("has {text:?}"), EXPECTED_NETWORK),
            }
        }
        Self {
            listen_tls,
            tls: certificates,
            handshake_timeout: tls.value("handshake_timeout", Duration::from_secs(10)),
            limits: LimitsConfig::read(&gateway.section("limits")),
            trusted_proxies: TrustedProxies(networks),
            drain_delay: gateway.value("drain_delay", Duration::ZERO),
        }
    }
}

impl LimitsConfig {
    fn read(section: &Section) -> Self {
        let default = Self::default();
        let within = |key: &str, default: usize, least: usize, most: usize| {
            let value = section.value(key, default);
            if !(least..=most).contains(&value) {
                section.fault(key, format!("is {value}"), format!("a number from {least} to {most}"));
            }
            value.clamp(least, most)
        };
        let time = |key: &str, default: Duration| {
            let value = section.value(key, default);
            if value.is_zero() {
                section.fault(key, "is 0", "a time such as \"10s\"");
            }
            value.max(Duration::from_millis(1))
        };
        Self {
            header_bytes: within("header_bytes", default.header_bytes, 256, MOST_HEADER_BYTES),
            url_bytes: within("url_bytes", default.url_bytes, 16, MOST_URL_BYTES),
            headers: within("headers", default.headers, 1, 1_000),
            header_timeout: time("header_timeout", default.header_timeout),
            body_timeout: time("body_timeout", default.body_timeout),
            body_bytes_per_s: section.value("body_bytes_per_s", default.body_bytes_per_s),
            write_timeout: time("write_timeout", default.write_timeout),
            idle_timeout: time("idle_timeout", default.idle_timeout),
            connections: within("connections", default.connections, 1, 10_000_000),
            connections_per_address: section.value("connections_per_address", default.connections_per_address),
            requests_per_connection: section.value("requests_per_connection", default.requests_per_connection),
            http2_streams: section.value("http2_streams", default.http2_streams).max(1),
            http2_idle_frames_per_s: section.value("http2_idle_frames_per_s", default.http2_idle_frames_per_s).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_station::config::Document;

    use super::*;

    fn faults(text: &str) -> String {
        let document = Document::parse(text, Vec::new()).unwrap();
        let _config = ConnectionsConfig::read(&document.section("gateway"), &[]);
        document.finish(&[]).unwrap_err().to_string()
    }

    #[test]
    fn without_a_file_the_defaults_hold() {
        let document = Document::parse("", Vec::new()).unwrap();
        let config = ConnectionsConfig::read(&document.section("gateway"), &[]);
        assert_eq!(config.limits, LimitsConfig::default());
        assert!(config.listen_tls.is_none() && config.tls.is_empty() && config.trusted_proxies.0.is_empty());
    }

    #[test]
    fn a_limit_that_cannot_be_kept_is_named_with_what_would_be_right() {
        let text = "[gateway]\ntrusted_proxies = [\"10.0.0.0/8\", \"lan\"]\n[gateway.tls]\ncertificate = \"c\"\n\
                    [gateway.limits]\nheader_bytes = 1\nurl_bytes = 70000\nheader_timeout = \"0s\"\nconnections = 0";
        let faults = faults(text);
        for expected in [
            "gateway.trusted_proxies: has \"lan\"; expected networks such as",
            "gateway.tls.key: is missing beside certificate",
            "gateway.limits.header_bytes: is 1; expected a number from 256 to 1048576",
            "gateway.limits.url_bytes: is 70000",
            "gateway.limits.header_timeout: is 0",
            "gateway.limits.connections: is 0",
        ] {
            assert!(faults.contains(expected), "{faults}");
        }
    }
}
