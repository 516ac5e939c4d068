//! What tests share: an HTTP server with one answer to everything, and a screen's worth of data.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use url::Url;

use crate::question::{Ledger, Now, Route, Step, Traffic};

/// Answers every request by a function of its text; ends when dropped.
pub(crate) struct Server {
    pub(crate) url: Url,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&str) -> (&'static str, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read_request(&mut stream).await;
                let (status, body) = answer(&request);
                seen.lock().unwrap().push(request);
                let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                // A client that has seen enough goes away.
                let _ = stream.write_all((head + &body).as_bytes()).await;
            }
        });
        Self { url, requests, _tasks: tasks }
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut chunk = [0; 4096];
    loop {
        let length = |head: &str| {
            let head = head.to_ascii_lowercase();
            let value = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            value.parse::<usize>().ok()
        };
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= length(head).unwrap_or(0)
        {
            return text;
        }
        match stream.read(&mut chunk).await.unwrap() {
            0 => return text,
            count => text.push_str(std::str::from_utf8(&chunk[..count]).unwrap()),
        }
    }
}

/// When the data was asked for: 5 s into a bucket.
pub(crate) const NOW_US: i64 = 1_795_425_005_000_000;

/// Traffic with latencies around `p50_us`.
pub(crate) fn traffic(requests: u64, p50_us: u64) -> Traffic {
    Traffic {
        requests,
        status_4xx: requests / 20,
        status_5xx: requests / 300,
        throttled: requests / 50,
        auth_failures: requests / 150,
        p50_us: Some(p50_us),
        p90_us: Some(p50_us * 3),
        p99_us: Some(p50_us * 10),
        p999_us: Some(p50_us * 70),
    }
}

pub(crate) fn now() -> Now {
    Now { seconds: 15.0, traffic: traffic(18_630, 3_240) }
}

/// A wave of traffic over 15 min, with a gap of a minute.
pub(crate) fn series() -> Vec<Step> {
    let step = |number: i64| {
        let phase = number as f64 / 90.0 * std::f64::consts::TAU;
        let requests = (8_000.0 + 5_000.0 * phase.sin()) as u64;
        // Half of the last step is still to come.
        let so_far = if number == 90 { requests / 2 } else { requests };
        let traffic = traffic(so_far, 2_000 + requests / 4);
        Step { start_us: NOW_US - 5_000_000 - (90 - number) * 10_000_000, now_us: NOW_US, traffic }
    };
    (0..=90).filter(|number| !(60..66).contains(number)).map(step).collect()
}

pub(crate) fn routes() -> Vec<Route> {
    let rows = [
        ("orders", "prod", "/orders", "GET", 600.0, 640_000, 2_100),
        ("orders", "prod", "/orders", "POST", 160.0, 150_000, 8_400),
        ("orders", "prod", "/orders/{id}", "GET", 440.0, 420_000, 1_700),
        ("orders", "prod", "/orders/{id}", "DELETE", 0.0, 73, 12_900),
        ("catalog", "prod", "/catalog/{category}/items/{item}/variants", "GET", 32.0, 31_000, 640),
        ("catalog", "beta", "$default", "OPTIONS", 10.0, 9_100, 310),
    ];
    rows.map(|(api, stage, route, method, rate, requests, p50_us)| Route {
        api: api.to_owned(),
        stage: stage.to_owned(),
        route: route.to_owned(),
        method: method.to_owned(),
        rate,
        traffic: traffic(requests, p50_us),
    })
    .to_vec()
}

pub(crate) fn ledger() -> Ledger {
    Ledger { records: 1_250_173, dropped: 0, duplicate: 512, rejected: 3, gaps: 0 }
}
