//! The tables as one statement sees them.
//!
//! A table that the statement names is its cut; every other is there with its columns only, for `information_schema`,
//! and refuses to be read.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{SchemaProvider, Session, TableProvider},
    common::{Result, internal_err},
    error::DataFusionError,
    logical_expr::{Expr, TableType},
    physical_plan::ExecutionPlan,
};
use object_store::ObjectStore;
use weir_lake::Table;

use crate::{fresh::TableCut, table::CutTable};

/// The schema `public` of one statement.
#[derive(Debug)]
pub(crate) struct StatementSchema {
    named: HashMap<Table, Arc<CutTable>>,
}

impl StatementSchema {
    /// The tables of a cut, whose files are in `store`.
    ///
    /// # Errors
    /// When pending rows are not rows of their table.
    pub(crate) fn new(cuts: &[TableCut], store: &Arc<dyn ObjectStore>) -> Result<Self> {
        let named = cuts.iter().map(|cut| Ok((cut.table, Arc::new(CutTable::new(cut, Arc::clone(store))?))));
        Ok(Self { named: named.collect::<Result<_>>()? })
    }
}

#[async_trait]
impl SchemaProvider for StatementSchema {
    fn table_names(&self) -> Vec<String> {
        Table::ALL.map(|table| table.name().to_owned()).to_vec()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some(table) = Table::from_name(name) else { return Ok(None) };
        Ok(Some(match self.named.get(&table) {
            Some(cut) => Arc::clone(cut) as Arc<dyn TableProvider>,
            None => Arc::new(Columns(table)),
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        Table::from_name(name).is_some()
    }
}

/// A table that the statement does not name.
#[derive(Debug)]
struct Columns(Table);

#[async_trait]
impl TableProvider for Columns {
    fn schema(&self) -> SchemaRef {
        self.0.full_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        internal_err!("{} is read, but was not found among the tables that the statement names", self.0.name())
    }
}
