//! The answer to a statement: its columns, and its rows as they are computed.

use std::{
    collections::HashSet,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{Schema, SchemaRef},
};
use futures::{Stream, StreamExt, stream::BoxStream};

use crate::error::QueryError;

/// The rows of an answer. To drop it is to cancel the statement.
pub struct Rows(BoxStream<'static, Result<RecordBatch, QueryError>>);

impl Rows {
    /// Rows that come from anywhere.
    pub fn new(rows: impl Stream<Item = Result<RecordBatch, QueryError>> + Send + 'static) -> Self {
        Self(rows.boxed())
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rows")
    }
}

/// What a statement answers.
#[derive(Debug)]
pub struct Answer {
    /// Names and types of the columns. No two columns have one name.
    pub schema: SchemaRef,
    /// The rows, each batch with that schema.
    pub rows: Rows,
}

impl Answer {
    /// An answer whose columns are renamed where two have one name (`SELECT a.time, b.time`): `time`, `time_2`. A reader
    /// of JSON would lose one of them.
    pub(crate) fn new(
        schema: &SchemaRef,
        rows: impl Stream<Item = Result<RecordBatch, QueryError>> + Send + 'static,
    ) -> Self {
        let Some(distinct) = distinct_names(schema) else {
            return Self { schema: Arc::clone(schema), rows: Rows::new(rows) };
        };
        let renamed = Arc::clone(&distinct);
        let rows = rows.map(move |batch| {
            let batch = batch?;
            let count = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&renamed), batch.columns().to_vec(), &count)
                .map_err(|error| QueryError::Internal(error.to_string()))
        });
        Self { schema: distinct, rows: Rows::new(rows) }
    }
}

/// The schema with names told apart; nothing if they are already.
fn distinct_names(schema: &SchemaRef) -> Option<SchemaRef> {
    let all: HashSet<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    if all.len() == schema.fields().len() {
        return None;
    }
    let mut taken = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        let mut name = field.name().clone();
        let mut number = 2;
        while taken.contains(&name) || (number > 2 && all.contains(name.as_str())) {
            name = format!("{}_{number}", field.name());
            number += 1;
        }
        taken.insert(name.clone());
        Arc::new(field.as_ref().clone().with_name(name))
    });
    let fields: Vec<_> = fields.collect();
    Some(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn columns_of_one_name_are_told_apart() {
        let named = |names: &[&str]| -> SchemaRef {
            let fields: Vec<_> = names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
            Arc::new(Schema::new(fields))
        };
        assert_eq!(distinct_names(&named(&["a", "b"])), None);
        assert_eq!(distinct_names(&named(&["a", "a", "b", "a"])), Some(named(&["a", "a_2", "b", "a_3"])));
        assert_eq!(distinct_names(&named(&["a", "a", "a_2"])), Some(named(&["a", "a_3", "a_2"])));
    }
}
