use std::{net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{self, Settings},
    client::{ClientError, Target},
    config::Config,
    format::Format,
    http::{ServeError, Server},
    session::Options,
    testing::{DAY_US, TestLake},
};

const TWO_ROWS: &str = "SELECT request_id, status, time FROM requests ORDER BY time";

/// Runs until it is stopped.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000000000) a, generate_series(1, 1000000000) b";

struct Running {
    address: SocketAddr,
    client: Client,
    shutdown: CancellationToken,
    tasks: JoinSet<Result<(), ServeError>>,
    _lake: TestLake,
}

impl Running {
    async fn begin(change: impl FnOnce(&mut Config)) -> Self {
        let lake = TestLake::open().await;
        lake.commit(&[DAY_US, DAY_US + 1], 1).await;
        let mut config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        change(&mut config);
        let server = Server::bind(lake.engine(), &config).await.unwrap();
        let (address, shutdown, mut tasks) = (server.address(), CancellationToken::new(), JoinSet::new());
        tasks.spawn(server.run(shutdown.clone()));
        Self { address, client: Client::builder().no_proxy().build().unwrap(), shutdown, tasks, _lake: lake }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn post(&self, path: &str, sql: &str) -> Response {
        self.client.post(self.url(path)).body(sql.to_owned()).send().await.unwrap()
    }

    async fn end(mut self) {
        self.shutdown.cancel();
        self.tasks.join_next().await.unwrap().unwrap().unwrap();
    }
}

async fn error(response: Response) -> (StatusCode, String, String) {
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    let text = |key: &str| body["error"][key].as_str().unwrap().to_owned();
    (status, text("code"), text("message"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_answered_in_the_format_asked_for() {
    let running = Running::begin(|_| ()).await;
    let id = format!("r{DAY_US}");
    let answer = running.post("/sql", TWO_ROWS).await;
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    let rows: Value = answer.json().await.unwrap();
    assert_eq!(rows[0], json!({"request_id": id, "status": 200, "time": "2026-11-23T00:00:00Z"}));
    assert_eq!(rows.as_array().unwrap().len(), 2);

    let as_json = running.client.post(running.url("/sql?format=csv")).json(&json!({"sql": TWO_ROWS}));
    let csv = as_json.send().await.unwrap().text().await.unwrap();
    assert!(csv.starts_with("request_id,status,time\n"), "{csv}");

    let get =
        running.client.get(running.url("/sql")).query(&[("q", TWO_ROWS)]).header(ACCEPT, "text/html, text/csv;q=0.5");
    assert_eq!(get.send().await.unwrap().text().await.unwrap(), csv);

    let lines = running.post("/sql?format=ndjson&fresh=false", TWO_ROWS).await.text().await.unwrap();
    assert_eq!(lines.lines().count(), 2);
    let table = running.post("/sql?format=table", TWO_ROWS).await.text().await.unwrap();
    assert!(table.ends_with("(2 rows)\n"), "{table}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_has_a_status_a_code_and_words() {
    let running = Running::begin(|_| ()).await;
    for (path, sql, status, code) in [
        ("/sql", "SELEC", 400, "invalid_sql"),
        ("/sql", "SELECT x FROM requests", 400, "invalid_sql"),
        ("/sql", "DROP TABLE requests", 400, "read_only"),
        ("/sql", "SELECT 1/0", 400, "execution_failed"),
        ("/sql?format=xml", "SELECT 1", 400, "bad_request"),
        ("/sql?fresh=maybe", "SELECT 1", 400, "bad_request"),
        ("/sql?frish=true", "SELECT 1", 400, "bad_request"),
    ] {
        let (found, found_code, message) = error(running.post(path, sql).await).await;
        assert_eq!((found.as_u16(), found_code.as_str()), (status, code), "{path} {sql}: {message}");
    }
    let long = format!("SELECT '{}'", "x".repeat(1 << 20));
    assert_eq!(error(running.post("/sql", &long).await).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let unasked = running.client.get(running.url("/sql")).send().await.unwrap();
    assert_eq!(error(unasked).await.1, "bad_request");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_station_says_what_there_is_and_how_it_does() {
    let running = Running::begin(|_| ()).await;
    let tables: Value = running.client.get(running.url("/tables")).send().await.unwrap().json().await.unwrap();
    let names: Vec<_> = tables.as_array().unwrap().iter().map(|table| table["name"].clone()).collect();
    assert_eq!(names, ["requests", "spans", "metrics", "ledger"]);
    assert_eq!(tables[0]["columns"][1], json!({"name": "time", "type": "timestamp"}));
    assert_eq!(running.client.get(running.url("/health")).send().await.unwrap().status(), StatusCode::OK);
    running.post("/sql", "SELECT 1").await.text().await.unwrap();
    running.post("/sql", "SELEC").await;
    let metrics = running.client.get(running.url("/metrics")).send().await.unwrap().text().await.unwrap();
    for line in [
        "weir_query_statements_total{outcome=\"ok\"} 1",
        "weir_query_statements_total{outcome=\"invalid_sql\"} 1",
        "weir_query_statements_running 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_ends_when_its_time_is_over() {
    let running = Running::begin(|config| config.timeout = Duration::from_millis(300)).await;
    let (status, code, message) = error(running.post("/sql", ENDLESS).await).await;
    assert_eq!((status, code.as_str()), (StatusCode::GATEWAY_TIMEOUT, "timeout"), "{message}");
    let streamed = running.post("/sql?format=csv", "SELECT a.value FROM generate_series(1, 100000000000) a").await;
    assert_eq!(streamed.status(), StatusCode::OK);
    assert!(streamed.bytes().await.is_err(), "a broken answer must not look whole");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_statements_are_told_to_come_again() {
    let running = Running::begin(|config| config.concurrency = 1).await;
    let mut statements = JoinSet::new();
    for _ in 0..5 {
        statements.spawn(running.client.post(running.url("/sql")).body(ENDLESS).send());
    }
    let refused = loop {
        let response = running.post("/sql?format=csv", "SELECT a.value FROM generate_series(1, 1) a").await;
        if response.status() != StatusCode::OK {
            break response;
        }
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[RETRY_AFTER], "1");
    running.end().await;
    for ended in statements.join_all().await {
        assert_eq!(ended.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_gets_the_same_from_a_station_and_from_an_engine() {
    let running = Running::begin(|_| ()).await;
    let station = Target::station(&running.url("/")).unwrap();
    let engine = Target::Engine(running._lake.engine());
    for format in Format::ALL {
        for sql in [TWO_ROWS, "SELECT attributes, canary FROM requests WHERE false", "SHOW TABLES"] {
            let settings = Settings { format, ..Settings::default() };
            let (mut one, mut other) = (Vec::new(), Vec::new());
            cli::answer(&station, sql, settings, &mut one).await.unwrap();
            cli::answer(&engine, sql, settings, &mut other).await.unwrap();
            assert!(!one.is_empty() || format == Format::Ndjson);
            assert_eq!(one, other, "{format} {sql}");
        }
    }
    let refused = station.query("SELECT x FROM requests", Options::default()).await.err().unwrap();
    let same = engine.query("SELECT x FROM requests", Options::default()).await.err().unwrap();
    assert!(matches!(&refused, ClientError::Refused { code, .. } if code == "invalid_sql"));
    assert_eq!(refused.to_string(), same.to_string());
    let url = running.url("");
    running.end().await;
    let away = Target::station(&url).unwrap().query("SELECT 1", Options::default()).await.err().unwrap();
    assert!(matches!(away, ClientError::Unreachable { .. }), "{away}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_an_error() {
    let running = Running::begin(|_| ()).await;
    let config = Config { listen: running.address, ..Config::default() };
    let error = Server::bind(Arc::clone(&running._lake.engine()), &config).await.unwrap_err();
    assert!(matches!(error, ServeError::Listen(_)), "{error}");
    running.end().await;
}
