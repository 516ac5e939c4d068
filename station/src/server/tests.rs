//! The server on a real socket.

use std::sync::atomic::Ordering::Relaxed;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Running {
    address: SocketAddr,
    counts: Arc<ConnectionCounts>,
    shutdown: CancellationToken,
    task: JoinSet<()>,
}

async fn start(limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(listener, None, limits);
    let (counts, shutdown) = (server.counts(), CancellationToken::new());
    let router = Router::new().route("/", get(|| async { "here" }));
    let mut task = JoinSet::new();
    task.spawn(server.serve(router, shutdown.clone()));
    Running { address, counts, shutdown, task }
}

async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"here") {
        if stream.read_buf(&mut answer).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn connections_that_do_nothing_do_not_keep_others_out() {
    let mut running = start(Limits { connections: 3, idle: Duration::from_secs(60) }).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(TcpStream::connect(running.address).await.unwrap());
    }
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert!(running.counts.displaced.load(Relaxed) >= 18);
    // The first of them was closed long ago.
    assert_eq!(idle[0].read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    running.shutdown.cancel();
    running.task.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_is_closed_when_it_has_been_idle_for_its_time() {
    let running = start(Limits { connections: 3, idle: Duration::from_millis(50) }).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_request_that_never_comes_does_not_hold_up_the_end() {
    let mut running = start(Limits { connections: 9, idle: Duration::from_secs(600) }).await;
    let mut halves = Vec::new();
    for half in ["", "G", "GET / HTTP/1.1\r\nhost", "PRI * HTTP/2.0"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        halves.push(stream);
    }
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
    running.shutdown.cancel();
    timeout(Duration::from_secs(60), running.task.join_next()).await.unwrap().unwrap().unwrap();
}
