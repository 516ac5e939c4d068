//! The checks: each looks at one thing and tells what it found.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use weir_collector::wal::{Wal, WalError};
use weir_lake::{Lake, OpenError, StoreConfig, Table, maintain::Policy};
use weir_station::config::ByteSize;

use super::{Finding, Verdict};

/// Files and sockets that a process should be allowed to have open.
const MOST_DESCRIPTORS_WANTED: u64 = 1_024;

/// An acknowledgement waits for one fsync: slower than this it will be felt.
const SLOW_FSYNC: Duration = Duration::from_millis(20);

/// A request to the store that takes longer will make commits slow.
const SLOW_REQUEST: Duration = Duration::from_secs(1);

/// A clock that differs more from the store's is refused by S3 after a quarter of an hour, and confuses people before.
const MOST_SKEW: TimeDelta = TimeDelta::seconds(30);

/// Above this maintenance is not keeping up, or not running.
const MOST_FILES: usize = 200;

/// Tries of what is timed; the median counts.
const TRIES: usize = 5;

pub(super) fn descriptors() -> Finding {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most = line.and_then(|line| line.split_whitespace().next()).and_then(|most| most.parse::<u64>().ok());
    let (verdict, found) = match most {
        Some(most) if most < MOST_DESCRIPTORS_WANTED => {
            (Verdict::Warn, format!("{most}; raise it (ulimit -n) to {MOST_DESCRIPTORS_WANTED} or more"))
        }
        Some(most) => (Verdict::Ok, most.to_string()),
        None => (Verdict::Ok, "unlimited, or not known here".to_owned()),
    };
    Finding::new(verdict, "open files", found)
}

/// Whether a directory can be written to, how long an fsync takes there, and whether it has room for what may come.
pub(super) fn directory(check: &str, directory: &Path, wanted_bytes: u64) -> Finding {
    let name = directory.display();
    let tried = fs::create_dir_all(directory).and_then(|()| time_fsync(directory));
    let fsync = match tried {
        Ok(fsync) => fsync,
        Err(error) => {
            let found = format!("{name}: {error}; name one that this user may write to");
            return Finding::new(Verdict::Fail, check, found);
        }
    };
    let free = rustix::fs::statvfs(directory).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)).ok();
    let took = format!("{name}: fsync takes {:.1} ms", fsync.as_secs_f64() * 1e3);
    let room = free.map_or_else(String::new, |free| format!(", {} free", ByteSize(free)));
    if free.is_some_and(|free| free < wanted_bytes) {
        let found = format!("{took}{room}, less than the {} that may be needed", ByteSize(wanted_bytes));
        return Finding::new(Verdict::Warn, check, found);
    }
    if fsync > SLOW_FSYNC {
        return Finding::new(Verdict::Warn, check, format!("{took}{room}; a faster disk answers senders sooner"));
    }
    Finding::new(Verdict::Ok, check, format!("{took}{room}"))
}

fn time_fsync(directory: &Path) -> io::Result<Duration> {
    let path = directory.join(format!(".weir-doctor-{}", std::process::id()));
    let timed = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        let mut times = [Duration::ZERO; TRIES];
        for time in &mut times {
            file.write_all(&[0; 4096])?;
            let begun = Instant::now();
            file.sync_data()?;
            *time = begun.elapsed();
        }
        Ok(median(times))
    };
    let timed: io::Result<Duration> = timed();
    let removed = fs::remove_file(&path);
    let time = timed?;
    removed.map(|()| time)
}

fn median(mut times: [Duration; TRIES]) -> Duration {
    times.sort_unstable();
    times[TRIES / 2]
}

