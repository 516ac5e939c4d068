//! The file that tells where the Weir that runs on a data directory can be asked: `endpoints.json`.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

const FILE: &str = "endpoints.json";

/// Removes the file when the pipeline ends.
#[derive(Debug)]
pub(crate) struct Endpoints(PathBuf);

impl Endpoints {
    /// Writes the file.
    pub(crate) fn write(
        data: &Path,
        gateway: SocketAddr,
        gateway_admin: SocketAddr,
        collector: &weir_collector::Addresses,
        query: SocketAddr,
    ) -> io::Result<Self> {
        let of_collector = |address: SocketAddr| format!("{}://{address}", collector.scheme);
        let content = json!({
            "pid": std::process::id(),
            "gateway": format!("http://{gateway}"),
            "gateway_admin": format!("http://{gateway_admin}"),
            "collector_grpc": of_collector(collector.grpc),
            "collector_http": of_collector(collector.http),
            "collector_admin": of_collector(collector.admin),
            "query": format!("http://{query}"),
        });
        let path = data.join(FILE);
        fs::write(&path, format!("{content:#}\n"))?;
        Ok(Self(path))
    }

    /// The URL of the query station that runs on a data directory, as its file says.
    pub(crate) fn query(data: &Path) -> Option<String> {
        let content: Value = serde_json::from_str(&fs::read_to_string(data.join(FILE)).ok()?).ok()?;
        content["query"].as_str().map(str::to_owned)
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "endpoints.json was gone before");
        }
    }
}
