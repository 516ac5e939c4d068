//! One message of a sender, decoded: the rows it adds to the tables, source by source.
//!
//! The same bytes always decode to the same rows: what was acknowledged and what a replay of the log brings back are
//! one and the same.

use std::fmt;

use arrow::array::RecordBatch;
use weir_lake::{metrics::Cells, requests::RequestsBuilder, spans};
use weir_record::{
    Source, keys,
    otlp::{self, AccessView, DecodeError, LogsView, Rejection},
};

use crate::Signal;

/// A sender's clock may be this far ahead of ours. A record from beyond it is filed under its time of arrival: one
/// wrong clock must not scatter files over centuries.
const CLOCK_TOLERANCE_US: i64 = 24 * 3_600 * 1_000_000;

/// A record may be this late. One from before is filed under its time of arrival: each date is a file of its own, so this
/// bounds how many files a flush can come to.
const LATEST_ARRIVAL_US: i64 = 400 * 24 * 3_600 * 1_000_000;

/// Records for which room is made before they are read: a message can hold many, and all of them be broken.
const MOST_EXPECTED: usize = 8_192;

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
    /// Records that could not be taken, and why.
    pub rejected: Rejected,
    /// Rows of `requests` or of `spans`.
    pub rows: RecordBatch,
    /// The same records as metrics cells; empty for spans.
    pub cells: Cells,
}

/// Records that could not be taken, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejected([u64; Rejection::ALL.len()]);

impl Rejected {
    /// Counts one.
    pub fn count(&mut self, reason: Rejection) {
        self.0[reason as usize] += 1;
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each reason that there is, and its count.
    pub fn iter(&self) -> impl Iterator<Item = (Rejection, u64)> {
        Rejection::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

/// For the sender: each reason, and how many records it concerns.
impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (reason, count)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{} ({count}): {reason}", reason.name())?;
        }
        Ok(())
    }
}

impl Message {
    /// Decodes the protobuf of a message that arrived at this time.
    ///
    /// # Errors
    /// When the bytes are no OTLP message of the signal.
    pub fn decode(signal: Signal, received_us: i64, body: &[u8]) -> Result<Self, DecodeError> {
        let parts = match signal {
            Signal::Logs => {
                let mut budget = otlp::MESSAGE_ROWS_BYTES;
                let views = otlp::view_logs(body)?;
                views.iter().map(|view| logs_part(view, &mut budget, received_us)).collect()
            }
            Signal::Traces => {
                otlp::decode_traces(body)?.into_iter().map(|part| spans_part(part, received_us)).collect()
            }
        };
        Ok(Self { signal, parts })
    }

    /// Records in the message that could not be taken.
    #[must_use]
    pub fn rejected(&self) -> Rejected {
        let mut rejected = Rejected::default();
        self.parts.iter().for_each(|part| rejected.add(part.rejected));
        rejected
    }

    /// Memory that the rows take, bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.rows.get_array_memory_size() + part.cells.heap_bytes()).sum()
    }
}

fn logs_part(logs: &LogsView<'_>, budget: &mut usize, received_us: i64) -> Part {
    let received = logs.records();
    let mut rows = RequestsBuilder::new(received.min(MOST_EXPECTED));
    let (mut cells, mut rejected) = (Cells::new(), Rejected::default());
    logs.for_each(budget, |record| match record {
        Ok(record) => {
            correct_time(record, received_us);
            cells.add(record);
            rows.append(record);
        }
        Err(reason) => rejected.count(reason),
    });
    let source = logs.source().clone();
    let rows = rows.finish(source_name(&source), received_us);
    Part { received: received as u64, rejected, rows, cells, source }
}

fn spans_part(part: otlp::Spans, received_us: i64) -> Part {
    let otlp::Spans { mut batch, rejected: reasons } = part;
    for span in &mut batch.records {
        if !is_plausible(span.time_us, received_us) {
            if span.time_us != 0 {
                span.attributes.insert(keys::TIME_ORIGINAL.to_owned(), span.time_us.to_string());
            }
            span.time_us = received_us;
        }
    }
    let rows = spans::batch(&batch.records, source_name(&batch.source), received_us);
    let received = (batch.records.len() + reasons.len()) as u64;
    let mut rejected = Rejected::default();
    reasons.into_iter().for_each(|reason| rejected.count(reason));
    Part { received, rejected, rows, cells: Cells::new(), source: batch.source }
}

/// How the tables name a source: by its instance, or else by its service.
pub(crate) fn source_name(source: &Source) -> &str {
    if source.instance.is_empty() { &source.service } else { &source.instance }
}

/// Files a record whose time cannot be true under its arrival. That it bears no time at all is no lie to be kept.
fn correct_time(record: &mut AccessView<'_>, received_us: i64) {
    if record.time_us == 0 {
        record.time_us = received_us;
    } else if !is_plausible(record.time_us, received_us) {
        record.correct_time(received_us);
    }
}

fn is_plausible(time_us: i64, received_us: i64) -> bool {
    let earliest = received_us.saturating_sub(LATEST_ARRIVAL_US);
    (earliest..=received_us.saturating_add(CLOCK_TOLERANCE_US)).contains(&time_us)
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray, datatypes::TimestampMicrosecondType};
    use weir_record::AccessRecord;

    use super::*;

    const NOW: i64 = 1_700_000_000_000_000;

    #[test]
    fn a_record_with_an_impossible_time_is_filed_under_its_arrival_and_marked() {
        let (earliest, latest) = (NOW - LATEST_ARRIVAL_US, NOW + CLOCK_TOLERANCE_US);
        let year_2100 = 4_102_444_800_000_000;
        let times = [0, 1, earliest - 1, earliest, NOW, latest, latest + 1, year_2100];
        let records = times.map(|time_us| AccessRecord { time_us, ..Default::default() });
        let bytes = otlp::encode_logs(&Source::default(), &records);
        let message = Message::decode(Signal::Logs, NOW, &bytes).unwrap();
        let rows = &message.parts[0].rows;
        let column = rows.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
        assert_eq!(column.values(), &[NOW, NOW, NOW, earliest, NOW, latest, NOW, NOW]);
        let attributes = rows.column_by_name("attributes").unwrap().as_map();
        let marked: Vec<_> = (0..times.len()).filter(|row| attributes.value_length(*row) > 0).collect();
        assert_eq!(marked, [1, 2, 6, 7]);
        let mark = attributes.value(7);
        let text = |column: usize| mark.column(column).as_string::<i32>().value(0).to_owned();
        assert_eq!((text(0), text(1)), (keys::TIME_ORIGINAL.to_owned(), year_2100.to_string()));
    }

    #[test]
    fn rejected_records_are_counted_by_reason_and_the_others_are_rows() {
        let good = AccessRecord { api: "shop".into(), ..Default::default() };
        let mut bytes = otlp::encode_logs(&Source::default(), &[good.clone(), good]);
        // The last bytes are those of the last record, which ends with its event name.
        *bytes.last_mut().unwrap() = 0xff;
        let part = &Message::decode(Signal::Logs, NOW, &bytes).unwrap().parts[0];
        assert_eq!((part.received, part.rows.num_rows(), part.rejected.total()), (2, 1, 1));
        assert_eq!(part.rejected.iter().collect::<Vec<_>>(), [(Rejection::InvalidUtf8, 1)]);
        assert_eq!(part.rejected.to_string(), "invalid_utf8 (1): a text is not UTF-8");
        assert_eq!(part.cells.iter().map(|(_, cell)| cell.requests).sum::<u64>(), 1);
    }
}
