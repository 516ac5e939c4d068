//! SQL functions over latency sketches: the binary columns of the table `metrics`.
//!
//! | function | gives |
//! |---|---|
//! | `sketch_merge(sketch)`, aggregate | one sketch of all values |
//! | `sketch_of(bigint)`, aggregate | a sketch of values, µs |
//! | `p50(sketch)`, `p90`, `p99`, `p999`, aggregates | that quantile of all values, µs |
//! | `sketch_quantile(sketch, q)` | the quantile q, 0 to 1, µs |
//! | `sketch_count(sketch)` | how many values |
//! | `sketch_min(sketch)`, `sketch_max` | the least and the greatest value, µs |
//! | `sketch_mean(sketch)` | the mean, µs |
//!
//! A null sketch is no sketch: aggregates pass it over, the others answer null. A sketch without values has a count of 0
//! and nothing else. Bytes that are no sketch end the statement with an error that names the function.

mod aggregate;
mod groups;
mod scalar;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{DataFusionError, Result, exec_datafusion_err, plan_err},
    logical_expr::{AggregateUDF, ScalarUDF},
};
use weir_lake::Sketch;

use aggregate::SketchAggregate;
use scalar::{SketchFunction, SketchQuantile};

/// The aggregates, ready to be registered.
pub(crate) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];
    let quantiles = quantiles.into_iter().map(|(name, quantile)| SketchAggregate::quantile(name, quantile));
    let sketches = [SketchAggregate::merge(), SketchAggregate::of()];
    sketches.into_iter().chain(quantiles).map(|function| Arc::new(function.into())).collect()
}

/// The scalar functions, ready to be registered.
pub(crate) fn scalars() -> Vec<Arc<ScalarUDF>> {
    let simple = SketchFunction::ALL.iter().map(|function| ScalarUDF::from(*function));
    simple.chain([ScalarUDF::from(SketchQuantile)]).map(Arc::new).collect()
}

/// The type that a sketch argument is cast to, if it can be a sketch at all.
fn coerce_sketch(function: &str, given: &DataType) -> Result<DataType> {
    match given {
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Null => Ok(DataType::Binary),
        other => plan_err!(
            "{function} takes a sketch, such as the column latency of the table metrics; this argument is of type {other}"
        ),
    }
}

/// The type that a value is cast to.
fn coerce_value(function: &str, given: &DataType) -> Result<DataType> {
    if given.is_integer() || given.is_null() {
        Ok(DataType::Int64)
    } else {
        plan_err!(
            "{function} takes whole numbers, such as the column latency_us of the table requests; this argument is of type {given}"
        )
    }
}

fn read_sketch(function: &str, bytes: &[u8]) -> Result<Sketch> {
    Sketch::from_bytes(bytes).map_err(|error| damaged(function, error))
}

fn damaged(function: &str, error: impl std::fmt::Display) -> DataFusionError {
    exec_datafusion_err!("{function}: not a sketch: {error}")
}

/// A value in microseconds as SQL has it. Sketches end at one hour, so every value fits.
fn bigint(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
