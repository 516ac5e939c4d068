//! `days`: days of traffic in minutes. A flush a minute is appended to the tables and maintenance runs as it would, by a
//! clock that goes from minute to minute at once; says for each day how many files are live and how long a commit takes.

use std::{
    cell::Cell,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;
use hdrhistogram::Histogram;
use mimalloc::MiMalloc;
use weir_lake::{
    Lake, StoreConfig, Table,
    maintain::{Maintenance, Policy, Step, Task},
    metrics::Cells,
    requests,
};
use weir_record::{AccessRecord, TraceId, otlp::AccessView};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const MINUTES_A_DAY: i64 = 24 * 60;

/// Days of traffic through the tables and their maintenance.
#[derive(Parser)]
struct Arguments {
    /// A directory that is not there yet
    directory: PathBuf,
    /// How many days
    #[arg(long, default_value_t = 7)]
    days: i64,
    /// Requests of each minute
    #[arg(long, default_value_t = 300)]
    requests: usize,
    /// Leave maintenance out, to see what becomes of the tables without it
    #[arg(long)]
    unmaintained: bool,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(!arguments.directory.exists(), "{} is there already", arguments.directory.display());
    let lake = Arc::new(Lake::open(&StoreConfig::local(&arguments.directory)).await?);
    let maintenance = Maintenance::new(Arc::clone(&lake), Policy::with_memory(64 << 20));
    let begin = Utc::now().date_naive().and_hms_opt(0, 0, 0).context("a day has a midnight")?.and_utc();
    let (mut day, begun) = (Day::new()?, Instant::now());
    println!("day   requests        files       (most)  append p50       p99  look p50  merges   elapsed");
    for minute in 0..arguments.days * MINUTES_A_DAY {
        let now = begin + TimeDelta::minutes(minute + 1);
        let records = records(begin + TimeDelta::minutes(minute), arguments.requests);
        day.append(&lake, Table::Requests, requests::batch(&records, "gateway-1", now.timestamp_micros()), minute)
            .await?;
        let mut cells = Cells::new();
        records.iter().for_each(|record| cells.add(&AccessView::from(record)));
        day.append(&lake, Table::Metrics, cells.batch(), minute).await?;
        if !arguments.unmaintained {
            day.maintain(&maintenance, minute, now).await?;
        }
        for (table, most) in [Table::Requests, Table::Metrics].into_iter().zip(&mut day.most) {
            *most = lake.table(table).cached_snapshot().await?.files().len().max(*most);
        }
        if (minute + 1) % MINUTES_A_DAY == 0 {
            let mut files = Vec::new();
            for table in [Table::Requests, Table::Metrics] {
                files.push(lake.table(table).snapshot().await?.files().len());
            }
            let rows = lake.table(Table::Requests).snapshot().await?.files().total_rows().unwrap_or(0);
            let ms = |times: &Histogram<u64>, q| format!("{:.1} ms", times.value_at_quantile(q) as f64 / 1e3);
            println!(
                "{:>3} {rows:>10} {:>12} {:>12} {:>11} {:>9} {:>9} {:>7} {:>7.1} s",
                (minute + 1) / MINUTES_A_DAY,
                format!("{} + {}", files[0], files[1]),
                format!("{} + {}", day.most[0], day.most[1]),
                ms(&day.commits, 0.5),
                ms(&day.commits, 0.99),
                ms(&day.looks, 0.5),
                day.merges.get(),
                begun.elapsed().as_secs_f64(),
            );
            day = Day::new()?;
        }
    }
    Ok(())
}

/// What is counted of a day.
struct Day {
    /// How long an append takes, microseconds.
    commits: Histogram<u64>,
    /// How long it takes to see that nothing is due.
    looks: Histogram<u64>,
    merges: Cell<usize>,
    /// The most files that were live at once: of requests, and of metrics.
    most: [usize; 2],
}

impl Day {
    fn new() -> anyhow::Result<Self> {
        let times = || Histogram::new_with_max(60_000_000, 3);
        Ok(Self { commits: times()?, looks: times()?, merges: Cell::new(0), most: [0; 2] })
    }

    async fn append(
        &mut self,
        lake: &Lake,
        table: Table,
        rows: arrow::array::RecordBatch,
        minute: i64,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        lake.table(table).append(&[rows], "writer", minute).await?;
        self.commits.record(u64::try_from(begun.elapsed().as_micros())?)?;
        Ok(())
    }

    async fn maintain(&mut self, maintenance: &Maintenance, minute: i64, now: DateTime<Utc>) -> anyhow::Result<()> {
        for table in [Table::Requests, Table::Metrics] {
            let task = Task { vacuum: minute % 60 == 0, ..Task::default() };
            let count = |step: &Step| {
                if matches!(step, Step::Merged { .. }) {
                    self.merges.set(self.merges.get() + 1);
                }
            };
            let (begun, merges) = (Instant::now(), self.merges.get());
            maintenance.table(table, task, now, count).await?;
            let taken = u64::try_from(begun.elapsed().as_micros())?;
            if self.merges.get() == merges && !task.vacuum {
                self.looks.record(taken)?;
            }
        }
        Ok(())
    }
}

/// The requests of one minute, evenly over it.
fn records(from: DateTime<Utc>, count: usize) -> Vec<AccessRecord> {
    let step = Duration::from_secs(60) / u32::try_from(count).unwrap_or(u32::MAX);
    let record = |number: usize| AccessRecord {
        time_us: from.timestamp_micros() + i64::try_from(number as u128 * step.as_micros()).unwrap_or(0),
        request_id: format!("{:032x}", fastrand::u128(..)),
        api: "shop".to_owned(),
        stage: "prod".to_owned(),
        route: format!("/route/{}", number % 20),
        method: "GET".to_owned(),
        path: format!("/shop/prod/route/{}", number % 20),
        status: Some(200),
        latency_us: 1_000 + fastrand::u64(..20_000),
        trace_id: TraceId::from_slice(&fastrand::u128(1..).to_be_bytes()),
        ..AccessRecord::default()
    };
    (0..count).map(record).collect()
}
