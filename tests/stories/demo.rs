//! The newcomer's first command ends with a summary that adds up.

use std::fs;

use tempfile::TempDir;
use weir_tests::Process;

use crate::pipeline::{FREE_PORTS, WEIR};

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_records_every_request_that_was_answered_once() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("weir.toml"), FREE_PORTS).unwrap();
    let arguments =
        ["up", "--demo", "--rate", "150", "--for", "4s", "--no-tui", "--config", "weir.toml", "--data", "data"];
    let exit = Process::run(WEIR, directory.path(), &arguments).await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let value = |key: &str| -> u64 {
        let line = exit
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or_else(|| panic!("{key} in {}", exit.stdout));
        line.trim_start_matches(": ").parse().unwrap()
    };
    assert!(value("requests_sent") > 0);
    assert_eq!(value("requests_answered"), value("requests_sent"));
    assert_eq!(value("records_stored"), value("requests_answered"));
    assert_eq!((value("records_lost"), value("records_duplicate")), (0, 0));
    assert!(0 < value("p50_us") && value("p50_us") <= value("p99_us"));
    assert!(exit.stderr.lines().any(|line| line.contains("answered") && line.contains("p99")), "{}", exit.stderr);
}
