//! Rows of the table `ledger`: what became of everything that was sent (I6).

use arrow::array::RecordBatch;

use crate::{
    Table,
    column::{batch as rows, bigints, texts, times},
};

/// What one flush adds to the account of one source and signal. All counts are records, and add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerRow {
    /// When the flush was, microseconds since the Unix epoch, UTC.
    pub time_us: i64,
    /// `service.instance.id` of the source; empty when it does not say.
    pub source: String,
    /// `service.name` of the source.
    pub service: String,
    /// `logs` or `traces`.
    pub signal: String,
    /// Records that were offered to the source for sending.
    pub offered: u64,
    /// Records that the source dropped.
    pub dropped: u64,
    /// Records that arrived, resent ones included.
    pub received: u64,
    /// Records that arrived again and were left out.
    pub duplicate: u64,
    /// Records that could not be taken.
    pub rejected: u64,
    /// Records that were stored.
    pub stored: u64,
    /// Batches that are missing in the source's numbering.
    pub gaps: u64,
    /// Records among the stored ones that another collector, which never answered, may have stored too.
    pub doubtful: u64,
    /// Frames of the write-ahead log that were damaged and left out; on rows of the log itself, whose source is its
    /// writer id and whose signal is `wal`. A frame is one message, of one record or many.
    pub damaged_frames: u64,
}

impl LedgerRow {
    /// Adds the counts of another row of the same source and signal.
    pub fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.dropped += other.dropped;
        self.received += other.received;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.stored += other.stored;
        self.gaps += other.gaps;
        self.doubtful += other.doubtful;
        self.damaged_frames += other.damaged_frames;
    }
}

/// One row for each.
#[must_use]
pub fn batch(ledger: &[LedgerRow]) -> RecordBatch {
    let all = || ledger.iter();
    rows(
        Table::Ledger,
        vec![
            times(all().map(|row| row.time_us)),
            texts(all().map(|row| row.source.as_str())),
            texts(all().map(|row| row.service.as_str())),
            texts(all().map(|row| row.signal.as_str())),
            bigints(all().map(|row| row.offered)),
            bigints(all().map(|row| row.dropped)),
            bigints(all().map(|row| row.received)),
            bigints(all().map(|row| row.duplicate)),
            bigints(all().map(|row| row.rejected)),
            bigints(all().map(|row| row.stored)),
            bigints(all().map(|row| row.gaps)),
            bigints(all().map(|row| row.doubtful)),
            bigints(all().map(|row| row.damaged_frames)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_kept() {
        let row = LedgerRow { source: "gateway-1".into(), signal: "logs".into(), stored: 3, ..LedgerRow::default() };
        assert_eq!(batch(&[row.clone(), row]).num_rows(), 2);
    }
}
