//! SQL over HTTP, and the station that serves it.
//!
//! | request | answer |
//! |---|---|
//! | `POST /sql`, body SQL or `{"sql": "…"}` | the rows, as `Accept` or `?format=` asks: json, ndjson, csv, table, arrow |
//! | `GET /sql?q=…` | the same |
//! | `GET /tables` | the tables and their columns |
//! | `GET /health`, `GET /metrics` | whether the station lives, and how it does |
//!
//! `?fresh=false` asks for committed rows only. An error is `{"error": {"code", "message"}}`; one that comes after the
//! first rows were sent breaks the connection off, so that no client takes half an answer for a whole one.
//!
//! What always holds: at most `concurrency` statements run, and four times as many wait, for ten seconds at most; who
//! comes then is told 429 and when to come again. A statement that is older than `timeout`, or whose client has gone,
//! ends.

mod body;
mod failure;
mod gate;
mod sql;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use arrow::datatypes::DataType;
use axum::{Json, Router, extract::DefaultBodyLimit, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_station::{
    admin,
    listener::{self, ListenError},
    metrics,
};

use crate::{config::Config, session::Engine};
use gate::Gate;

/// The longest statement, bytes.
const LONGEST_STATEMENT: usize = 1 << 20;

/// A station that could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its listener failed.
    #[error("the HTTP listener failed: {0}")]
    Listener(#[from] io::Error),
}

/// The HTTP station, bound to its address and not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    station: Arc<Station>,
}

/// What all requests share.
#[derive(Debug)]
struct Station {
    engine: Arc<Engine>,
    gate: Gate,
    timeout: Duration,
    shutdown: CancellationToken,
}

impl Server {
    /// Binds the address that the configuration names; port 0 takes any free one.
    ///
    /// # Errors
    /// When it cannot be listened on.
    pub async fn bind(engine: Arc<Engine>, config: &Config) -> Result<Self, ServeError> {
        let listener = listener::bind(config.listen, config.exposure).await?;
        let address = listener.local_addr()?;
        let gate = Gate::new(config.concurrency, gate::PATIENCE);
        let station = Station { engine, gate, timeout: config.timeout, shutdown: CancellationToken::new() };
        Ok(Self { listener, address, station: Arc::new(station) })
    }

    /// The address that was taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`; statements that still run then are ended.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let running = self.station.shutdown.clone();
        tracing::info!(address = %self.address, "query listens for SQL over HTTP");
        let ended = async move {
            shutdown.cancelled().await;
            running.cancel();
        };
        axum::serve(self.listener, router(self.station)).with_graceful_shutdown(ended).await?;
        Ok(())
    }
}

/// Binds and serves until `shutdown`.
///
/// # Errors
/// When the address cannot be listened on, or the listener fails.
pub async fn serve(engine: Arc<Engine>, config: &Config, shutdown: CancellationToken) -> Result<(), ServeError> {
    Server::bind(engine, config).await?.run(shutdown).await
}

fn router(station: Arc<Station>) -> Router {
    let rendered = Arc::clone(&station);
    let routes = Router::new()
        .route("/sql", get(sql::get).post(sql::post))
        .layer(DefaultBodyLimit::max(LONGEST_STATEMENT))
        .route("/tables", get(|| async { Json(tables()) }))
        .with_state(station);
    routes.merge(admin::router(Arc::new(move || rendered.metrics())))
}

impl Station {
    fn metrics(&self) -> metrics::Text {
        let mut text = metrics::Text::new();
        let counts: BTreeMap<_, _> = self.gate.counts();
        for (outcome, count) in counts {
            let labels = [("outcome", outcome)];
            text.counter_with("weir_query_statements_total", "Statements, by how they ended.", &labels, count);
        }
        text.gauge("weir_query_statements_running", "Statements that run.", self.gate.running());
        text.gauge("weir_query_statements_waiting", "Statements that wait for others to end.", self.gate.waiting());
        let reserved = self.engine.reserved_bytes() as u64;
        text.gauge("weir_query_memory_reserved_bytes", "Memory that statements hold.", reserved);
        text
    }
}

fn tables() -> Value {
    let tables = Engine::tables().map(|(name, schema)| {
        let columns =
            schema.fields().iter().map(|field| json!({"name": field.name(), "type": sql_type(field.data_type())}));
        json!({"name": name, "columns": columns.collect::<Vec<_>>()})
    });
    Value::Array(tables.collect())
}

/// A column's type by its name in SQL.
fn sql_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Date32 => "date",
        DataType::Timestamp(..) => "timestamp",
        DataType::Int32 => "int",
        DataType::Int64 => "bigint",
        DataType::Boolean => "boolean",
        DataType::Binary => "binary",
        DataType::Map(..) => "map",
        _ => "text",
    }
}
