//! An Arrow IPC stream, <https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format>: types and all, for
//! our own client and for any Arrow library.

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError, ipc::writer::StreamWriter};

use super::AnswerWriter;

/// Writes rows as an IPC stream.
pub(super) struct ArrowWriter(StreamWriter<Vec<u8>>);

impl ArrowWriter {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        Ok(Self(StreamWriter::try_new(Vec::new(), schema)?))
    }

    fn taken(&mut self) -> Vec<u8> {
        std::mem::take(self.0.get_mut())
    }
}

impl AnswerWriter for ArrowWriter {
    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        self.0.write(batch)?;
        Ok(self.taken())
    }

    fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        self.0.finish()?;
        Ok(self.taken())
    }
}
