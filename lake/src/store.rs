//! Where the tables are kept, and the way to it: a local directory or a bucket of S3-compatible storage.
//!
//! What always holds: a store that is opened can be reached and keeps a commit from being overwritten; one that cannot
//! is refused at the start, within seconds, with a line that says what would be right.

mod credentials;
mod reason;
mod upload;

use std::{
    fmt, io,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::Duration,
};

use credentials::CredentialsFile;
use futures::{TryStreamExt, future::join_all};
use object_store::{
    BackoffConfig, ClientOptions, Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
};
pub(crate) use reason::{reason, reason_of_kernel};
pub(crate) use upload::{upload, within};
use url::Url;
use uuid::Uuid;
use weir_station::config::{Secret, Section};

use crate::{
    Table,
    durable::{DurableFileSystem, create_directory, sync_directory},
    table::ReadError,
};

/// The longest that opening waits for a store to answer.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// Where objects that the store is tried with stand, below the root.
pub(crate) const PROBES: &str = "_weir_probe";

/// The race for one object: how often, and among how many.
const PROBE_ROUNDS: usize = 3;
const PROBE_WRITERS: usize = 3;

/// The longest that one request to S3 waits for a connection, and, unless configured, for its end.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A request to S3 is tried this often again; whoever asked for it decides what then.
const MOST_RETRIES: usize = 3;

/// Where the tables are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// A local directory, or `s3://bucket/prefix`.
    pub location: String,
    /// How S3 is reached, if it is S3.
    pub s3: S3Options,
}

/// How S3-compatible storage is reached. What is not said here is taken from the environment (`AWS_REGION`,
/// `AWS_ACCESS_KEY_ID`, …), as every AWS tool does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Options {
    /// URL of a service that is not AWS, such as `http://127.0.0.1:8333`. Plain HTTP is used when it says so.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: Option<String>,
    /// Id of the access key.
    pub access_key_id: Option<String>,
    /// The access key.
    pub secret_access_key: Option<Secret>,
    /// Token of a temporary access key.
    pub session_token: Option<Secret>,
    /// A shared credentials file, read again when it changes; in place of the keys.
    pub credentials_file: Option<PathBuf>,
    /// Whether the bucket stands in the path (`endpoint/bucket`) and not in the host name. If not said: in the path
    /// when there is an endpoint.
    pub path_style: Option<bool>,
    /// The longest that one request may take. Anything that waits for the store is given up after three times that.
    pub request_timeout: Duration,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            credentials_file: None,
            path_style: None,
            request_timeout: REQUEST_TIMEOUT,
        }
    }
}

impl StoreConfig {
    /// Reads the key `location` and the table `s3` of a section.
    #[must_use]
    pub fn read(section: &Section, default_location: &str) -> Self {
        let s3 = section.section("s3");
        let config = Self {
            location: section.value("location", default_location.to_owned()),
            s3: S3Options {
                endpoint: s3.optional("endpoint"),
                region: s3.optional("region"),
                access_key_id: s3.optional("access_key_id"),
                secret_access_key: s3.secret("secret_access_key"),
                session_token: s3.secret("session_token"),
                credentials_file: s3.optional("credentials_file"),
                path_style: s3.optional("path_style"),
                request_timeout: s3.value("request_timeout", REQUEST_TIMEOUT),
            },
        };
        if let Err(problem) = Location::parse(&config.location) {
            section.fault("location", problem, LOCATION_EXPECTED);
        }
        if config.s3.endpoint.as_deref().is_some_and(|endpoint| Url::parse(endpoint).is_err()) {
            s3.fault("endpoint", "is no URL", "a URL, such as \"http://127.0.0.1:8333\"");
        }
        if config.s3.access_key_id.is_some() != config.s3.secret_access_key.is_some() {
            s3.fault(
                "access_key_id",
                "stands without its other half",
                "access_key_id and secret_access_key, or neither",
            );
        }
        if config.s3.credentials_file.is_some() && config.s3.access_key_id.is_some() {
            s3.fault("credentials_file", "stands beside a key", "credentials_file or access_key_id, not both");
        }
        config
    }

    /// The longest that anything waits for the store, its client's own tries included. Where the client has no timeouts, as
    /// for a directory that a network mount does not answer for, this alone ends the waiting.
    pub(crate) fn deadline(&self) -> Duration {
        self.s3.request_timeout * 3
    }

    /// Tables in a local directory.
    #[must_use]
    pub fn local(directory: impl AsRef<FilePath>) -> Self {
        Self { location: directory.as_ref().display().to_string(), s3: S3Options::default() }
    }
}

impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location)?;
        match &self.s3.endpoint {
            Some(endpoint) if self.location.starts_with("s3://") => write!(f, " at {endpoint}"),
            _ => Ok(()),
        }
    }
}