/// The write-ahead log: who has it, how much is in it, and what was set aside.
pub(super) fn write_ahead_log(directory: &Path, budget: ByteSize) -> Finding {
    let check = "write-ahead log";
    let (mut bytes, mut aside) = (0, Vec::new());
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(".damaged-") || name.contains(".cut-") {
            aside.push(name);
        } else {
            bytes += entry.metadata().map_or(0, |entry| entry.len());
        }
    }
    let used = format!("{} of {}", ByteSize(bytes), budget);
    let (verdict, found) = match Wal::read(directory) {
        Ok(log) => (Verdict::Ok, format!("{used}, writer {}", log.writer_id())),
        Err(WalError::InUse { .. }) => (Verdict::Ok, format!("{used}, a collector is at work")),
        // A log that was never begun has no file at all.
        Err(_) if bytes == 0 => (Verdict::Ok, "none yet".to_owned()),
        Err(error) => (Verdict::Fail, error.to_string()),
    };
    if verdict == Verdict::Ok && !aside.is_empty() {
        let aside = aside.join(", ");
        let found = format!("{found}; set aside: {aside}: see `weir wal verify`, and delete them when done with");
        return Finding::new(Verdict::Warn, check, found);
    }
    Finding::new(verdict, check, found)
}

/// Whether an address can be listened on, or somebody, perhaps Weir, does.
pub(super) fn address(name: &str, address: SocketAddr) -> Finding {
    let (verdict, found) = match TcpListener::bind(address) {
        Ok(_) => (Verdict::Ok, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            (Verdict::Warn, format!("{address} is in use: by a running Weir, or choose another"))
        }
        Err(error) => (Verdict::Fail, format!("{address}: {error}; choose one of this machine")),
    };
    Finding::new(verdict, name, found)
}

/// Opens the store as a start does, which tries its conditional writes with several writers at once.
pub(super) async fn open_store(config: &StoreConfig) -> Result<(Lake, Finding), Finding> {
    let begun = Instant::now();
    match Lake::open(config).await {
        Ok(lake) => {
            let safe = match lake.root().scheme() {
                "file" => "commits are created by hard links",
                _ => "conditional writes hold with several writers at once",
            };
            let found = format!("{config}: open after {:.1} s; {safe}", begun.elapsed().as_secs_f64());
            Ok((lake, Finding::new(Verdict::Ok, "store", found)))
        }
        Err(error) => {
            let check = match error {
                OpenError::NoConditionalPut { .. } | OpenError::RacyConditionalPut { .. } => "conditional writes",
                _ => "store",
            };
            Err(Finding::new(Verdict::Fail, check, error.to_string()))
        }
    }
}

/// How fast the store answers, and whether its clock is ours.
pub(super) async fn store(lake: &Lake) -> Vec<Finding> {
    match lake.probe().await {
        Ok(probe) => {
            let times = [("put", probe.put), ("get", probe.get), ("list", probe.list)];
            let slow = times.iter().any(|(_, time)| *time > SLOW_REQUEST);
            let times = times.map(|(name, time)| format!("{name} {:.1} ms", time.as_secs_f64() * 1e3)).join(", ");
            let verdict = if slow { Verdict::Warn } else { Verdict::Ok };
            let mut findings = vec![Finding::new(verdict, "requests to the store", times)];
            let skew = (probe.modified - Utc::now()).abs();
            if skew > MOST_SKEW {
                let found =
                    format!("differs by {} s; set the clock of this machine, or of the store", skew.num_seconds());
                findings.push(Finding::new(Verdict::Warn, "clock of the store", found));
            }
            findings
        }
        Err(error) => vec![Finding::new(Verdict::Fail, "requests to the store", error.to_string())],
    }
}

/// Each table: its version, files and rows, and whether maintenance keeps up.
pub(super) async fn tables(lake: &Lake, policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in Table::ALL {
        let check = format!("table {}", table.name());
        let snapshot = match lake.table(table).snapshot().await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                findings.push(Finding::new(Verdict::Fail, check, error.to_string()));
                continue;
            }
        };
        let files = snapshot.files();
        let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
        let small = files.iter().filter(|file| file.size_bytes < policy.target_bytes / 4 * 3).count();
        let rows = files.total_rows().map_or_else(String::new, |rows| format!(", {rows} rows"));
        let found =
            format!("version {}, {} files ({small} small), {}{rows}", snapshot.version(), files.len(), ByteSize(bytes));
        findings.push(if small > MOST_FILES {
            let found = format!("{found}; maintenance does not keep up: see `weir maintain --once --dry-run`");
            Finding::new(Verdict::Warn, check, found)
        } else {
            Finding::new(Verdict::Ok, check, found)
        });
    }
    findings
}
