//! The collector's pending rows over HTTP: `POST /pending` and `GET /writer` on its admin address.
//!
//! The answer is a foreign one: nothing of it is trusted to be what it says ([`weir_lake::pending`]).

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header::AUTHORIZATION};
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use weir_lake::{Table, pending};
use weir_station::{credentials::Credentials, tls::ClientTls};

use crate::{
    client::deepest,
    pending::{Pending, PendingError, PendingSource},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A collector at an address of its own.
#[derive(Debug)]
pub struct HttpCollector {
    url: String,
    credentials: Arc<Credentials>,
    /// The client, and the certificates that it was made with.
    client: Mutex<(Option<Arc<ClientConfig>>, Client)>,
    limit_bytes: usize,
}

#[derive(Deserialize)]
struct Writer {
    writer: String,
}

#[derive(Deserialize)]
struct Lags {
    lags: Span,
}

#[derive(Deserialize)]
struct Span {
    loaded: u64,
    newest: u64,
}

impl HttpCollector {
    /// The collector whose admin address is `url`, such as `http://127.0.0.1:4319`. An answer of more than
    /// `limit_bytes` is refused.
    ///
    /// # Errors
    /// When no HTTP client can be made on this machine.
    pub fn new(url: &str, limit_bytes: usize, credentials: Arc<Credentials>) -> Result<Self, PendingError> {
        let url = url.trim_end_matches('/').to_owned();
        let tls = credentials.tls.as_ref().map(ClientTls::current);
        let client = client(tls.as_ref()).map_err(|error| unreachable(&url, &error))?;
        Ok(Self { url, credentials, client: Mutex::new((tls, client)), limit_bytes })
    }

    /// A request, with the certificates and the token as they are now.
    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, PendingError> {
        self.credentials.look();
        let tls = self.credentials.tls.as_ref().map(ClientTls::current);
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if tls.as_ref().map(Arc::as_ptr) != current.0.as_ref().map(Arc::as_ptr) {
            let client = client(tls.as_ref()).map_err(|error| self.unreachable(&error))?;
            *current = (tls, client);
        }
        let request = current.1.request(method, format!("{}{path}", self.url));
        Ok(match self.credentials.authorization() {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> PendingError {
        unreachable(&self.url, error)
    }

    fn unreadable(&self, reason: &dyn Display) -> PendingError {
        PendingError::Unreadable { source_name: self.url.clone(), reason: reason.to_string() }
    }

    async fn body(&self, answer: Response) -> Result<Vec<u8>, PendingError> {
        let mut body = Vec::new();
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.unreachable(&error))?;
            if body.len() + chunk.len() > self.limit_bytes {
                return Err(PendingError::TooLarge { source_name: self.url.clone(), limit_bytes: self.limit_bytes });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

#[async_trait]
impl PendingSource for HttpCollector {
    fn name(&self) -> &str {
        &self.url
    }

    async fn writer(&self) -> Result<String, PendingError> {
        let answer = self.request(Method::GET, "/writer")?.send().await;
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(self.unreadable(&format!("GET /writer answered {}", answer.status())));
        }
        let body = self.body(answer).await?;
        let Writer { writer } = serde_json::from_slice(&body).map_err(|error| self.unreadable(&error))?;
        Ok(writer)
    }

    async fn pending_after(&self, positions: &[(Table, i64)]) -> Result<Pending, PendingError> {
        let tables: Map<String, Value> =
            positions.iter().map(|(table, position)| (table.name().to_owned(), (*position).into())).collect();
        let request = self.request(Method::POST, "/pending")?.json(&json!({ "tables": tables }));
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::GONE => return Ok(Pending::Gone),
            StatusCode::SERVICE_UNAVAILABLE => {
                let body = self.body(answer).await?;
                let Lags { lags } = serde_json::from_slice(&body).map_err(|error| self.unreadable(&error))?;
                return Ok(Pending::Lags { loaded: lags.loaded, newest: lags.newest });
            }
            other => return Err(self.unreadable(&format!("POST /pending answered {other}"))),
        }
        let body = self.body(answer).await?;
        let tables = pending::decode(&body).map_err(|reason| self.unreadable(&reason))?;
        if let Some((table, _)) = tables.iter().find(|(table, _)| positions.iter().all(|(asked, _)| asked != table)) {
            return Err(self.unreadable(&format!("rows of {}, which was not asked for", table.name())));
        }
        // The columns share the memory of their table's stream.
        Ok(Pending::Rows { tables, received_bytes: body.len() })
    }
}

fn unreachable(url: &str, error: &reqwest::Error) -> PendingError {
    let reason = if error.is_timeout() { "no answer in time".to_owned() } else { deepest(error) };
    PendingError::Unreachable { source_name: url.to_owned(), reason }
}

fn client(tls: Option<&Arc<ClientConfig>>) -> reqwest::Result<Client> {
    let builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT).no_proxy();
    match tls {
        Some(tls) => builder.tls_backend_preconfigured(ClientConfig::clone(tls)).build(),
        None => builder.build(),
    }
}
