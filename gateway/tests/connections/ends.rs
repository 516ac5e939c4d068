//! How the gateway ends: what is under way ends, what is idle is closed, and whoever distributes requests knows before.

use std::time::{Duration, Instant};

use http::Request;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use crate::setting::{Setting, rest, until};

#[tokio::test]
async fn what_is_under_way_ends_and_what_is_idle_is_closed_at_once() {
    let setting = Setting::start("").await;
    let mut under_way = setting.connect().await;
    under_way.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (mut silent, mut used) = (setting.connect().await, setting.connect().await);
    used.write_all(b"GET /mock HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until(&mut used, "mocked").await;
    let mut half = setting.connect().await;
    half.write_all(b"GET /mock HTT").await.unwrap();
    let (h2, connection) = h2::client::handshake(setting.connect().await).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let mut h2 = h2.ready().await.unwrap();
    let request = Request::get("http://a/slow").body(()).unwrap();
    let (answer, _) = h2.send_request(request, true).unwrap();
    setting.until("weir_gateway_requests_received_total", 3).await;
    setting.stop();
    assert_eq!((rest(&mut silent).await, rest(&mut used).await), (String::new(), String::new()));
    assert_eq!(rest(&mut half).await, "");
    assert!(TcpStream::connect(setting.address).await.is_err());
    let answered = rest(&mut under_way).await;
    assert!(answered.contains("connection: close\r\n") && answered.ends_with("slow"), "{answered}");
    assert_eq!(answer.await.unwrap().status(), 200);
    tasks.join_next().await.unwrap().unwrap().unwrap();
    setting.ended().await;
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_off_and_counted() {
    let setting = Setting::start("drain = \"200ms\"").await;
    let mut never = setting.connect().await;
    never.write_all(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    setting.until("weir_gateway_requests_received_total", 1).await;
    let begun = Instant::now();
    setting.stop();
    assert_eq!(rest(&mut never).await, "");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    setting.ended().await;
}

#[tokio::test]
async fn it_says_that_it_will_end_before_it_turns_anyone_away() {
    let setting = Setting::start("drain_delay = \"2s\"").await;
    assert!(setting.admin("/ready").await.starts_with("HTTP/1.1 200"));
    setting.stop();
    loop {
        let ready = setting.admin("/ready").await;
        if ready.starts_with("HTTP/1.1 503") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = setting.send(b"GET /mock HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("mocked"), "{answer}");
    setting.ended().await;
}
