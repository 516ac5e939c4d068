//! What tests share: a lake in a temporary directory, a collector that is only a list, and answers as text.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::StreamExt;
use tempfile::TempDir;
use weir_lake::{Lake, StoreConfig, Table, requests, spans};
use weir_record::{AccessRecord, Outcome, Span, SpanKind, SpanStatus};

use crate::{
    error::QueryError,
    format::{Format, Width},
    pending::{Pending, PendingError, PendingSource},
    session::{Engine, Limits, Options},
};

/// 2026-11-23T00:00:00Z.
pub(crate) const DAY_US: i64 = 1_795_392_000_000_000;

pub(crate) const LIMITS: Limits = Limits { memory_bytes: 256 << 20, spill_bytes: 1 << 30, spill_directory: None };

pub(crate) const COMMITTED: Options = Options { fresh: false };

/// An empty lake that is removed in the end.
pub(crate) struct TestLake {
    pub(crate) lake: Arc<Lake>,
    _directory: TempDir,
}

impl TestLake {
    pub(crate) async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lake = Arc::new(Lake::open(&StoreConfig::local(directory.path())).await.unwrap());
        Self { lake, _directory: directory }
    }

    /// An engine over the lake alone.
    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.engine_with(Vec::new())
    }

    pub(crate) fn engine_with(&self, sources: Vec<Arc<dyn PendingSource>>) -> Arc<Engine> {
        Arc::new(Engine::new(Arc::clone(&self.lake), sources, &LIMITS).unwrap())
    }

    /// Commits requests at these times, as the next position of a writer of its own.
    pub(crate) async fn commit(&self, times_us: &[i64], position: i64) {
        self.lake.table(Table::Requests).append(&[request_rows(times_us)], "writer-0", position).await.unwrap();
    }
}

/// Requests at these times.
pub(crate) fn request_rows(times_us: &[i64]) -> RecordBatch {
    let record = |time_us: &i64| AccessRecord {
        time_us: *time_us,
        request_id: format!("r{time_us}"),
        api: "shop".to_owned(),
        stage: "prod".to_owned(),
        route: "/items/{id}".to_owned(),
        method: "GET".to_owned(),
        path: "/items/7".to_owned(),
        status: Some(200),
        outcome: Outcome::Ok,
        latency_us: 1500,
        ..AccessRecord::default()
    };
    let records: Vec<_> = times_us.iter().map(record).collect();
    requests::batch(&records, "source-1", DAY_US)
}

/// As many spans, of different traces.
pub(crate) fn span_rows(count: usize) -> RecordBatch {
    let span = |number: usize| Span {
        time_us: DAY_US,
        duration_us: 10,
        trace_id: format!("{:032x}", number + 1).parse().unwrap(),
        span_id: format!("{:016x}", number + 1).parse().unwrap(),
        parent_span_id: None,
        trace_state: None,
        name: "GET /items/{id}".to_owned(),
        kind: SpanKind::Server,
        status: SpanStatus::Unset,
        status_message: None,
        service: "weir-gateway".to_owned(),
        api: None,
        stage: None,
        attributes: [("http.request.method".to_owned(), "GET".to_owned())].into(),
        events: None,
        links: None,
    };
    let all: Vec<_> = (0..count).map(span).collect();
    spans::batch(&all, "source-1", DAY_US)
}

/// A collector that is a list of frames; it commits when it is told to.
#[derive(Debug)]
pub(crate) struct FakeCollector {
    writer: String,
    state: Mutex<State>,
    /// How many of the next questions find that everything has just been committed.
    commits_when_asked: AtomicUsize,
    lake: Arc<Lake>,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<(i64, Table, RecordBatch)>,
    next: i64,
    committed: Vec<(Table, i64)>,
}

impl FakeCollector {
    pub(crate) fn new(lake: &Arc<Lake>, writer: &str) -> Arc<Self> {
        let state = Mutex::new(State { next: 1, ..State::default() });
        let lake = Arc::clone(lake);
        Arc::new(Self { writer: writer.to_owned(), state, commits_when_asked: AtomicUsize::new(0), lake })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes rows of a table: from now on they are acknowledged.
    pub(crate) fn take(&self, table: Table, rows: RecordBatch) {
        let mut state = self.state();
        let position = state.next;
        state.next += 1;
        state.frames.push((position, table, rows));
    }

    pub(crate) fn commit_at_the_next_questions(&self, count: usize) {
        self.commits_when_asked.store(count, Ordering::SeqCst);
    }

    /// Commits what is pending of a table and lets go of it.
    pub(crate) async fn flush(&self, table: Table) {
        let (rows, position) = {
            let state = self.state();
            let rows = state.frames.iter().filter(|frame| frame.1 == table).map(|frame| frame.2.clone());
            (rows.collect::<Vec<_>>(), state.next - 1)
        };
        self.lake.table(table).append(&rows, &self.writer, position).await.unwrap();
        let mut state = self.state();
        state.frames.retain(|frame| frame.1 != table || frame.0 > position);
        state.committed.retain(|(committed, _)| *committed != table);
        state.committed.push((table, position));
    }
}

#[async_trait]
impl PendingSource for FakeCollector {
    fn name(&self) -> &str {
        &self.writer
    }

    async fn writer(&self) -> Result<String, PendingError> {
        Ok(self.writer.clone())
    }

    async fn pending_after(&self, positions: &[(Table, i64)]) -> Result<Pending, PendingError> {
        let left = self.commits_when_asked.load(Ordering::SeqCst);
        if left > 0 {
            self.commits_when_asked.store(left - 1, Ordering::SeqCst);
            for (table, _) in positions {
                self.take(
                    *table,
                    match table {
                        Table::Spans => span_rows(1),
                        _ => request_rows(&[DAY_US]),
                    },
                );
                self.flush(*table).await;
            }
        }
        let state = self.state();
        let gone =
            |table: Table, position: i64| state.committed.iter().any(|(t, floor)| *t == table && position < *floor);
        if positions.iter().any(|(table, position)| gone(*table, *position)) {
            return Ok(Pending::Gone);
        }
        let tables = positions.iter().map(|(table, position)| {
            let rows = state.frames.iter().filter(|frame| frame.1 == *table && frame.0 > *position);
            (*table, rows.map(|frame| frame.2.clone()).collect())
        });
        Ok(Pending::Rows { tables: tables.collect(), received_bytes: 0 })
    }
}

/// The answer to a statement as CSV.
pub(crate) async fn csv(engine: &Engine, sql: &str, options: Options) -> Result<String, QueryError> {
    let mut answer = engine.query(sql, options).await?;
    let mut writer = Format::Csv.writer(&answer.schema, Width::Content).unwrap();
    let mut text = Vec::new();
    while let Some(batch) = answer.rows.next().await {
        text.extend(writer.batch(&batch?).unwrap());
    }
    text.extend(writer.finish().unwrap());
    Ok(String::from_utf8(text).unwrap())
}

/// The single value of an answer.
pub(crate) async fn value(engine: &Engine, sql: &str) -> String {
    let text = csv(engine, sql, Options::default()).await.unwrap();
    text.lines().nth(1).unwrap_or_default().to_owned()
}
