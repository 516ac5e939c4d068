//! How a file is written: compression, encodings, statistics, bloom filters.
//!
//! A dictionary is for values that repeat. Which columns those are depends on the traffic, so it is looked up in a sample of the
//! rows. The others are written as they are: numbers by their differences, texts with their lengths apart from
//! them, so that what compresses compresses, and the rest takes the bits that it has.

use std::{collections::HashSet, hash::Hash};

use ahash::RandomState;
use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch},
    datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType},
};
use parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties},
};

use super::ROWS_PER_ROW_GROUP;
use crate::{Table, order::sorting_columns};

/// Rows that are looked at.
const SAMPLE_ROWS: usize = 4_096;

/// A page holds about so much before it is compressed. Whoever reads or writes many columns at once has a page of each in
/// memory, and what zstd needs for it.
const PAGE_BYTES: usize = 64 << 10;

/// How hard a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// For a file that will soon be merged with others.
    Fast,
    /// For a file that will be kept.
    Thorough,
}

pub(super) fn properties(table: Table, effort: Effort, sample: &[RecordBatch]) -> WriterProperties {
    let level = match effort {
        Effort::Fast => 1,
        Effort::Thorough => 3,
    };
    let level = ZstdLevel::try_new(level).expect("these are levels of zstd");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROWS_PER_ROW_GROUP))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_sorting_columns(Some(sorting_columns(table, &table.schema())))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_statistics_enabled("time".into(), EnabledStatistics::Page);
    for (index, field) in table.schema().fields().iter().enumerate() {
        let plain = match field.data_type() {
            DataType::Utf8 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            DataType::Int32 | DataType::Int64 | DataType::Timestamp(..) => Encoding::DELTA_BINARY_PACKED,
            _ => continue,
        };
        if !repeats(sample, index) {
            let column = field.name().as_str();
            properties = properties
                .set_column_dictionary_enabled(column.into(), false)
                .set_column_encoding(column.into(), plain);
        }
    }
    for column in table.id_columns() {
        // Between the smallest and the largest of random ids lies every other.
        properties = properties.set_column_statistics_enabled((*column).into(), EnabledStatistics::None);
    }
    for column in table.lookup_columns() {
        properties = properties
            .set_column_bloom_filter_enabled((*column).into(), true)
            .set_column_bloom_filter_max_ndv((*column).into(), ROWS_PER_ROW_GROUP as u64);
    }
    properties.build()
}

/// Whether a value of the column stands at least twice among the first rows, on the average; null is one of them.
fn repeats(sample: &[RecordBatch], column: usize) -> bool {
    let random = RandomState::new();
    let (mut rows, mut different) = (0, HashSet::with_hasher(random.clone()));
    for batch in sample {
        let values = batch.column(column);
        let values = values.slice(0, values.len().min(SAMPLE_ROWS - rows));
        rows += values.len();
        match values.data_type() {
            DataType::Utf8 => different.extend(values.as_string::<i32>().iter().map(|text| random.hash_one(text))),
            DataType::Int32 => different.extend(hashes::<Int32Type>(&values, &random)),
            DataType::Int64 => different.extend(hashes::<Int64Type>(&values, &random)),
            _ => different.extend(hashes::<TimestampMicrosecondType>(&values, &random)),
        }
    }
    2 * different.len() <= rows
}

fn hashes<T: ArrowPrimitiveType<Native: Hash>>(values: &ArrayRef, random: &RandomState) -> impl Iterator<Item = u64> {
    values.as_primitive::<T>().iter().map(|number| random.hash_one(number))
}

#[cfg(test)]
mod tests {
    use weir_record::AccessRecord;

    use super::*;
    use crate::requests;

    #[test]
    fn what_repeats_is_told_from_what_does_not() {
        let record = |index: u64| AccessRecord {
            request_id: index.to_string(),
            route: format!("/{}", index % 3),
            latency_us: index,
            request_bytes: index % 2,
            ..AccessRecord::default()
        };
        let records: Vec<_> = (0..6_000).map(record).collect();
        let batches: Vec<_> = records.chunks(500).map(|records| requests::batch(records, "gateway", 0)).collect();
        let repeats = |name: &str| repeats(&batches, Table::Requests.schema().index_of(name).unwrap());
        for name in ["route", "request_bytes", "usage_plan", "status", "received_time"] {
            assert!(repeats(name), "{name}");
        }
        for name in ["request_id", "latency_us"] {
            assert!(!repeats(name), "{name}");
        }
    }
}
