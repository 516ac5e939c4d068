//! The lake: all tables at one location.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use delta_kernel_default_engine::{DefaultEngineBuilder, executor::tokio::TokioMultiThreadExecutor};
use futures::{TryStreamExt, future::join_all};
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::{Handle, RuntimeFlavor};
use url::Url;
use uuid::Uuid;

use crate::{
    LakeTable, OpenError, StoreConfig, Table,
    delta::DeltaLog,
    store::{PROBES, Store},
};

/// What a look at the store showed.
#[derive(Clone, Copy, Debug)]
pub struct StoreProbe {
    /// How long it took to write a small object.
    pub put: Duration,
    /// How long it took to read it.
    pub get: Duration,
    /// How long it took to list it.
    pub list: Duration,
    /// When it was written, by the store's clock.
    pub modified: DateTime<Utc>,
}

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
        // All of them, also when one fails: a call that is left behind has no end when the program ends.
        let tables = join_all(tables).await.into_iter().collect::<Result<_, _>>()?;
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

    /// Looks at the store: writes, reads and lists one object, and deletes it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn probe(&self) -> Result<StoreProbe, object_store::Error> {
        let path = self.store.path(PROBES)?.join(Uuid::now_v7().to_string());
        let (objects, begun) = (&self.store.objects, Instant::now());
        objects.put(&path, "probe".into()).await?;
        let put = begun.elapsed();
        let probed = async {
            let begun = Instant::now();
            let found = objects.get(&path).await?;
            let modified = found.meta.last_modified;
            found.bytes().await?;
            let (get, begun) = (begun.elapsed(), Instant::now());
            let _: Option<_> = objects.list(Some(&path)).try_next().await?;
            Ok(StoreProbe { put, get, list: begun.elapsed(), modified })
        };
        let probed = probed.await;
        objects.delete(&path).await?;
        probed
    }

    /// Where the tables are: `file:///directory/` or `s3://bucket/prefix/`.
    #[must_use]
    pub const fn root(&self) -> &Url {
        &self.store.root
    }
}
