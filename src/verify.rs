//! `weir verify`: whether the tables agree with each other, with the store, and with what the senders said.
//!
//! Every check is a statement whose rows are the differences, in words; no row, no difference. So what is checked can be
//! read, and asked by hand.

use std::time::{Duration, Instant};

use arrow::array::AsArray;
use futures::StreamExt;
use serde_json::json;
use weir_lake::{Lake, Table, verify};
use weir_query::{Options, client::Target};
use weir_record::Outcome;
use weir_station::{
    exit::Failure,
    log::{self, Destination},
};

use crate::{
    arguments::Verify,
    output,
    sql::{self, Opened},
};

/// A row when cells were merged because there were too many keys.
const OVERFLOWS: &str = "select 'yes' from metrics where route = '__other__' limit 1";

/// Start of the time, as long as the cells of its date cover, that a row falls into.
const BUCKET: &str = "to_timestamp_micros(cast(time as bigint) - ((cast(time as bigint) % coalesce(width, 10000000)) \
                      + coalesce(width, 10000000)) % coalesce(width, 10000000))";

/// Ends the names of columns that hold a distribution.
const DISTRIBUTION: &str = "_distribution";

/// What the cells of metrics are told apart by, beside their time.
const KEY: &str = "coalesce(api, '') as api, coalesce(stage, '') as stage, coalesce(route, '') as route, \
                   coalesce(method, '') as method";

/// One check and what it found.
struct Checked {
    name: String,
    /// How much it looked at.
    seen: String,
    difference: Option<String>,
    elapsed: Duration,
}

/// Runs `weir verify`.
pub(crate) async fn run(arguments: Verify) -> Result<(), Failure> {
    log::init("error", &Destination::StandardError).map_err(Failure::usage)?;
    let Opened { target, lake } = match &arguments.config {
        Some(config) => sql::open_configured(config).await?,
        None => sql::open(&arguments.data).await?,
    };
    let mut all = Vec::new();
    // Files first: of a statement that fails for a damaged one, it is known by then which.
    for table in Table::ALL {
        let checked = files(&lake, table).await?;
        show(&checked, arguments.json)?;
        all.push(checked);
    }
    first_difference(&all)?;
    let overflows = first_text(&target, OVERFLOWS).await?.is_some();
    let kept = Kept::of(&lake).await?;
    for (name, seen, sql) in statements(overflows, arguments.settled, &kept) {
        let begun = Instant::now();
        let difference = first_text(&target, &sql).await?;
        let seen = first_text(&target, seen).await?.unwrap_or_default();
        let checked = Checked { name: name.to_owned(), seen, difference, elapsed: begun.elapsed() };
        show(&checked, arguments.json)?;
        all.push(checked);
    }
    first_difference(&all)
}

fn first_difference(all: &[Checked]) -> Result<(), Failure> {
    match all.iter().find_map(|checked| Some((&checked.name, checked.difference.as_ref()?))) {
        None => Ok(()),
        Some((name, difference)) => Err(Failure::running(format!("{name}: {difference}"))),
    }
}

/// The first date of which a table has rows, where retention removed older ones.
struct Kept {
    requests: Option<String>,
    spans: Option<String>,
    /// Where `requests` and `metrics` both are whole.
    both: Option<String>,
}

impl Kept {
    async fn of(lake: &Lake) -> Result<Self, Failure> {
        let mut dates = Vec::new();
        for table in [Table::Requests, Table::Spans, Table::Metrics] {
            let snapshot = lake.table(table).snapshot().await.map_err(Failure::running)?;
            let date = snapshot.first_date_kept().and_then(chrono::NaiveDate::from_epoch_days);
            dates.push(date.map(|date| date.to_string()));
        }
        let both = dates[0].clone().max(dates[2].clone());
        Ok(Self { requests: dates[0].clone(), spans: dates[1].clone(), both })
    }
}

async fn files(lake: &Lake, table: Table) -> Result<Checked, Failure> {
    let begun = Instant::now();
    let verified = verify::files(lake.table(table)).await.map_err(Failure::running)?;
    Ok(Checked {
        name: format!("the files of {} are whole", table.name()),
        seen: match verified.without_checksum {
            0 => format!("{} files, {} bytes", verified.files, verified.bytes),
            some => format!("{} files, {} bytes, {some} without a checksum", verified.files, verified.bytes),
        },
        difference: verified.difference,
        elapsed: begun.elapsed(),
    })
}

