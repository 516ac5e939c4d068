//! What SQL answers is exactly what the clients saw: at once, after the end, and on an object store.

use weir_tests::{ObjectStore, Oracle, Process, Traffic, Upstream, ask, ask_number, until_number};

use crate::pipeline::{Up, WEIR, assert_exact};

#[tokio::test(flavor = "multi_thread")]
async fn sql_equals_the_oracle_live_and_after_the_end() {
    let upstream = Upstream::start().await.unwrap();
    let up = Up::start(&Traffic::definitions(&upstream.url())).await;
    let oracle = Traffic::new(1).send(&up.gateway, 1_500).await.unwrap();
    until_number(&up.query, "select count(*) from requests", oracle.total()).await.unwrap();
    assert_exact(&up.query, &oracle).await;
    assert_eq!(ask_number(&up.query, "select count(distinct request_id) from requests").await.unwrap(), oracle.total());

    let exit = up.process.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let total = oracle.total();
    for line in [
        format!("requests_answered: {total}"),
        format!("records_stored: {total}"),
        "records_lost: 0".to_owned(),
        "records_duplicate: 0".to_owned(),
    ] {
        assert!(exit.stdout.lines().any(|own| own == line), "{line} in {}", exit.stdout);
    }
    let arguments = ["sql", "--data", "data", "--format", "json", Oracle::QUESTION];
    let exit = Process::run(WEIR, up.directory.path(), &arguments).await.unwrap();
    assert_eq!(Oracle::from_rows(&serde_json::from_str::<Vec<_>>(&exit.stdout).unwrap()).unwrap(), oracle);
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_equals_the_oracle_on_an_object_store() {
    let (upstream, store) = (Upstream::start().await.unwrap(), ObjectStore::start().await.unwrap());
    let config = format!("{}{}", store.section(), Traffic::definitions(&upstream.url()));
    let up = Up::start(&config).await;
    let mut oracle = Traffic::new(2).send(&up.gateway, 600).await.unwrap();
    until_number(&up.query, "select count(*) from requests", oracle.total()).await.unwrap();
    let exit = up.process.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);

    let up = Up::start_in(up.directory).await;
    assert_exact(&up.query, &oracle).await;
    oracle.add(Traffic::new(3).send(&up.gateway, 300).await.unwrap());
    until_number(&up.query, "select count(*) from requests", oracle.total()).await.unwrap();
    assert_exact(&up.query, &oracle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_in_sql_soon_after_its_response_and_once() {
    let upstream = Upstream::start().await.unwrap();
    let up = Up::start(&Traffic::definitions(&upstream.url())).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for index in 0..10 {
        let response = client.get(format!("{}/alpha/prod/users/{index}", up.gateway)).send().await.unwrap();
        let id = response.headers()["x-amzn-requestid"].to_str().unwrap().to_owned();
        let question = format!("select count(*) from requests where request_id = '{id}'");
        until_number(&up.query, &question, 1).await.unwrap();
        let trace =
            format!("select r.status from requests r where request_id = '{id}' and path = '/alpha/prod/users/{index}'");
        assert_eq!(ask(&up.query, &trace).await.unwrap()[0]["status"], 200);
    }
}
