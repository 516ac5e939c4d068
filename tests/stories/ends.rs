//! SIGTERM in every phase of a collector's life: it ends in order, with the exit code that is promised, or at once when it is told
//! twice; nothing acknowledged is lost, and nothing counted twice (I1, I2, I3).

use std::{fs, time::Duration};

use weir_tests::{Exit, Process};

use crate::torture::{BATCHES, Round, listening};

/// Phases, and the point of the code that makes each long enough to be met.
const PHASES: [(&str, &str); 6] = [
    ("messages arrive", ""),
    ("a message is written", "wal::written=sleep(10)"),
    ("a flush is between two tables", "flush::table_committed=sleep(40)"),
    ("a commit is made", "lake::files_stored=sleep(20)"),
    ("the log lets go", "wal::segments_deleted=sleep(40)"),
    ("files are merged", "maintain::outputs_stored=sleep(100)"),
];

/// As a shell tells of a process that SIGTERM ended.
const TOLD_TWICE: i32 = 128 + 15;

async fn told_twice(collector: Process, pause: Duration) -> Exit {
    collector.signal("TERM").unwrap();
    tokio::time::sleep(pause).await;
    // It may have ended by then, in order.
    let _ = collector.signal("TERM");
    collector.wait().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_asked_to_end_in_any_phase_ends_in_order_and_loses_nothing() {
    for (seed, (phase, points)) in (0..).zip(PHASES) {
        let mut round = Round::new(seed);
        for life in 0..3 {
            let mut collector = round.start_with(points).unwrap();
            let url = listening(&mut collector).await.unwrap().unwrap();
            let moment = Duration::from_millis(round.dice.u64(1..250));
            round.send_for(moment, &url).await;
            let exit = match life {
                1 => told_twice(collector, Duration::from_millis(round.dice.u64(0..30))).await,
                _ => collector.terminate().await.unwrap(),
            };
            let expected = exit.code == Some(0) || (life == 1 && exit.code == Some(TOLD_TWICE));
            assert!(expected, "while {phase}, life {life}: {:?} {}", exit.code, exit.stderr);
        }
        round.finish().await.unwrap_or_else(|error| panic!("while {phase}: {error:#}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_asked_to_end_while_its_store_is_away_keeps_all_in_its_log() {
    let round = Round::new(7);
    let configuration = round.directory.path().join("weir.toml");
    let patient = fs::read_to_string(&configuration).unwrap();
    fs::write(&configuration, patient.replace("[maintenance]", "shutdown_deadline = \"2s\"\n[maintenance]")).unwrap();
    let log = round.directory.path().join("data/tables/requests/_delta_log");
    let away = log.with_file_name("away");
    let kept = "it is kept in the write-ahead log and will be committed after the next start";
    for is_told_twice in [true, false] {
        let mut collector = round.start_with("").unwrap();
        let url = listening(&mut collector).await.unwrap().unwrap();
        // What is no directory takes no commit.
        fs::rename(&log, &away).unwrap();
        fs::write(&log, "").unwrap();
        round.send_until(if is_told_twice { BATCHES / 2 } else { BATCHES }, &url).await.unwrap();
        // So that there is something to commit that cannot be.
        collector.logged("commit failed; the rows are kept, trying again").await.unwrap();
        collector.signal("TERM").unwrap();
        if is_told_twice {
            collector.logged("shutting down; a second signal ends at once").await.unwrap();
            let exit = collector.terminate().await.unwrap();
            assert_eq!(exit.code, Some(TOLD_TWICE), "{}", exit.stderr);
        } else {
            let exit = collector.wait().await.unwrap();
            assert!(exit.code == Some(1) && exit.stderr.contains(kept), "{:?} {}", exit.code, exit.stderr);
        }
        if is_told_twice {
            fs::remove_file(&log).unwrap();
            fs::rename(&away, &log).unwrap();
        }
    }
    // The same for one that has never seen its store.
    let mut collector = round.start_with("").unwrap();
    listening(&mut collector).await.unwrap().unwrap();
    let exit = collector.terminate().await.unwrap();
    assert!(exit.code == Some(1) && exit.stderr.contains(kept), "{:?} {}", exit.code, exit.stderr);

    fs::write(&configuration, patient).unwrap();
    fs::remove_file(&log).unwrap();
    fs::rename(&away, &log).unwrap();
    // Asked to end as soon as it is there, while it reads what its log holds.
    for _ in 0..3 {
        let mut collector = round.start_with("flush::table_committed=sleep(20)").unwrap();
        listening(&mut collector).await.unwrap().unwrap();
        let exit = collector.terminate().await.unwrap();
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    }
    round.finish().await.unwrap();
}
