//! What the tables must say when all is over: what was seen of each gateway while it lived, and what it left on disk.
//!
//! | of a source and a signal | must hold |
//! |---|---|
//! | any | no row is twice; no number of a batch is missing; nothing is doubtful |
//! | any | what stood in the spool when a gateway ended is there |
//! | its gateway had a lane when it ended, or ended by itself | offered = stored + dropped |
//! | its gateway had none when it was killed | what its last batch had counted as offered and no batch ever bore may be missing: it was in memory |
//! | its gateway was killed when nothing was in memory, or ended by itself | offered = requests that were answered, and dropped = what it said |

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, ensure};
use serde_json::Value;
use weir_tests::Process;

use super::lanes::{self, Key};
use crate::pipeline::WEIR;

/// All that is known.
#[derive(Default)]
pub(super) struct Account {
    /// Ids of all records that stood in the spool when a gateway ended.
    kept: BTreeMap<Key, BTreeSet<String>>,
    /// Lanes that were there when their own gateway was killed.
    with_lane: BTreeSet<Key>,
    lives: Vec<Life>,
}

/// What clients and self metrics said of a gateway.
#[derive(Default)]
pub(super) struct Life {
    pub(super) source: String,
    /// Requests that were made.
    pub(super) asked: usize,
    /// Ids of those that were answered to the end.
    pub(super) answered: BTreeSet<String>,
    /// Access records that it had dropped, when all others were on disk or acknowledged before it ended.
    pub(super) dropped_at_rest: Option<u64>,
}

/// Figures of a round.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) answered: u64,
    pub(super) kept: u64,
    pub(super) stored: u64,
    pub(super) dropped: u64,
    pub(super) duplicate: u64,
}

impl Figures {
    pub(super) fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.kept += other.kept;
        self.stored += other.stored;
        self.dropped += other.dropped;
        self.duplicate += other.duplicate;
    }
}

impl Account {
    /// A gateway has ended, and left this spool.
    pub(super) fn ended(&mut self, life: Life, spool: &Path) -> anyhow::Result<()> {
        for (key, ids) in lanes::read(spool)? {
            if key.0 == life.source {
                self.with_lane.insert(key.clone());
            }
            self.kept.entry(key).or_default().extend(ids);
        }
        self.lives.push(life);
        Ok(())
    }

    /// Compares it with the tables of a Weir that has stopped.
    pub(super) async fn check(&self, directory: &Path) -> anyhow::Result<Figures> {
        self.check_rows("requests", "logs", "request_id", directory).await?;
        self.check_rows("spans", "traces", "span_id", directory).await?;
        self.check_ledger(directory).await
    }

    async fn check_rows(&self, table: &str, signal: &str, id: &str, directory: &Path) -> anyhow::Result<()> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in ask(directory, &format!("select source, {id} as id from {table}")).await? {
            let text = |name: &str| row[name].as_str().map(str::to_owned).context("a row without a name");
            ensure!(found.entry(text("source")?).or_default().insert(text("id")?), "twice in {table}: {row}");
        }
        for ((source, _), kept) in self.kept.iter().filter(|((_, own), _)| own == signal) {
            let none = BTreeSet::new();
            let missing = kept.difference(found.get(source).unwrap_or(&none)).count();
            ensure!(missing == 0, "{missing} of the {} {signal} that {source} had on disk are lost", kept.len());
        }
        for life in self.lives.iter().filter(|_| signal == "logs") {
            // The gateway may have taken a request of which no answer came back.
            let rows = found.remove(&life.source).unwrap_or_default();
            let unknown = rows.difference(&life.answered).count();
            let unanswered = life.asked - life.answered.len();
            ensure!(unknown <= unanswered, "{unknown} rows of {}, whose clients miss {unanswered}", life.source);
        }
        ensure!(signal != "logs" || found.is_empty(), "rows of strangers: {:?}", found.keys());
        Ok(())
    }

    async fn check_ledger(&self, directory: &Path) -> anyhow::Result<Figures> {
        let sql = "select source, signal, sum(offered) as offered, sum(dropped) as dropped, sum(stored) as stored, \
                   sum(duplicate) as duplicate, sum(gaps) + sum(doubtful) + sum(rejected) as wrong \
                   from ledger group by source, signal";
        let answered = self.lives.iter().map(|life| life.answered.len() as u64).sum();
        let kept = self.kept.values().map(|ids| ids.len() as u64).sum();
        let (mut figures, mut all_balance) = (Figures { answered, kept, ..Figures::default() }, true);
        for row in ask(directory, sql).await? {
            let number = |name: &str| row[name].as_u64().with_context(|| format!("{name} in {row}"));
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            let key = (text("source"), text("signal"));
            let [offered, dropped, stored, duplicate, wrong] =
                ["offered", "dropped", "stored", "duplicate", "wrong"].map(number);
            let (offered, dropped, stored) = (offered?, dropped?, stored?);
            let life = self.lives.iter().find(|life| life.source == key.0).context("a stranger in the ledger")?;
            let is_at_rest = key.1 == "logs" && life.dropped_at_rest.is_some();
            let is_settled = self.with_lane.contains(&key) || is_at_rest;
            all_balance &= offered == stored + dropped;
            ensure!(offered == stored + dropped || (!is_settled && offered > stored + dropped), "{row}");
            ensure!(wrong? == 0, "{row}");
            if key.1 == "logs" {
                ensure!(offered <= life.asked as u64, "{row}: {} requests were made", life.asked);
                if let Some(told) = life.dropped_at_rest {
                    let answered = life.answered.len() as u64;
                    ensure!((offered, dropped) == (answered, told), "{row}: {answered} were answered, {told} dropped");
                }
            }
            figures.add(&Figures { stored, dropped, duplicate: duplicate?, ..Figures::default() });
        }
        let settled: &[&str] = if all_balance { &["--settled"] } else { &[] };
        let verified = Process::run(WEIR, directory, &[&["verify", "--data", "data"], settled].concat()).await?;
        ensure!(verified.code == Some(0), "{}{}", verified.stdout, verified.stderr);
        Ok(figures)
    }
}

async fn ask(directory: &Path, sql: &str) -> anyhow::Result<Vec<Value>> {
    let exit = Process::run(WEIR, directory, &["sql", "--data", "data", "--format", "json", sql]).await?;
    ensure!(exit.code == Some(0), "{}", exit.stderr);
    Ok(serde_json::from_str(&exit.stdout)?)
}
