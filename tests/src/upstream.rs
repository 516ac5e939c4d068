//! An HTTP server behind the gateway, in the test's own process.

use std::net::SocketAddr;

use axum::{Router, extract::Request, http::StatusCode, response::IntoResponse};
use tokio::{net::TcpListener, task::JoinSet};

/// Answers `/status/503` with 503, and everything else with 200 and the path that it was asked for.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    _server: JoinSet<()>,
}

impl Upstream {
    /// Starts it; it ends when it is dropped.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let mut server = JoinSet::new();
        server.spawn(async move {
            // It ends with the test.
            let _ = axum::serve(listener, Router::new().fallback(answer)).await;
        });
        Ok(Self { address, _server: server })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn answer(request: Request) -> impl IntoResponse {
    let path = request.uri().path().to_owned();
    let wanted = path.strip_prefix("/status/").and_then(|digits| StatusCode::from_bytes(digits.as_bytes()).ok());
    (wanted.unwrap_or(StatusCode::OK), path)
}