/// Why the tables cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The location cannot be a place for tables.
    #[error("{location:?} {problem}; expected {LOCATION_EXPECTED}")]
    Location {
        /// The location as configured.
        location: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The local directory cannot be made or used.
    #[error("cannot use the directory {directory}: {source}; name one that this user may write to")]
    Directory {
        /// The directory.
        directory: String,
        /// What the system said.
        source: io::Error,
    },
    /// The store does not answer, or not to us.
    #[error("cannot reach the store {store}: {reason}; check its address, bucket, region and credentials")]
    Unreachable {
        /// The store as configured.
        store: String,
        /// What it said.
        reason: String,
    },
    /// The store overwrites where it was asked to create.
    #[error(
        "the store {store} ignores `If-None-Match: *` and would lose commits; \
         use one that supports conditional writes (AWS S3, MinIO, Ceph, SeaweedFS, R2)"
    )]
    NoConditionalPut {
        /// The store as configured.
        store: String,
    },
    /// The store looks before it writes, and lets two writers create one object.
    #[error(
        "the store {store} told {winners} writers at once that each had created the same object, and would lose commits; \
         use one whose conditional writes are atomic (AWS S3, MinIO, Ceph, SeaweedFS, R2)"
    )]
    RacyConditionalPut {
        /// The store as configured.
        store: String,
        /// How many were told so.
        winners: usize,
    },
    /// The runtime has one thread, which the table library would block for ever.
    #[error("tables need a multi-threaded tokio runtime")]
    Runtime,
    /// A table is there and cannot be used.
    #[error(transparent)]
    Table(#[from] ReadError),
}

impl OpenError {
    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Table(error) => error.is_retryable(),
            Self::Location { .. }
            | Self::Directory { .. }
            | Self::NoConditionalPut { .. }
            | Self::RacyConditionalPut { .. }
            | Self::Runtime => false,
        }
    }
}

const LOCATION_EXPECTED: &str = "a local directory, or \"s3://bucket/prefix\"";

/// A location, understood.
enum Location<'a> {
    Directory(&'a FilePath),
    Bucket { bucket: &'a str, prefix: &'a str },
}

impl<'a> Location<'a> {
    fn parse(location: &'a str) -> Result<Self, String> {
        match location.split_once("://") {
            None if location.is_empty() => Err("is empty".to_owned()),
            None => Ok(Self::Directory(FilePath::new(location))),
            Some(("file", directory)) if directory.starts_with('/') => Ok(Self::Directory(FilePath::new(directory))),
            Some(("s3", rest)) => match rest.split_once('/').unwrap_or((rest, "")) {
                ("", _) => Err("names no bucket".to_owned()),
                (bucket, prefix) => Ok(Self::Bucket { bucket, prefix: prefix.trim_matches('/') }),
            },
            Some((scheme, _)) => Err(format!("is of an unknown kind, {scheme}")),
        }
    }
}

/// An open store.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// The whole file system or bucket: paths in it are those of `root`.
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// Where the tables are: `file:///directory/` or `s3://bucket/prefix/`.
    pub(crate) root: Url,
}

