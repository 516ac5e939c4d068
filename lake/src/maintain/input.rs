//! A file of a table, read a batch at a time.
//!
//! What always holds: a row group as it is stored and [`ROWS_DECODED`] rows of it are in memory, not more; only a file
//! that declares its rows to be in the table's order, and whose checksum holds, is read.

use std::{ops::Range, sync::Arc};

use arrow::{
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
};
use bytes::Bytes;
use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
        async_reader::{AsyncFileReader, ParquetRecordBatchStream},
    },
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};

use super::plan::ROWS_DECODED;
use crate::{LiveFile, Table, UnfitRows, file::checksum, order::sorting_columns};

/// A file that cannot be merged. It stays as it is.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub(crate) struct InputError {
    pub(crate) path: Path,
    pub(crate) reason: Reason,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    #[error("its rows are not declared to be in the table's order: another program wrote it")]
    Undeclared,
    #[error("its columns are not the table's: {0}")]
    Columns(#[from] UnfitRows),
    #[error("{0}")]
    Damaged(String),
    #[error("its rows are not in the order that it declares")]
    Disordered,
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

impl Reason {
    /// Whether the file may be readable later.
    pub(crate) fn is_retryable(&self) -> bool {
        // What the store says reaches us as an external error.
        matches!(self, Self::Parquet(ParquetError::External(_)))
    }
}

/// Batches of a file's rows.
pub(super) type Input = ParquetRecordBatchStream<Reader>;

/// Opens a file.
pub(super) async fn open(store: &Arc<dyn ObjectStore>, table: Table, file: &LiveFile) -> Result<Input, Reason> {
    if let Some(difference) = checksum::difference(store, &file.path, file.size_bytes).await.map_err(external)? {
        return Err(Reason::Damaged(difference));
    }
    let mut reader = Reader { store: Arc::clone(store), path: file.path.clone(), size_bytes: file.size_bytes };
    let metadata = reader.get_metadata(None).await?;
    let columns = types(table, &metadata)?;
    let declared = sorting_columns(table, &columns);
    let options = ArrowReaderOptions::new().with_schema(columns);
    let metadata = ArrowReaderMetadata::try_new(metadata, options)?;
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
    if builder.metadata().row_groups().iter().any(|group| group.sorting_columns() != Some(&declared)) {
        return Err(Reason::Undeclared);
    }
    Ok(builder.with_batch_size(ROWS_DECODED).build()?)
}

/// The table's own types for the columns that the file has: a file of ours does not bear an Arrow schema, and one of an
/// older version may lack columns.
fn types(table: Table, metadata: &ParquetMetaData) -> Result<SchemaRef, Reason> {
    let ours = table.schema();
    let columns = metadata.file_metadata().schema().get_fields().iter().map(|column| {
        let (_, ours) =
            ours.fields().find(column.name()).ok_or_else(|| UnfitRows::Unknown(column.name().to_owned()))?;
        Ok(Arc::clone(ours))
    });
    Ok(Arc::new(Schema::new(columns.collect::<Result<Vec<_>, UnfitRows>>()?)))
}

/// Reads a file's bytes from the store.
pub(super) struct Reader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size_bytes: u64,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.store.get_range(&self.path, range).map_err(external).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let size_bytes = self.size_bytes;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            reader.load_and_finish(self, size_bytes).await.map(Arc::new)
        }
        .boxed()
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
