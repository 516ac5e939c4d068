//! A table as DataFusion reads it in one statement: the live files of a snapshot, and the rows that are pending after
//! it.
//!
//! Filters are used to skip files and row groups, never to decide about a row: DataFusion applies them again, so that
//! what is skipped too little costs time and nothing else.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::cast,
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider, memory::MemorySourceConfig},
    common::{DFSchema, Result},
    datasource::source::DataSourceExec,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType, utils::conjunction},
    physical_plan::{ExecutionPlan, empty::EmptyExec, union::UnionExec},
};
use object_store::ObjectStore;
use weir_lake::{LiveFiles, Table};

use crate::{
    fresh::TableCut,
    scan::{FileScan, TIME},
};

/// The cut of one table.
#[derive(Debug)]
pub(crate) struct CutTable {
    table: Table,
    schema: SchemaRef,
    files: Arc<LiveFiles>,
    store: Arc<dyn ObjectStore>,
    pending: Vec<RecordBatch>,
}

impl CutTable {
    /// A table of this cut, whose files are in `store`.
    ///
    /// # Errors
    /// When pending rows are not rows of the table.
    pub(crate) fn new(cut: &TableCut, store: Arc<dyn ObjectStore>) -> Result<Self> {
        let schema = cut.table.full_schema();
        let rows = cut.pending.iter().filter(|batch| batch.num_rows() > 0);
        let pending = rows.map(|batch| with_date(batch, &schema)).collect::<Result<_, ArrowError>>()?;
        Ok(Self { table: cut.table, schema, files: Arc::clone(cut.snapshot.files()), store, pending })
    }

    fn pending_scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = session.config().target_partitions().min(self.pending.len());
        let mut batches = vec![Vec::new(); partitions];
        for (number, batch) in self.pending.iter().enumerate() {
            batches[number % partitions].push(batch.clone());
        }
        let source = MemorySourceConfig::try_new(&batches, Arc::clone(&self.schema), projection.cloned())?;
        Ok(DataSourceExec::from_data_source(source.with_limit(limit)))
    }
}

#[async_trait]
impl TableProvider for CutTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = FileScan::new(self.table, &self.files, &self.store);
        let filter = match conjunction(filters.to_vec()) {
            Some(filter) => {
                let columns = DFSchema::try_from(Arc::clone(scan.schema()))?;
                Some(session.create_physical_expr(filter, &columns)?)
            }
            None => None,
        };
        let mut parts = Vec::new();
        parts.extend(scan.plan(session, projection, filter, limit)?);
        if !self.pending.is_empty() {
            parts.push(self.pending_scan(session, projection, limit)?);
        }
        if parts.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema.project(columns)?),
                None => Arc::clone(&self.schema),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        UnionExec::try_new(parts)
    }
}

/// Pending rows with the column `date` before them, as the committed ones have it.
fn with_date(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let time = batch.column_by_name(TIME).ok_or_else(|| ArrowError::SchemaError(format!("rows without {TIME}")))?;
    let date = cast(time, &DataType::Date32)?;
    let columns: Vec<ArrayRef> = std::iter::once(date).chain(batch.columns().iter().map(Arc::clone)).collect();
    RecordBatch::try_new(Arc::clone(schema), columns)
}