fn show(checked: &Checked, as_json: bool) -> Result<(), Failure> {
    let Checked { name, seen, difference, elapsed } = checked;
    if as_json {
        let ok = difference.is_none();
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        output::line(json!({"check": name, "ok": ok, "seen": seen, "difference": difference, "elapsed_ms": elapsed_ms}))
    } else {
        let verdict = if difference.is_none() { "ok     " } else { "DIFFERS" };
        output::line(format!("{verdict}  {name:<46}  {seen}  ({:.1} s)", elapsed.as_secs_f64()))
    }
}

/// The text in the first row and column of an answer.
async fn first_text(target: &Target, sql: &str) -> Result<Option<String>, Failure> {
    let (_, mut rows) = target.query(sql, Options { fresh: true }).await.map_err(Failure::running)?;
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(Failure::running)?;
        if batch.num_rows() > 0 {
            let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8);
            return Ok(Some(column.map_err(Failure::running)?.as_string::<i32>().value(0).to_owned()));
        }
    }
    Ok(None)
}

/// Name, what tells how much is looked at, and the differences.
///
/// When cells were merged because there were too many keys, metrics are compared in sum: a cell of `__other__` is of no
/// one key of `requests`.
fn statements(overflows: bool, settled: bool, kept: &Kept) -> Vec<(&'static str, &'static str, String)> {
    let differs = if settled { "<>" } else { "<" };
    let requests = "select concat(count(*), ' requests') from requests";
    let sources = "select concat(count(distinct source), ' sources') from ledger";
    let received = "select concat('source ', source, ', ', signal, ': ', received, ' received, but ', known, \
                    ' stored, duplicate or rejected') from (select source, signal, sum(received) as received, \
                    sum(stored) + sum(duplicate) + sum(rejected) as known from ledger group by source, signal) \
                    where received <> known order by source limit 1";
    let offered = format!(
        "select concat('source ', source, ', ', signal, ': ', offered, ' offered, but ', known, \
                   ' stored, rejected or dropped') from (select source, signal, sum(offered) as offered, \
         sum(stored) + sum(rejected) + sum(dropped) as known from ledger group by source, signal) \
         where offered > 0 and offered {differs} known order by source limit 1"
    );
    let twice = "select concat('source ', source, ': the request ', request_id, ' is there ', n, ' times') from \
                 (select source, request_id, count(*) as n from requests where request_id <> '' and source in \
                 (select source from ledger group by source having sum(offered) > 0 and sum(doubtful) = 0) \
                 group by source, request_id) where n > 1 order by source limit 1";
    let damaged = "select concat('log ', source, ': ', frames, ' messages were lost to damage') from (select source, \
                   sum(damaged_frames) as frames from ledger group by source) where frames > 0 order by source limit 1";
    vec![
        ("metrics are the sums of requests", requests, metrics_differences(overflows, kept.both.as_deref())),
        (
            "rows of requests are those stored",
            requests,
            stored_differences("requests", "logs", kept.requests.is_some()),
        ),
        (
            "rows of spans are those stored",
            "select concat(count(*), ' spans') from spans",
            stored_differences("spans", "traces", kept.spans.is_some()),
        ),
        ("everything received is accounted for", sources, received.to_owned()),
        ("what was offered is accounted for", sources, offered),
        ("no request of a source is there twice", requests, twice.to_owned()),
        ("no message was lost to damage of the log", sources, damaged.to_owned()),
    ]
}

/// What the ledger says was stored, against the rows: as many, or no more than that where old ones were removed.
fn stored_differences(table: &str, signal: &str, some_removed: bool) -> String {
    let differs = if some_removed { "<" } else { "<>" };
    format!(
        "with said as (select source, sum(stored) as n from ledger where signal = '{signal}' group by source), \
         found as (select source, count(*) as n from {table} group by source) \
         select concat('source ', coalesce(said.source, found.source), ': ', coalesce(said.n, 0), ' stored, ', \
         coalesce(found.n, 0), ' there') from said full join found on said.source = found.source \
         where coalesce(said.n, 0) {differs} coalesce(found.n, 0) order by 1 limit 1"
    )
}

