//! What can go wrong with a statement, sorted by who can do something about it.
//!
//! DataFusion's errors are turned into these in one place, [`QueryError::from`]; each protocol edge then maps the kind,
//! never the text.

use std::{error::Error, io};

use arrow::error::ArrowError;
use datafusion::{common::SchemaError, error::DataFusionError};

use crate::pending::PendingError;

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The statement is not SQL, or asks for something that is not there.
    #[error("{0}")]
    Invalid(String),
    /// The statement would change something.
    #[error(
        "{0} is refused: Weir answers questions (SELECT, WITH, VALUES, EXPLAIN, DESCRIBE, SHOW) and changes nothing"
    )]
    ReadOnly(String),
    /// The statement is well formed, but its values cannot be computed: a division by zero, a damaged sketch.
    #[error("{0}")]
    Execution(String),
    /// A collector did not say what it has pending.
    #[error(
        "cannot see what is not yet committed: {0}; start the collector, or ask for committed rows only \
         (HTTP: fresh=false, command line: --committed-only)"
    )]
    CollectorUnreachable(#[source] PendingError),
    /// The collector's commits and the snapshots read did not meet: a table is written faster than it can be read.
    #[error("{collector} kept committing while the statement was prepared; ask again, or ask for committed rows only")]
    NoConsistentCut {
        /// The collector that was ahead every time.
        collector: String,
    },
    /// A collector is still reading what its write-ahead log holds.
    #[error(
        "{collector} is still reading its write-ahead log ({messages} messages to go), so an answer would not be exact; \
         ask again, or ask for committed rows only (HTTP: fresh=false, command line: --committed-only)"
    )]
    CollectorLags {
        /// The collector.
        collector: String,
        /// Messages that it has yet to read, at most.
        messages: u64,
    },
    /// The tables cannot be read.
    #[error("cannot read the tables: {0}")]
    Store(String),
    /// The statement needs more memory or spill space than the configuration gives.
    #[error("{0}; ask for less (a shorter time, fewer groups), or raise query.memory or query.spill")]
    Resources(String),
    /// A fault of Weir or of DataFusion.
    #[error("internal error: {0}")]
    Internal(String),
}

impl QueryError {
    /// A name for the kind, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_sql",
            Self::ReadOnly(_) => "read_only",
            Self::Execution(_) => "execution_failed",
            Self::CollectorUnreachable(_) => "collector_unreachable",
            Self::NoConsistentCut { .. } => "no_consistent_cut",
            Self::CollectorLags { .. } => "collector_lags",
            Self::Store(_) => "store_unreadable",
            Self::Resources(_) => "resources_exhausted",
            Self::Internal(_) => "internal",
        }
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        from_datafusion(&error)
    }
}

fn from_datafusion(error: &DataFusionError) -> QueryError {
    match error.find_root() {
        DataFusionError::SQL(inner, _) => QueryError::Invalid(plain(&inner.to_string())),
        DataFusionError::SchemaError(inner, _) => QueryError::Invalid(schema_text(inner)),
        DataFusionError::Plan(text) | DataFusionError::NotImplemented(text) | DataFusionError::Configuration(text) => {
            QueryError::Invalid(plain(text))
        }
        DataFusionError::Execution(text) => QueryError::Execution(plain(text)),
        DataFusionError::ResourcesExhausted(text) => QueryError::Resources(plain(text)),
        DataFusionError::ObjectStore(inner) => QueryError::Store(inner.to_string()),
        DataFusionError::ParquetError(inner) => QueryError::Store(inner.to_string()),
        DataFusionError::IoError(inner) => from_io(inner),
        DataFusionError::ArrowError(inner, _) => from_arrow(inner),
        DataFusionError::External(inner) => from_external(inner.as_ref()),
        other => QueryError::Internal(plain(&other.strip_backtrace())),
    }
}

/// Arrow's kernels fail on the statement's values, unless what failed was reading them.
fn from_arrow(error: &ArrowError) -> QueryError {
    match error {
        ArrowError::ExternalError(inner) => from_external(inner.as_ref()),
        ArrowError::IoError(_, inner) => from_io(inner),
        ArrowError::ParquetError(text) | ArrowError::IpcError(text) => QueryError::Store(text.clone()),
        ArrowError::DivideByZero => QueryError::Execution("division by zero".to_owned()),
        ArrowError::MemoryError(text) => QueryError::Resources(text.clone()),
        other => QueryError::Execution(plain(&other.to_string())),
    }
}

/// Reading and spilling fail alike; that the bound of the spill space is reached is told apart by its text alone.
fn from_io(error: &io::Error) -> QueryError {
    const SPILL_BOUND: &str = "The used disk space during the spilling process";
    match error.get_ref() {
        _ if error.to_string().starts_with(SPILL_BOUND) => QueryError::Resources(plain(&error.to_string())),
        Some(inner) => from_external(inner),
        None => QueryError::Store(error.to_string()),
    }
}

/// An error that somebody wrapped on its way.
fn from_external(error: &(dyn Error + Send + Sync + 'static)) -> QueryError {
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        from_datafusion(inner)
    } else if let Some(inner) = error.downcast_ref::<ArrowError>() {
        from_arrow(inner)
    } else {
        QueryError::Store(error.to_string())
    }
}

/// A schema error in words; for an unknown column, with the columns that there are.
fn schema_text(error: &SchemaError) -> String {
    let SchemaError::FieldNotFound { field, valid_fields } = error else { return plain(&error.to_string()) };
    let asked = field.name();
    let mut names: Vec<&str> = valid_fields.iter().map(|column| column.name()).collect();
    names.dedup();
    let nearest = names.iter().copied().min_by_key(|name| strsim::damerau_levenshtein(name, asked));
    let hint = match nearest {
        Some(name) if strsim::damerau_levenshtein(name, asked) <= asked.len() / 2 => format!("did you mean {name}? "),
        _ => String::new(),
    };
    match names.is_empty() {
        true => format!("no column {asked}: the statement reads no table"),
        false => format!("no column {asked}; {hint}there are: {}", names.join(", ")),
    }
}

/// DataFusion's text without the headings that name its own layers.
fn plain(text: &str) -> String {
    const HEADINGS: [&str; 6] = [
        "Error during planning: ",
        "Schema error: ",
        "SQL error: ",
        "Execution error: ",
        "This feature is not implemented: ",
        "sql parser error: ",
    ];
    // Its traces, and its advice to set options that nobody can set here.
    const TAILS: [&str; 2] = ["\n\nbacktrace:", " Please try increasing"];
    let mut text = TAILS.iter().fold(text, |text, tail| text.split(tail).next().unwrap_or(text)).trim();
    while let Some(rest) = HEADINGS.iter().find_map(|heading| text.strip_prefix(heading)) {
        text = rest;
    }
    text.to_owned()
}
