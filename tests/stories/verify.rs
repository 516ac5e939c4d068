//! `weir verify` finds nothing where nothing is wrong, and what is wrong where something is.

use weir_tests::{Process, Traffic, Upstream};

use crate::pipeline::{Up, WEIR};

#[tokio::test(flavor = "multi_thread")]
async fn whole_tables_pass_and_a_file_that_is_gone_does_not() {
    let upstream = Upstream::start().await.unwrap();
    let up = Up::start(&Traffic::definitions(&upstream.url())).await;
    Traffic::new(10).send(&up.gateway, 150).await.unwrap();
    // While it runs, the station is asked.
    let verify = async || Process::run(WEIR, up.directory.path(), &["verify", "--data", "data"]).await.unwrap();
    let exit = verify().await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert_eq!(up.process.terminate().await.unwrap().code, Some(0));
    let exit = verify().await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("150 requests"), "{}", exit.stdout);

    let table = up.directory.path().join("data/tables/ledger");
    let partition = std::fs::read_dir(&table).unwrap().map(|entry| entry.unwrap().path());
    let partition = partition.into_iter().find(|path| path.is_dir() && !path.ends_with("_delta_log")).unwrap();
    let file = std::fs::read_dir(partition).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&file).unwrap();
    let exit = verify().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(exit.stderr.contains(name), "{} does not name {name}", exit.stderr);
}
