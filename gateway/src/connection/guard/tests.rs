//! The guard before hyper, on real sockets, where the service is the test's.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const LIMITS: HeadLimits = HeadLimits { header_bytes: 1_024, url_bytes: 512, headers: 10 };

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// What the guard passes on when so much is read at once, and how it ends.
async fn passed(bytes: &[u8], room: usize) -> (Vec<u8>, Option<Refused>) {
    let (mut client, server) = pair().await;
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let wire = Rc::new(Wire::default());
    let mut guard = Guard::new(Stream::Plain(server), Rc::clone(&wire), LIMITS, Vec::new());
    let (mut passed, mut buffer) = (Vec::new(), vec![0; room]);
    while wire.refused.borrow().is_none() || guard.good > 0 {
        match guard.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => passed.extend_from_slice(&buffer[..read]),
        }
    }
    (passed, wire.refused.take())
}

#[tokio::test]
async fn what_is_good_passes_unchanged_however_much_is_read_at_once() {
    let head = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
    let bytes = format!(
        "{head}POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12345{head}\
         POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n{head}"
    );
    for room in [1, 2, 3, 17, 100, 1_000] {
        assert_eq!(passed(bytes.as_bytes(), room).await, (bytes.clone().into_bytes(), None), "{room}");
        let bad = format!("{bytes}GET /x HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n{head}");
        let (passed, refused) = passed(bad.as_bytes(), room).await;
        assert_eq!(passed, [bytes.as_bytes(), STAND_IN].concat(), "{room}");
        let path = Some("/x".to_owned());
        assert_eq!(refused, Some(Refused { reason: Reason::LineEnding, method: Some("GET".to_owned()), path }));
    }
}

#[tokio::test]
async fn a_body_passes_up_to_what_breaks_it() {
    let good = "POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2";
    for room in [1, 5, 1_000] {
        let (passed, refused) = passed(format!("{good};x\r\nab\r\n0\r\n\r\n").as_bytes(), room).await;
        assert_eq!((passed.as_slice(), refused), (good.as_bytes(), None), "{room}");
    }
}

#[tokio::test]
async fn after_101_everything_passes_and_after_another_answer_requests_do() {
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    let (mut client, server) = pair().await;
    // What follows in the same segment is no HTTP.
    client.write_all(format!("{upgrade}\0frame").as_bytes()).await.unwrap();
    let wire = Rc::new(Wire::default());
    let guard = Guard::new(Stream::Plain(server), Rc::clone(&wire), LIMITS, Vec::new());
    let service = service_fn(async |_: Request<Incoming>| {
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        Ok::<_, Infallible>(response)
    });
    let mut connection = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(guard), service);
    (&mut connection).await.unwrap();
    let parts = connection.into_parts();
    let mut guard = parts.io.into_inner();
    guard.unread(&parts.read_buf);
    guard.open();
    client.write_all(b" and more").await.unwrap();
    let mut frames = vec![0; "\0frame and more".len()];
    guard.read_exact(&mut frames).await.unwrap();
    assert_eq!(frames, b"\0frame and more");
    guard.write_all(b"back").await.unwrap();
    let mut answer = vec![0; 1_024];
    let read = client.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"), "{}", answer[..read].escape_ascii());
}
