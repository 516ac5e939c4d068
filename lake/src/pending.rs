//! The rows that a collector has pending, as they go to the query station: the body of the answer to `POST /pending`.
//!
//! For each table that was asked for, in the order of [`Table::ALL`]: the table's index (one byte), a length (eight
//! bytes, little endian) and that many bytes of an Arrow IPC stream; none for a table without rows.
//!
//! What always holds: what was encoded decodes to the same rows; any other bytes are an error, or rows that have the
//! columns of their table (I10); what a collector of an older version lacks is filled in. Every length is checked, and nothing is trusted to be what it says.

use std::panic::catch_unwind;

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    error::ArrowError,
    ipc::{reader::StreamDecoder, writer::StreamWriter},
};

use crate::{Table, UnfitRows};

/// Bytes that are no rows of ours.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableRows {
    /// An index beyond [`Table::ALL`].
    #[error("there is no table number {0}")]
    NoSuchTable(u8),
    /// A table that comes twice, or after one that it stands before.
    #[error("{} comes twice or too late", .0.name())]
    OutOfOrder(Table),
    /// Less than a length follows an index.
    #[error("it ends within a length")]
    CutLength,
    /// Less follows than a length says.
    #[error("{} has {says} bytes, but {follow} follow", .table.name())]
    Cut {
        /// Whose rows they are.
        table: Table,
        /// What the length says.
        says: u64,
        /// What there is.
        follow: usize,
    },
    /// Columns that the table does not have, or too few.
    #[error("the columns of {} are not ours: {}; the collector's version is newer, or it is no collector", .0.name(), .1)]
    OtherColumns(Table, UnfitRows),
    /// Bytes that are no Arrow IPC stream.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// Bytes that are none either, and at which Arrow's reader panics.
    #[error("the rows of {} are no Arrow IPC stream", .0.name())]
    Malformed(Table),
}

/// The rows of these tables, in the order of [`Table::ALL`], as bytes.
///
/// # Errors
/// When a batch does not have the columns of its table.
pub fn encode(tables: &[(Table, Vec<RecordBatch>)]) -> Result<Vec<u8>, ArrowError> {
    let mut body = Vec::new();
    for (table, rows) in tables {
        let mut stream = Vec::new();
        if !rows.is_empty() {
            let mut writer = StreamWriter::try_new(&mut stream, &table.schema())?;
            for batch in rows {
                writer.write(batch)?;
            }
            writer.finish()?;
        }
        body.push(*table as u8);
        body.extend((stream.len() as u64).to_le_bytes());
        body.append(&mut stream);
    }
    Ok(body)
}

/// The tables that have rows in such bytes.
///
/// # Errors
/// When they are none of ours.
pub fn decode(mut body: &[u8]) -> Result<Vec<(Table, Vec<RecordBatch>)>, UnreadableRows> {
    let mut tables = Vec::new();
    let mut next = 0;
    while let Some((&index, rest)) = body.split_first() {
        let table = *Table::ALL.get(usize::from(index)).ok_or(UnreadableRows::NoSuchTable(index))?;
        if index < next {
            return Err(UnreadableRows::OutOfOrder(table));
        }
        next = index + 1;
        let (length, rest) = rest.split_first_chunk().ok_or(UnreadableRows::CutLength)?;
        let says = u64::from_le_bytes(*length);
        let cut = || UnreadableRows::Cut { table, says, follow: rest.len() };
        let length = usize::try_from(says).map_err(|_| cut())?;
        let (stream, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        if !stream.is_empty() {
            tables.push((table, read_rows(table, stream)?));
        }
        body = rest;
    }
    Ok(tables)
}

fn read_rows(table: Table, stream: &[u8]) -> Result<Vec<RecordBatch>, UnreadableRows> {
    // Arrow's reader takes some of what a message says for granted: buffers that lie within it, fields that are set.
    // Nothing that it has touched outlives its panic.
    catch_unwind(|| read_stream(table, stream)).unwrap_or(Err(UnreadableRows::Malformed(table)))
}

fn read_stream(table: Table, stream: &[u8]) -> Result<Vec<RecordBatch>, UnreadableRows> {
    // This reader makes room for what is there, and not for what a message says will come.
    let unfit = |unfit| UnreadableRows::OtherColumns(table, unfit);
    let (mut reader, mut rest, mut rows) = (StreamDecoder::new(), Buffer::from(stream), Vec::new());
    while let Some(batch) = reader.decode(&mut rest)? {
        rows.push(table.conform(&batch).map_err(unfit)?);
    }
    // Also where no rows follow.
    let columns = reader.schema().ok_or(UnreadableRows::Malformed(table))?;
    table.conform(&RecordBatch::new_empty(columns)).map_err(unfit)?;
    reader.finish()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{self, LedgerRow};

    fn tables() -> Vec<(Table, Vec<RecordBatch>)> {
        let row = |source: &str| LedgerRow { source: source.to_owned(), offered: 7, stored: 5, ..LedgerRow::default() };
        let batches = vec![ledger::batch(&[row("a"), row("b")]), ledger::batch(&[row("c")])];
        vec![(Table::Requests, Vec::new()), (Table::Ledger, batches)]
    }

    #[test]
    fn rows_come_back_as_they_went_and_tables_without_rows_do_not() {
        let tables = tables();
        assert_eq!(decode(&encode(&tables).unwrap()).unwrap(), tables[1..]);
        assert_eq!(decode(&[]).unwrap(), []);
    }

    #[test]
    fn tables_out_of_order_and_columns_of_another_table_are_told() {
        let mut one = tables();
        one.reverse();
        assert!(matches!(decode(&encode(&one).unwrap()), Err(UnreadableRows::OutOfOrder(Table::Requests))));
        let mut encoded = encode(&tables()).unwrap();
        encoded[9] = Table::Metrics as u8;
        assert!(matches!(decode(&encoded), Err(UnreadableRows::OtherColumns(Table::Metrics, _))));
    }

    #[test]
    fn whichever_bit_is_flipped_and_wherever_it_is_cut_there_is_an_error_or_rows() {
        let encoded = encode(&tables()).unwrap();
        for at in 0..encoded.len() {
            let _ = decode(&encoded[..at]);
            for bit in 0..8 {
                let mut flipped = encoded.clone();
                flipped[at] ^= 1 << bit;
                let _ = decode(&flipped);
            }
        }
    }
}
