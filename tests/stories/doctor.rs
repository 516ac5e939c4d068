//! `weir doctor` finds nothing wrong where nothing is, and says what is wrong and what to do where something is.

use std::{fs, net::TcpListener};

use tempfile::TempDir;
use weir_tests::Process;

use crate::pipeline::{FREE_PORTS, WEIR};

async fn doctor(directory: &TempDir, config: &str) -> weir_tests::Exit {
    fs::write(directory.path().join("weir.toml"), format!("data = \"data\"\n{FREE_PORTS}{config}")).unwrap();
    Process::run(WEIR, directory.path(), &["doctor", "--config", "weir.toml", "--json"]).await.unwrap()
}

/// The verdict of a check and what was found.
fn finding(exit: &weir_tests::Exit, check: &str) -> (String, String) {
    let lines = exit.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let finding = lines.into_iter().find(|finding| finding["check"] == check);
    let finding = finding.unwrap_or_else(|| panic!("no check {check} in {}", exit.stdout));
    (finding["verdict"].as_str().unwrap().to_owned(), finding["found"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_wrong_every_check_passes() {
    let directory = TempDir::new().unwrap();
    let exit = doctor(&directory, "").await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    for check in
        ["configuration", "data directory", "write-ahead log", "store", "requests to the store", "table requests"]
    {
        assert_eq!(finding(&exit, check).0, "ok", "{check}: {}", exit.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_with_what_would_be_right() {
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(directory.path().join("file"), "no directory").unwrap();
    let config = format!(
        "[gateway.telemetry]\nspool_directory = \"file/spool\"\n[store]\nlocation = \"s3://lake/weir\"\n[store.s3]\n\
         endpoint = \"http://{}\"\naccess_key_id = \"a\"\nsecret_access_key = \"b\"\nrequest_timeout = \"1s\"\n",
        taken.local_addr().unwrap()
    );
    // Who has the port, and answers nobody, is not the store.
    let exit = doctor(&directory, &config).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    let (verdict, found) = finding(&exit, "spool directory");
    assert!(verdict == "fail" && found.contains("name one that this user may write to"), "{found}");
    let (verdict, found) = finding(&exit, "store");
    assert!(verdict == "fail" && found.contains("check its address"), "{found}");
    assert!(exit.stderr.contains("2 checks failed"), "{}", exit.stderr);
}
