//! One message of a sender, decoded: the rows it adds to the tables, source by source.
//!
//! The same bytes always decode to the same rows: what was acknowledged and what a replay of the log brings back are
//! one and the same.

use arrow::array::RecordBatch;
use weir_lake::{metrics::Cells, requests, spans};
use weir_record::{
    AccessRecord, Batch, Source,
    otlp::{self, DecodeError},
};

use crate::Signal;

/// A sender's clock may be this far ahead of ours. A record from beyond it is filed under its time of arrival: one
/// wrong clock must not scatter files over centuries.
const CLOCK_TOLERANCE_US: i64 = 24 * 3_600 * 1_000_000;

/// A decoded message.
#[derive(Debug)]
pub struct Message {
    /// What it holds.
    pub signal: Signal,
    /// What each source in it sent.
    pub parts: Vec<Part>,
}

/// What one source sent in one message.
#[derive(Debug)]
pub struct Part {
    /// Who sent it.
    pub source: Source,
    /// Records that arrived, rejected ones included.
    pub received: u64,
    /// Records that could not be taken: spans without ids.
    pub rejected: u64,
    /// Rows of `requests` or of `spans`.
    pub rows: RecordBatch,
    /// The same records as metrics cells; empty for spans.
    pub cells: Cells,
}

impl Message {
    /// Decodes the protobuf of a message that arrived at this time.
    ///
    /// # Errors
    /// When the bytes are no OTLP message of the signal.
    pub fn decode(signal: Signal, received_us: i64, body: &[u8]) -> Result<Self, DecodeError> {
        let parts = match signal {
            Signal::Logs => otlp::decode_logs(body)?.into_iter().map(|batch| logs_part(batch, received_us)).collect(),
            Signal::Traces => {
                otlp::decode_traces(body)?.into_iter().map(|part| spans_part(part, received_us)).collect()
            }
        };
        Ok(Self { signal, parts })
    }

    /// Records in the message that could not be taken.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.parts.iter().map(|part| part.rejected).sum()
    }

    /// Memory that the rows take, bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.rows.get_array_memory_size() + part.cells.heap_bytes()).sum()
    }
}

fn logs_part(mut batch: Batch<AccessRecord>, received_us: i64) -> Part {
    let mut cells = Cells::new();
    for record in &mut batch.records {
        record.time_us = plausible(record.time_us, received_us);
        cells.add(record);
    }
    let rows = requests::batch(&batch.records, source_name(&batch.source), received_us);
    Part { received: batch.records.len() as u64, rejected: 0, rows, cells, source: batch.source }
}

fn spans_part(part: otlp::Spans, received_us: i64) -> Part {
    let otlp::Spans { mut batch, invalid } = part;
    for span in &mut batch.records {
        span.time_us = plausible(span.time_us, received_us);
    }
    let rows = spans::batch(&batch.records, source_name(&batch.source), received_us);
    let received = (batch.records.len() + invalid) as u64;
    Part { received, rejected: invalid as u64, rows, cells: Cells::new(), source: batch.source }
}

/// How the tables name a source: by its instance, or else by its service.
pub(crate) fn source_name(source: &Source) -> &str {
    if source.instance.is_empty() { &source.service } else { &source.instance }
}

fn plausible(time_us: i64, received_us: i64) -> i64 {
    let latest = received_us.saturating_add(CLOCK_TOLERANCE_US);
    if (1..=latest).contains(&time_us) { time_us } else { received_us }
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray, datatypes::TimestampMicrosecondType};

    use super::*;

    const NOW: i64 = 1_700_000_000_000_000;

    #[test]
    fn a_record_with_an_impossible_time_is_filed_under_its_arrival() {
        let times = [0, 1, NOW, NOW + CLOCK_TOLERANCE_US, NOW + CLOCK_TOLERANCE_US + 1];
        let records = times.map(|time_us| AccessRecord { time_us, ..Default::default() });
        let bytes = otlp::encode_logs(&Source::default(), &records);
        let message = Message::decode(Signal::Logs, NOW, &bytes).unwrap();
        let column = message.parts[0].rows.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
        assert_eq!(column.values(), &[NOW, 1, NOW, NOW + CLOCK_TOLERANCE_US, NOW]);
    }
}