/// Requests added up anew, against the cells: every count and every distribution of every key.
///
/// Cells are compared by the coarsest time that those of their date cover, and from the date on that both tables have.
fn metrics_differences(overflows: bool, from: Option<&str>) -> String {
    let mut columns = vec![
        ("requests".to_owned(), "count(*)".to_owned(), "sum(requests)".to_owned()),
        ("sketched".to_owned(), "count(*)".to_owned(), "coalesce(sum(sketch_count(latency)), 0)".to_owned()),
    ];
    // Whole distributions: two sketches of the same values are the same bytes.
    columns.extend(["latency", "integration_latency", "authorizer_latency"].map(|name| {
        let text = |sketch: String| format!("coalesce(encode({sketch}, 'base64'), '')");
        (format!("{name}{DISTRIBUTION}"), text(format!("sketch_of({name}_us)")), text(format!("sketch_merge({name})")))
    }));
    let timed = ["integration_latency", "authorizer_latency"];
    columns.extend(
        timed.map(|name| {
            (name.to_owned(), format!("count({name}_us)"), format!("coalesce(sum(sketch_count({name})), 0)"))
        }),
    );
    let bytes = ["request_bytes", "response_bytes"];
    columns.extend(bytes.map(|name| (name.to_owned(), format!("coalesce(sum({name}), 0)"), format!("sum({name})"))));
    columns.extend((1..=5).map(|class| {
        let name = format!("status_{class}xx");
        let count = format!("count(*) filter (where status between {class}00 and {class}99)");
        (name.clone(), count, format!("sum({name})"))
    }));
    columns.extend(Outcome::ALL.iter().map(|outcome| {
        let name = outcome.as_str();
        (name.to_owned(), format!("count(*) filter (where outcome = '{name}')"), format!("sum({name})"))
    }));
    let list = |of: fn(&(String, String, String)) -> &String| {
        let items = columns.iter().map(|column| format!("{} as {}", of(column), column.0));
        items.collect::<Vec<_>>().join(", ")
    };
    // One comparison, of all counts as text: a chain of so many is deeper than the parser goes.
    let counts = |side: &str| {
        let counts: Vec<_> = columns.iter().map(|(name, ..)| format!("{side}.{name}")).collect();
        format!("concat_ws(' ', {})", counts.join(", "))
    };
    let shown = columns.iter().map(|(name, ..)| {
        let words = match name.strip_suffix(DISTRIBUTION) {
            Some(of) => format!("' other percentiles of {of}'"),
            None => format!("concat(' {name} ', coalesce(r.{name}, 0), ' and ', coalesce(m.{name}, 0))"),
        };
        format!("case when r.{name} is distinct from m.{name} then {words} else '' end")
    });
    let shown: Vec<_> = shown.collect();
    let bucket = if overflows { "'all'" } else { BUCKET };
    let from = from.map_or_else(String::new, |date| format!("where date >= date '{date}'"));
    let key = if overflows { "'' as api, '' as stage, '' as route, '' as method" } else { KEY };
    format!(
        "with w as (select date as day, max(seconds) * 1000000 as width from metrics group by date), \
         r as (select {bucket} as bucket, {key}, {} from requests left join w on date = day {from} group by 1, 2, 3, 4, 5), \
         m as (select {bucket} as bucket, {key}, {} from metrics left join w on date = day {from} group by 1, 2, 3, 4, 5) \
         select concat(coalesce(r.bucket, m.bucket), ' ', coalesce(r.api, m.api), ' ', coalesce(r.stage, m.stage), ' ', \
         coalesce(r.method, m.method), ' ', coalesce(r.route, m.route), ', in requests and in metrics:', {}) \
         from r full join m on r.bucket = m.bucket and r.api = m.api and r.stage = m.stage and r.route = m.route \
         and r.method = m.method where {} <> {} order by 1 limit 1",
        list(|column| &column.1),
        list(|column| &column.2),
        shown.join(", "),
        counts("r"),
        counts("m"),
    )
}
