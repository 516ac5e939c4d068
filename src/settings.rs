//! The whole configuration file: every station's sections, read together.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use weir_station::config::{Document, Faults, Resolved};

/// Where tables and log are when nobody says.
pub(crate) const DEFAULT_DATA: &str = "weir-data";

/// What a configuration file says, to all stations.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The directory for tables and log.
    pub(crate) data: PathBuf,
    pub(crate) gateway: weir_gateway::Config,
    pub(crate) collector: weir_collector::Config,
    pub(crate) query: weir_query::Config,
}

impl Settings {
    /// Every address that is listened on, by its key.
    pub(crate) fn addresses(&self) -> [(&'static str, SocketAddr); 6] {
        let Self { gateway, collector, query, .. } = self;
        [
            ("gateway.listen", gateway.listen),
            ("gateway.admin", gateway.admin),
            ("collector.grpc", collector.grpc),
            ("collector.http", collector.http),
            ("collector.admin", collector.admin),
            ("query.listen", query.listen),
        ]
    }

    /// Reads all sections. `data` stands over the file's key of that name.
    pub(crate) fn read(document: Document, data: Option<&Path>) -> Result<(Self, Resolved), Faults> {
        let configured = document.top().value("data", PathBuf::from(DEFAULT_DATA));
        let data = data.map_or(configured, Path::to_path_buf);
        let mut settings = Self {
            gateway: weir_gateway::Config::read(&document, &data),
            collector: weir_collector::Config::read(&document, &data),
            query: weir_query::Config::read(&document.section("query")),
            data,
        };
        settings.gateway.source = document.path().map(Path::to_path_buf);
        let resolved = document.finish(&[])?;
        settings.gateway.shown = resolved.to_string();
        Ok((settings, resolved))
    }
}
