//! The demo's upstream: a real HTTP server on the loopback address that behaves like a shop's and a media site's.
//!
//! What it answers depends on the request alone; how long it takes is drawn from a log-normal curve with a long tail.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    io,
    net::SocketAddr,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::Request,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Median time to answer.
const MEDIAN: Duration = Duration::from_micros(1_500);

/// A listener on any free port, and its address.
pub(crate) async fn bind() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves until `shutdown`.
pub(crate) async fn serve(listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
    let router = Router::new().fallback(answer);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn answer(request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let draw =
        BuildHasherDefault::<DefaultHasher>::default().hash_one((&path, request.headers().get("x-amzn-requestid")));
    // The body is read to its end, as a real server would.
    let _ = axum::body::to_bytes(request.into_body(), 1 << 20).await;
    tokio::time::sleep(think_time(&path, draw)).await;
    let draw = draw >> 32;
    if path.starts_with("/payments") && draw % 100 < 25 {
        let status = if draw.is_multiple_of(2) { StatusCode::BAD_GATEWAY } else { StatusCode::SERVICE_UNAVAILABLE };
        return (status, "the bank does not answer\n").into_response();
    }
    if draw % 1_000 < 3 {
        return (StatusCode::INTERNAL_SERVER_ERROR, "unexpected\n").into_response();
    }
    if draw % 100 < 4 && path.starts_with("/files/") {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let status =
        if path.starts_with("/orders") && path.len() == "/orders".len() { StatusCode::CREATED } else { StatusCode::OK };
    let kind = if path.starts_with("/files/") { "application/octet-stream" } else { "application/json" };
    (status, [(CONTENT_TYPE, kind)], body(&path)).into_response()
}

/// Log-normal around [`MEDIAN`], one in two hundred ten times as long; reports are slow by nature.
fn think_time(path: &str, draw: u64) -> Duration {
    let uniform = |shift: u32| f64::from(u16::try_from(draw >> shift & 0xffff).unwrap_or(0)) / 65_536.0;
    // The sum of uniform draws is nearly normal.
    let normal = (uniform(0) + uniform(16) + uniform(32) + uniform(48) - 2.0) * 1.73;
    let tail = if draw.is_multiple_of(200) { 10.0 } else { 1.0 };
    let time = MEDIAN.mul_f64((normal * 0.7).exp() * tail);
    if path.starts_with("/reports") { Duration::from_millis(400) + time * 20 } else { time }
}

/// Bytes whose number depends on the path alone: log-normal for pages, up to a megabyte for files.
fn body(path: &str) -> Bytes {
    let spread = BuildHasherDefault::<DefaultHasher>::default().hash_one(path) % 1_000;
    let spread = f64::from(u16::try_from(spread).unwrap_or(0)) / 1_000.0;
    let (smallest, growth) = if path.starts_with("/files/") { (1_000.0, 6.0) } else { (300.0, 4.0) };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 300 and 404,000")]
    let bytes = (smallest * f64::exp(growth * spread)) as usize;
    static FILLER: [u8; 1 << 20] = [b'w'; 1 << 20];
    Bytes::from_static(&FILLER[..bytes.min(FILLER.len())])
}
