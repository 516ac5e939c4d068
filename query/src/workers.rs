//! The threads that compute answers, apart from those that serve: a statement that wants everything takes its own threads' time, and
//! those give way to whoever receives messages or answers somebody.
//!
//! What always holds: nobody but statements waits for a statement. One whose answer is dropped ends when it next lets others go
//! on; joins that compare every row with every row do so after a few rows ([`Pausing`]).

use std::{
    any::Any,
    fmt, io,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    thread::available_parallelism,
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    error::{DataFusionError, Result},
    execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext, memory_pool::MemoryReservation},
    physical_expr::PhysicalExpr,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
        execute_stream,
        joins::{CrossJoinExec, NestedLoopJoinExec},
    },
};
use futures::{Stream, StreamExt};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};
use weir_station::background::give_way;

/// Batches that wait to be taken.
const QUEUE_BATCHES: usize = 1;

/// A batch, an error, or what a part of the statement panicked with.
pub(crate) type Computed = Result<RecordBatch, Result<DataFusionError, Box<dyn Any + Send>>>;

/// Threads that compute answers. They end with it, whatever they do.
#[derive(Debug)]
pub(crate) struct Workers(Option<Runtime>);

impl Workers {
    pub(crate) fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let threads = available_parallelism().map_or(1, usize::from);
        let builder = builder.worker_threads(threads).thread_name("weir-query").on_thread_start(give_way).enable_all();
        builder.build().map(Some).map(Self)
    }

    /// Runs a plan there: its columns, and its rows as they are computed. `held` is held as long as it runs.
    pub(crate) fn run(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        held: MemoryReservation,
    ) -> Result<(SchemaRef, mpsc::Receiver<Computed>)> {
        let Some(runtime) = &self.0 else {
            return Err(DataFusionError::Internal("the threads that compute answers have ended".to_owned()));
        };
        let _there = runtime.enter();
        let rows = execute_stream(with_pauses(plan)?, context)?;
        let (schema, (sender, receiver)) = (rows.schema(), mpsc::channel(QUEUE_BATCHES));
        runtime.spawn(async move {
            let _held = held;
            let mut rows = AssertUnwindSafe(rows).catch_unwind();
            loop {
                let batch = tokio::select! {
                    batch = rows.next() => batch,
                    () = sender.closed() => return,
                };
                let computed = match batch {
                    Some(Ok(batch)) => batch.map_err(Ok),
                    Some(Err(panic)) => Err(Err(panic)),
                    None => return,
                };
                if sender.send(computed).await.is_err() {
                    return;
                }
            }
        });
        Ok((schema, receiver))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Whoever drops it may be asynchronous and must not wait.
            runtime.shutdown_background();
        }
    }
}

/// What a join may take to compare some rows of one side with all of the other side, before it gets fewer at a time; of a
/// quarter of that it gets more.
const BETWEEN_PAUSES: Duration = Duration::from_millis(40);

/// Rows that it gets at first.
const FIRST_ROWS: usize = 16;

/// Has the joins that compare every row with every row pause now and then: they hold on to their thread as long as no row
/// matches, so that nothing could end them.
fn with_pauses(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let paused = plan.transform_up(|plan| {
        if !plan.is::<NestedLoopJoinExec>() && !plan.is::<CrossJoinExec>() {
            return Ok(Transformed::no(plan));
        }
        // The first side is gathered whole, then each batch of the second is compared with it.
        let mut children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
        if let Some(second) = children.last_mut() {
            *second = Arc::new(PauseExec(Arc::clone(second)));
        }
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        plan.replace_children(children, anew).map(Transformed::yes)
    });
    paused.map(|plan| plan.data)
}

/// The rows of its input, a few at a time, with a pause after each time.
#[derive(Debug)]
struct PauseExec(Arc<dyn ExecutionPlan>);

impl DisplayAs for PauseExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PauseExec")
    }
}

impl ExecutionPlan for PauseExec {
    fn name(&self) -> &str {
        "PauseExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.0]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next();
        input.map(|input| Arc::new(Self(input)) as _).ok_or_else(|| DataFusionError::Internal("no input".to_owned()))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(Pausing::new(self.0.execute(partition, context)?)))
    }
}

/// Rows, with pauses between: their task lets others go on, and ends there if it is to end.
struct Pausing {
    rows: SendableRecordBatchStream,
    /// What is left of the last batch.
    left: Option<RecordBatch>,
    rows_at_once: usize,
    /// When some were given last.
    given: Option<Instant>,
}

impl Pausing {
    fn new(rows: SendableRecordBatchStream) -> Self {
        Self { rows, left: None, rows_at_once: FIRST_ROWS, given: None }
    }

    /// As many as are compared in about the time that may lie between two pauses.
    fn adapt(&mut self, took: Duration) {
        if took > BETWEEN_PAUSES {
            self.rows_at_once = (self.rows_at_once / 2).max(1);
        } else if took < BETWEEN_PAUSES / 4 {
            self.rows_at_once = self.rows_at_once.saturating_mul(2);
        }
    }
}

impl Stream for Pausing {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(given) = self.given.take() {
            self.adapt(given.elapsed());
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match self.left.take() {
            Some(left) => left,
            None => match ready!(self.rows.poll_next_unpin(context)) {
                Some(Ok(batch)) => batch,
                ended => return Poll::Ready(ended),
            },
        };
        self.given = Some(Instant::now());
        let (now, rows) = (batch.num_rows().min(self.rows_at_once), batch.num_rows());
        self.left = (now < rows).then(|| batch.slice(now, rows - now));
        Poll::Ready(Some(Ok(batch.slice(0, now))))
    }
}

impl RecordBatchStream for Pausing {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}
