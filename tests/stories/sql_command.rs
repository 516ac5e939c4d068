//! `weir sql`: its formats, its errors, and whom it asks.

use weir_tests::{Process, until_number};

use crate::pipeline::{Up, WEIR};

const MOCK: &str =
    "[[api]]\nname = \"a\"\n[[api.route]]\nroute = \"GET /x\"\nintegration = { type = \"mock\", status = 202 }\n";
const QUESTION: &str = "select api, route, status from requests";

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rows_come_in_each_format_from_a_station_and_from_its_directory() {
    let up = Up::start(MOCK).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(format!("{}/a/x", up.gateway)).send().await.unwrap();
    until_number(&up.query, "select count(*) from requests", 1).await.unwrap();
    let url = ["--url", up.query.as_str()];
    let data = ["--data", "data"];
    for from in [url, data] {
        for (format, expected) in [
            ("table", " api | route | status\n-----+-------+--------\n a   | /x    |    202\n(1 row)\n"),
            ("csv", "api,route,status\na,/x,202\n"),
            ("json", "[{\"api\":\"a\",\"route\":\"/x\",\"status\":202}]\n"),
            ("ndjson", "{\"api\":\"a\",\"route\":\"/x\",\"status\":202}\n"),
        ] {
            let arguments = ["sql", from[0], from[1], "--format", format, QUESTION];
            let exit = Process::run(WEIR, up.directory.path(), &arguments).await.unwrap();
            assert_eq!(
                (exit.code, exit.stdout.trim_end()),
                (Some(0), expected.trim_end()),
                "{format}: {}",
                exit.stderr
            );
        }
    }
    let exit =
        Process::run(WEIR, up.directory.path(), &["sql", "--data", "data", "delete from requests"]).await.unwrap();
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.starts_with("weir: "), "{}", exit.stderr);
    let exit = Process::run(WEIR, up.directory.path(), &["sql", "--data", "elsewhere", "select 1"]).await.unwrap();
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.contains("elsewhere holds no tables"), "{}", exit.stderr);
    assert!(!up.directory.path().join("elsewhere").exists(), "a reader makes nothing");
}
