//! The section `[query]` of the configuration file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use weir_station::{
    config::{ByteSize, Section},
    credentials::CredentialsConfig,
    listener::Exposure,
};

/// What the operator decides about the query station.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the HTTP interface.
    pub listen: SocketAddr,
    /// Whether that address may be one that others can reach.
    pub exposure: Exposure,
    /// Admin addresses of the collectors whose pending rows belong to every answer.
    pub collectors: Vec<String>,
    /// What they are shown, and which of them are trusted.
    pub credentials: CredentialsConfig,
    /// What statements may hold in memory, all of them together; beyond it they spill to disk, or end with an error.
    pub memory: ByteSize,
    /// What statements may spill to disk, all of them together; beyond it they end with an error.
    pub spill: ByteSize,
    /// Where they spill; the system's directory for temporary files if none is given.
    pub spill_directory: Option<PathBuf>,
    /// How long one statement may take, from its arrival to the last row sent.
    pub timeout: Duration,
    /// How many statements run at once; four times as many may wait.
    pub concurrency: usize,
}

impl Config {
    /// Reads the section; faults are noted in it.
    #[must_use]
    pub fn read(section: &Section) -> Self {
        let default = Self::default();
        let collectors = section.value("collectors", default.collectors);
        let to_collectors = section.section("collector");
        let credentials = CredentialsConfig::read(&to_collectors, &collectors);
        if credentials.tls.server_name.is_some() {
            let expected = "no such key: its certificate must bear the name in query.collectors";
            to_collectors.fault("tls.server_name", "is for the gateway alone", expected);
        }
        let config = Self {
            listen: section.value("listen", default.listen),
            exposure: Exposure::read(section),
            collectors,
            credentials,
            memory: section.value("memory", default.memory),
            spill: section.value("spill", default.spill),
            spill_directory: section.optional("spill_directory"),
            timeout: section.value("timeout", default.timeout),
            concurrency: section.value("concurrency", default.concurrency),
        };
        for url in &config.collectors {
            if !(url.starts_with("http://") || url.starts_with("https://")) {
                section.fault("collectors", format!("has {url:?}"), "addresses such as \"http://127.0.0.1:4319\"");
            }
        }
        if config.memory < Self::LEAST_MEMORY {
            section.fault("memory", "is too little to run a statement", "16MiB or more");
        }
        if config.timeout.is_zero() {
            section.fault("timeout", "leaves a statement no time", "a time such as \"60s\"");
        }
        if config.concurrency == 0 {
            section.fault("concurrency", "lets no statement run", "1 or more");
        }
        config
    }

    const LEAST_MEMORY: ByteSize = ByteSize(16 << 20);
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7700)),
            exposure: Exposure::Loopback,
            collectors: vec!["http://127.0.0.1:4319".to_owned()],
            credentials: CredentialsConfig::default(),
            memory: ByteSize(512 << 20),
            spill: ByteSize(4 << 30),
            spill_directory: None,
            timeout: Duration::from_secs(60),
            concurrency: 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_station::config::Document;

    use super::*;

    #[test]
    fn an_empty_section_is_the_default() {
        let document = Document::parse("", Vec::new()).unwrap();
        let config = Config::read(&document.section("query"));
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
        document.finish(&[]).unwrap();
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let text = "[query]\ncollectors = [\"here\"]\nmemory = \"1MiB\"\nconcurrency = 0\ntimeout = \"0s\"";
        let document = Document::parse(text, Vec::new()).unwrap();
        let _config = Config::read(&document.section("query"));
        let faults = document.finish(&[]).unwrap_err().to_string();
        for key in ["query.collectors", "query.memory", "query.concurrency", "query.timeout"] {
            assert!(faults.contains(key), "{faults}");
        }
    }
}
