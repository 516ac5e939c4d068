//! The lake: all tables at one location.

use std::sync::Arc;

use delta_kernel_default_engine::{DefaultEngineBuilder, executor::tokio::TokioMultiThreadExecutor};
use futures::future::try_join_all;
use object_store::ObjectStore;
use tokio::runtime::{Handle, RuntimeFlavor};
use url::Url;

use crate::{LakeTable, OpenError, StoreConfig, Table, delta::DeltaLog, store::Store};

/// All tables, open.
#[derive(Debug)]
pub struct Lake {
    store: Store,
    /// In the order of [`Table::ALL`].
    tables: Vec<LakeTable>,
}

impl Lake {
    /// Opens the tables; creates what is missing.
    ///
    /// # Errors
    /// When the store cannot be reached or would lose commits, or when a table there is not ours.
    pub async fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        if Handle::current().runtime_flavor() != RuntimeFlavor::MultiThread {
            return Err(OpenError::Runtime);
        }
        let store = Store::open(config).await?;
        let engine = DefaultEngineBuilder::new(Arc::clone(&store.objects))
            .with_task_executor(Arc::new(TokioMultiThreadExecutor::new(Handle::current())))
            .build();
        let engine = Arc::new(engine);
        let tables = Table::ALL.map(|table| {
            let (store, engine) = (&store, Arc::clone(&engine));
            async move {
                let exists = store.prepare(config, table).await?;
                let log = DeltaLog::new(table, store.directory(table.name()), engine, config.deadline());
                Ok::<_, OpenError>(LakeTable::open(log, Arc::clone(&store.objects), exists).await?)
            }
        });
        let tables = try_join_all(tables).await?;
        tracing::info!(location = %store.root, "tables are open");
        Ok(Self { store, tables })
    }

    /// A table.
    #[must_use]
    pub fn table(&self, table: Table) -> &LakeTable {
        &self.tables[table as usize]
    }

    /// The store that the tables are in: the whole file system, or the bucket.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store.objects)
    }

    /// Where the tables are: `file:///directory/` or `s3://bucket/prefix/`.
    #[must_use]
    pub const fn root(&self) -> &Url {
        &self.store.root
    }
}
