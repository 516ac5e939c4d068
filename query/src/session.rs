//! The engine: one statement in, its rows out. The single way to the tables for every protocol.
//!
//! What always holds: nothing is changed, whatever the statement says; memory and spill space have a bound that all
//! statements share (I7); an answer holds every row acknowledged before the statement began, once (I9).

use std::{path::PathBuf, sync::Arc, thread::available_parallelism};

use arrow::datatypes::SchemaRef;
use datafusion::{
    catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList},
    error::DataFusionError,
    execution::{
        context::SQLOptions,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::{FairSpillPool, MemoryConsumer, MemoryReservation},
        object_store::ObjectStoreUrl,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
        session_state::{SessionState, SessionStateBuilder},
    },
    logical_expr::LogicalPlan,
    prelude::SessionConfig,
};
use futures::stream;
use object_store::ObjectStore;
use tokio::sync::mpsc;
use weir_lake::{Lake, Table};
use weir_station::{credentials::Credentials, watched::FileFault};

use crate::{
    answer::Answer,
    catalog::StatementSchema,
    collector::HttpCollector,
    config::Config,
    damage::Scanned,
    error::QueryError,
    fresh::{Cut, Fresh},
    functions,
    pending::{PendingError, PendingSource},
    scan::STORE_URL,
    statement::{CATALOG, SCHEMA, Statement},
    workers::{Computed, Workers},
};

/// What caches of Parquet footers may hold, beside `memory`.
const METADATA_CACHE_BYTES: usize = 64 << 20;

/// What all statements of an engine share.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory, bytes.
    pub memory_bytes: usize,
    /// Spill space, bytes.
    pub spill_bytes: u64,
    /// Where to spill; the system's directory for temporary files if none is given.
    pub spill_directory: Option<PathBuf>,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self {
            memory_bytes: usize::try_from(config.memory.0).unwrap_or(usize::MAX),
            spill_bytes: config.spill.0,
            spill_directory: config.spill_directory.clone(),
        }
    }
}

/// How one statement is to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether rows that are acknowledged and not yet committed belong to the answer.
    pub fresh: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { fresh: true }
    }
}

/// An engine that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The limits do not fit this machine, or the spill directory cannot be used.
    #[error("cannot prepare to run statements: {0}")]
    Runtime(DataFusionError),
    /// A file of certificates or the token cannot be used.
    #[error("query: {0}")]
    File(#[from] FileFault),
    /// A collector cannot be asked from this machine.
    #[error(transparent)]
    Collector(PendingError),
}

/// Answers statements over a lake.
#[derive(Debug)]
pub struct Engine {
    store: Arc<dyn ObjectStore>,
    fresh: Fresh,
    session: SessionState,
    workers: Workers,
}

impl Engine {
    /// An engine over a lake and whoever holds rows that are not yet in it.
    ///
    /// # Errors
    /// When the spill directory cannot be used.
    pub fn new(lake: Arc<Lake>, sources: Vec<Arc<dyn PendingSource>>, limits: &Limits) -> Result<Self, EngineError> {
        let runtime = runtime(limits).map_err(EngineError::Runtime)?;
        let store = lake.store();
        let url = ObjectStoreUrl::parse(STORE_URL).map_err(EngineError::Runtime)?;
        runtime.register_object_store(url.as_ref(), Arc::clone(&store));
        let workers = Workers::start().map_err(|error| EngineError::Runtime(error.into()))?;
        Ok(Self { store, fresh: Fresh::new(lake, sources), session: session(runtime), workers })
    }

    /// An engine that asks the collectors which the configuration names.
    ///
    /// # Errors
    /// As for [`Engine::new`].
    pub fn from_config(lake: Arc<Lake>, config: &Config) -> Result<Self, EngineError> {
        let limits = Limits::from(config);
        let credentials = Arc::new(Credentials::open(&config.credentials, &config.collectors, b"http/1.1")?);
        let collector = |url: &String| -> Result<Arc<dyn PendingSource>, EngineError> {
            let collector = HttpCollector::new(url, limits.memory_bytes, Arc::clone(&credentials));
            let collector = collector.map_err(EngineError::Collector)?;
            Ok(Arc::new(collector))
        };
        let sources = config.collectors.iter().map(collector).collect::<Result<_, _>>()?;
        Self::new(lake, sources, &limits)
    }