impl Store {
    /// Opens what the configuration names; a local directory is created.
    pub(crate) async fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        let wrong = |problem: String| OpenError::Location { location: config.location.clone(), problem };
        match Location::parse(&config.location).map_err(wrong)? {
            Location::Directory(directory) => Self::open_directory(directory),
            Location::Bucket { bucket, prefix } => {
                let root = format!("s3://{bucket}/{prefix}{}", if prefix.is_empty() { "" } else { "/" });
                let root = Url::parse(&root).map_err(|error| wrong(format!("is no URL ({error})")))?;
                let store = Self { objects: bucket_store(config, bucket)?, root };
                store.probe(config).await?;
                Ok(store)
            }
        }
    }

    fn open_directory(directory: &FilePath) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Directory { directory: directory.display().to_string(), source };
        let absolute = std::path::absolute(directory).map_err(failed)?;
        create_directory(&absolute).map_err(failed)?;
        // Its true name, so that two names of one directory are one lake.
        let absolute = absolute.canonicalize().map_err(failed)?;
        let root = Url::from_directory_path(&absolute).map_err(|()| failed(io::ErrorKind::InvalidFilename.into()))?;
        Ok(Self { objects: Arc::new(DurableFileSystem::new()), root })
    }

    /// Asks the store whether it is there, lets us write, and refuses to create what exists: commits rest on that.
    async fn probe(&self, config: &StoreConfig) -> Result<(), OpenError> {
        let unreachable = |reason: String| OpenError::Unreachable { store: config.to_string(), reason };
        let key = self.path(PROBES).map_err(|error| unreachable(error.to_string()))?;
        let key = key.join(Uuid::now_v7().to_string());
        let create = || self.objects.put_opts(&key, "probe".into(), PutMode::Create.into());
        let probe = async {
            match create().await {
                // Our own first attempt, when its answer was lost and the client tried again.
                Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(unreachable(reason(&error))),
            }
            let second = create().await;
            if let Err(error) = self.objects.delete(&key).await {
                tracing::warn!(%key, %error, "the probe object stays in the store");
            }
            match second {
                Err(StoreError::AlreadyExists { .. }) => self.race(config).await,
                Ok(_) => Err(OpenError::NoConditionalPut { store: config.to_string() }),
                Err(error) => Err(unreachable(reason(&error))),
            }
        };
        match tokio::time::timeout(OPEN_TIMEOUT, probe).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unreachable(format!("no answer within {} s", OPEN_TIMEOUT.as_secs()))),
        }
    }

    /// Has several writers create one object at once, some times over: at most one may be told that it did. Some stores
    /// look before they write, and let two through.
    async fn race(&self, config: &StoreConfig) -> Result<(), OpenError> {
        let unreachable = |reason: String| OpenError::Unreachable { store: config.to_string(), reason };
        for _ in 0..PROBE_ROUNDS {
            let key = self.path(PROBES).map_err(|error| unreachable(error.to_string()))?;
            let key = key.join(Uuid::now_v7().to_string());
            let writers = (0..PROBE_WRITERS).map(|writer| {
                let body = writer.to_string();
                let put = self.objects.put_opts(&key, body.into(), PutMode::Create.into());
                async move { put.await.map(|_| writer) }
            });
            let outcomes = join_all(writers).await;
            let stored = self.objects.get(&key).await;
            if let Err(error) = self.objects.delete(&key).await {
                tracing::warn!(%key, %error, "the probe object stays in the store");
            }
            let winners: Vec<usize> = outcomes.into_iter().flatten().collect();
            let stored = match stored {
                Ok(stored) => stored.bytes().await,
                Err(error) => Err(error),
            };
            let stored = stored.map_err(|error| unreachable(reason(&error)))?;
            // None is told when the winner's answer was lost and its client asked again.
            let kept = winners.first().is_none_or(|winner| stored == winner.to_string().as_bytes());
            if winners.len() > 1 || !kept {
                return Err(OpenError::RacyConditionalPut { store: config.to_string(), winners: winners.len() });
            }
        }
        Ok(())
    }

    /// Makes room for a table; says whether it has a log already.
    pub(crate) async fn prepare(&self, config: &StoreConfig, table: Table) -> Result<bool, OpenError> {
        // The kernel wants the directory to be there. On S3 there are none.
        if self.root.scheme() == "file"
            && let Ok(directory) = self.directory(table.name()).to_file_path()
        {
            let failed = |source| OpenError::Directory { directory: directory.display().to_string(), source };
            create_directory(&directory).map_err(failed)?;
            // Whoever made them may have ended before their names were on disk; what commits are in the log as well.
            sync_directory(directory.parent().unwrap_or(&directory)).map_err(failed)?;
            let log = directory.join("_delta_log");
            if log.is_dir() {
                sync_directory(&directory).and_then(|()| sync_directory(&log)).map_err(failed)?;
            }
        }
        let unreachable = |reason: String| OpenError::Unreachable { store: config.to_string(), reason };
        let log = self.path(table.name()).map_err(|error| unreachable(error.to_string()))?.join("_delta_log");
        let first = within(config.deadline(), self.objects.list(Some(&log)).try_next())
            .await
            .map_err(|error| unreachable(reason(&error)))?;
        Ok(first.is_some())
    }

    /// The URL of a directory below the root.
    pub(crate) fn directory(&self, name: &str) -> Url {
        self.root.join(&format!("{name}/")).expect("the root is a directory and the name a single segment")
    }

    /// The path of an object below the root.
    pub(crate) fn path(&self, name: &str) -> Result<Path, object_store::path::Error> {
        Ok(Path::from_url_path(self.root.path())?.join(name))
    }
}

/// The bucket; nothing is sent yet.
fn bucket_store(config: &StoreConfig, bucket: &str) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let options = &config.s3;
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let given = [
        (AmazonS3ConfigKey::Endpoint, options.endpoint.as_deref()),
        (AmazonS3ConfigKey::Region, options.region.as_deref()),
        (AmazonS3ConfigKey::AccessKeyId, options.access_key_id.as_deref()),
        (AmazonS3ConfigKey::SecretAccessKey, options.secret_access_key.as_ref().map(Secret::expose)),
        (AmazonS3ConfigKey::Token, options.session_token.as_ref().map(Secret::expose)),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    let unreachable = |reason: String| OpenError::Unreachable { store: config.to_string(), reason };
    if let Some(file) = &options.credentials_file {
        let credentials = CredentialsFile::open(file).map_err(|fault| unreachable(fault.to_string()))?;
        builder = builder.with_credentials(Arc::new(credentials));
    }
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let plain = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let path_style = options.path_style.unwrap_or(endpoint.is_some());
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    builder
        .with_virtual_hosted_style_request(!path_style)
        .with_retry(RetryConfig { backoff, max_retries: MOST_RETRIES, retry_timeout: options.request_timeout })
        .with_client_options(
            ClientOptions::new()
                .with_allow_http(plain)
                .with_connect_timeout(CONNECT_TIMEOUT)
                .with_timeout(options.request_timeout),
        )
        .build()
        .map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
        .map_err(|error| unreachable(reason(&error)))
}

#[cfg(test)]
mod tests;
