//! Which file is damaged, when a statement failed on what it read.
//!
//! Neither Parquet's reader nor DataFusion names the file that it could not decode, and some damage makes them panic. A file bears a
//! checksum, so the one that is damaged can be found after the fact; nothing is read twice as long as nothing fails.

use std::{any::Any, sync::Arc};

use datafusion::{
    datasource::{physical_plan::ParquetSource, source::DataSourceExec},
    error::DataFusionError,
    physical_plan::ExecutionPlan,
};
use object_store::{ObjectStore, path::Path};
use weir_lake::verify;

use crate::error::QueryError;

/// The files that a statement reads.
#[derive(Debug)]
pub(crate) struct Scanned {
    store: Arc<dyn ObjectStore>,
    /// Where each is, and its size in bytes.
    files: Vec<(Path, u64)>,
}

impl Scanned {
    pub(crate) fn by(plan: &Arc<dyn ExecutionPlan>, store: &Arc<dyn ObjectStore>) -> Self {
        let mut files = Vec::new();
        let mut plans = vec![plan];
        while let Some(plan) = plans.pop() {
            plans.extend(plan.children());
            let scan = plan.downcast_ref::<DataSourceExec>();
            if let Some((scan, _)) = scan.and_then(DataSourceExec::downcast_to_file_source::<ParquetSource>) {
                let of_scan = scan.file_groups.iter().flat_map(|group| group.files());
                files.extend(of_scan.map(|file| (file.object_meta.location.clone(), file.object_meta.size)));
            }
        }
        files.sort();
        files.dedup();
        Self { store: Arc::clone(store), files }
    }

    /// The error of a statement that failed, with the name of the damaged file if that is why.
    pub(crate) async fn error(&self, failed: Result<DataFusionError, Box<dyn Any + Send>>) -> QueryError {
        let error = match failed {
            Ok(error) => QueryError::from(error),
            Err(_panic) => QueryError::Internal("a part of the statement panicked".to_owned()),
        };
        if !matches!(error, QueryError::Store(_) | QueryError::Internal(_)) {
            return error;
        }
        for (path, size_bytes) in &self.files {
            match verify::difference(self.store.as_ref(), path, *size_bytes).await {
                Ok(None) => {}
                Ok(Some(difference)) => return QueryError::Store(format!("{path}: {difference} ({error})")),
                // The store itself fails, and the error says so.
                Err(_) => break,
            }
        }
        error
    }
}

#[cfg(test)]
mod tests;