    /// The tables that statements can name, with their columns.
    pub fn tables() -> impl Iterator<Item = (&'static str, SchemaRef)> {
        Table::ALL.into_iter().map(|table| (table.name(), table.full_schema()))
    }

    /// Memory that running statements hold, bytes.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.session.runtime_env().memory_pool.reserved()
    }

    /// Answers one statement. The rows come as they are computed; to drop the answer is to cancel the statement.
    ///
    /// # Errors
    /// When the statement cannot be answered. Errors while rows are computed are among the rows.
    pub async fn query(&self, sql: &str, options: Options) -> Result<Answer, QueryError> {
        let statement = Statement::parse(sql, &self.session)?;
        let cut = self.fresh.cut(&statement.tables(), options.fresh).await?;
        let held = self.hold(&cut)?;
        let state = self.state(&cut)?;
        let planned = state.statement_to_plan(statement.parsed.clone()).await;
        let plan = planned.map_err(|error| statement.explain(error.into()))?;
        verify(&plan)?;
        let plan = state.create_physical_plan(&plan).await?;
        let scanned = Scanned::by(&plan, &self.store);
        let (schema, computed) = self.workers.run(plan, state.task_ctx(), held)?;
        Ok(answer(&schema, computed, scanned))
    }

    /// Reserves the memory of the pending rows that were brought here.
    fn hold(&self, cut: &Cut) -> Result<MemoryReservation, QueryError> {
        let pool = &self.session.runtime_env().memory_pool;
        let reservation = MemoryConsumer::new("rows not yet committed").register(pool);
        reservation.try_grow(cut.received_bytes)?;
        Ok(reservation)
    }

    /// A state of its own for one statement, in which the tables are what the cut says.
    fn state(&self, cut: &Cut) -> Result<SessionState, QueryError> {
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(StatementSchema::new(&cut.tables, &self.store)?))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        let mut state = self.session.clone();
        state.register_catalog_list(Arc::new(catalogs));
        state.mark_start_execution();
        Ok(state)
    }
}

fn answer(schema: &SchemaRef, computed: mpsc::Receiver<Computed>, scanned: Scanned) -> Answer {
    let rows = stream::unfold((computed, scanned), |(mut computed, scanned)| async move {
        let batch = match computed.recv().await? {
            Ok(batch) => Ok(batch),
            Err(failed) => Err(scanned.error(failed).await),
        };
        Some((batch, (computed, scanned)))
    });
    Answer::new(schema, rows)
}

/// The second line of defence behind the list of statements that may run.
fn verify(plan: &LogicalPlan) -> Result<(), QueryError> {
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(plan).map_err(|error| QueryError::ReadOnly(error.message().into_owned()))
}

fn runtime(limits: &Limits) -> Result<Arc<RuntimeEnv>, DataFusionError> {
    let mode = match &limits.spill_directory {
        Some(directory) => DiskManagerMode::Directories(vec![directory.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let spill = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(limits.spill_bytes);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes)))
        .with_disk_manager_builder(spill)
        .with_metadata_cache_limit(METADATA_CACHE_BYTES)
        .build_arc()
}

fn session(runtime: Arc<RuntimeEnv>) -> SessionState {
    let cores = available_parallelism().map_or(1, usize::from);
    let config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_information_schema(true)
        .with_target_partitions(cores);
    SessionStateBuilder::new()
        .with_aggregate_functions(functions::aggregates())
        .with_scalar_functions(functions::scalars())
        .with_default_features()
        .with_config(config)
        .with_runtime_env(runtime)
        .build()
}

#[cfg(test)]
mod tests;
