//! The body of an answer: rows are written as they are computed, until they end, fail, or run out of time.

use std::{io, sync::Arc};

use arrow::error::ArrowError;
use axum::body::{Body, Bytes};
use futures::{StreamExt, stream};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};

use crate::{
    answer::{Answer, Rows},
    error::QueryError,
    format::{AnswerWriter, Format, Width},
};

use super::{Station, failure::Failure};

/// An answer that is being written.
pub(super) struct Writing {
    station: Arc<Station>,
    rows: Rows,
    writer: Box<dyn AnswerWriter>,
    deadline: Instant,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

impl Writing {
    pub(super) fn new(
        station: Arc<Station>,
        answer: Answer,
        format: Format,
        deadline: Instant,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Failure> {
        let writer = format.writer(&answer.schema, Width::Content).map_err(|error| unwritable(&error))?;
        Ok(Self { station, rows: answer.rows, writer, deadline, ended: false, _place: place })
    }

    /// The next bytes; none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.ended {
            // First of all the deadline: rows that are always ready would never let it come up.
            let rows = tokio::select! {
                biased;
                () = sleep_until(self.deadline) => return Err(Failure::Timeout(self.station.timeout)),
                () = self.station.shutdown.cancelled() => return Err(Failure::ShuttingDown),
                rows = self.rows.next() => rows,
            };
            let bytes = match rows {
                Some(batch) => self.writer.batch(&batch?),
                None => {
                    self.ended = true;
                    self.station.gate.count("ok");
                    self.writer.finish()
                }
            };
            let bytes = bytes.map_err(|error| unwritable(&error))?;
            if !bytes.is_empty() {
                return Ok(Some(bytes.into()));
            }
        }
        Ok(None)
    }

    /// The rest of the answer behind its first bytes. Whatever fails now breaks the connection off.
    pub(super) fn into_body(self, first: Bytes) -> Body {
        let rest = stream::try_unfold(self, |mut writing| async move {
            match writing.next().await {
                Ok(bytes) => Ok(bytes.map(|bytes| (bytes, writing))),
                Err(failure) => {
                    writing.station.gate.count(failure.code());
                    tracing::warn!(error = %failure, "an answer was broken off");
                    Err(io::Error::other(failure))
                }
            }
        });
        Body::from_stream(stream::once(async { Ok(first) }).chain(rest))
    }
}

fn unwritable(error: &ArrowError) -> Failure {
    QueryError::Execution(format!("the answer cannot be written in this format: {error}")).into()
}
