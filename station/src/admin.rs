//! The admin address of a station: whether it lives (`/health`), whether it wants requests (`/ready`) and how it does
//! (`/metrics`).

use std::{io, sync::Arc};

pub use axum::Router;
use axum::{
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// Renders the station's self metrics.
pub type Render = Arc<dyn Fn() -> metrics::Text + Send + Sync>;

/// The two routes that every station has; a station adds its own.
pub fn router(render: Render) -> Router {
    let page = move || async move { ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], render().finish()) };
    Router::new().route("/health", get(|| async { "ok\n" })).route("/metrics", get(page))
}

/// Adds `/ready`: 200 while the station wants requests, and 503 when whoever distributes them should look elsewhere.
pub fn with_ready(router: Router, is_ready: impl Fn() -> bool + Clone + Send + Sync + 'static) -> Router {
    let answer = move || {
        let is_ready = is_ready();
        async move { if is_ready { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "ending\n") } }
    };
    router.route("/ready", get(answer))
}

/// Adds a page of plain text.
pub fn with_page(router: Router, path: &str, text: impl Fn() -> String + Clone + Send + Sync + 'static) -> Router {
    let page = move || {
        let text = text();
        async move { ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text) }
    };
    router.route(path, get(page))
}

/// Serves the admin address until `shutdown`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}
