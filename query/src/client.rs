//! Whoever answers statements for a command line: an engine in this process, or a query station elsewhere.
//!
//! A station is asked for Arrow, so that types come along and everything is written here, by one piece of code.

use std::{io, sync::Arc, time::Duration};

use arrow::{array::RecordBatch, buffer::Buffer, datatypes::SchemaRef, error::ArrowError, ipc::reader::StreamDecoder};
use bytes::Bytes;
use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use reqwest::{Client, header::ACCEPT};
use serde::Deserialize;

use crate::{
    error::QueryError,
    format::Format,
    session::{Engine, Options},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a command line has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The engine in this process has none.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The station does not answer.
    #[error("the query station {url} does not answer: {reason}; start it, or name another with --url, or --data DIR")]
    Unreachable {
        /// Its address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The station refused.
    #[error("{message}")]
    Refused {
        /// The kind, for programs.
        code: String,
        /// What the station says.
        message: String,
    },
    /// The answer ended before its end.
    #[error("the answer of the query station {url} was broken off: {reason}; its log tells more")]
    BrokenOff {
        /// Its address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// What answers at this address is no query station.
    #[error("the answer of {url} is not a query station's: {reason}")]
    Unreadable {
        /// Its address.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The answer cannot be written in the format asked for.
    #[error("the answer cannot be written in this format: {0}")]
    Format(#[from] ArrowError),
    /// The output took no more.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

/// Whoever answers.
#[derive(Clone, Debug)]
pub enum Target {
    /// An engine in this process.
    Engine(Arc<Engine>),
    /// A query station.
    Station(Station),
}

/// A query station, asked over HTTP.
#[derive(Clone, Debug)]
pub struct Station {
    url: String,
    client: Client,
}

/// The columns and the rows of an answer.
pub type Answered = (SchemaRef, BoxStream<'static, Result<RecordBatch, ClientError>>);

impl Target {
    /// The station at `url`, such as `http://127.0.0.1:7700`. Nothing is sent yet.
    ///
    /// # Errors
    /// When no HTTP client can be made on this machine.
    pub fn station(url: &str) -> Result<Self, ClientError> {
        let url = url.trim_end_matches('/').to_owned();
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).no_proxy().build();
        let client = client.map_err(|error| unreachable(&url, &error))?;
        Ok(Self::Station(Station { url, client }))
    }

    /// Asks one statement.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn query(&self, sql: &str, options: Options) -> Result<Answered, ClientError> {
        match self {
            Self::Engine(engine) => {
                let answer = engine.query(sql, options).await?;
                Ok((answer.schema, answer.rows.map_err(ClientError::Query).boxed()))
            }
            Self::Station(station) => station.query(sql, options).await,
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorText,
}

#[derive(Deserialize)]
struct ErrorText {
    code: String,
    message: String,
}

impl Station {
    async fn query(&self, sql: &str, options: Options) -> Result<Answered, ClientError> {
        let request = self
            .client
            .post(format!("{}/sql?fresh={}", self.url, options.fresh))
            .header(ACCEPT, Format::Arrow.media_type())
            .body(sql.to_owned());
        let answer = request.send().await.map_err(|error| unreachable(&self.url, &error))?;
        let status = answer.status();
        if !status.is_success() {
            let body = answer.bytes().await.map_err(|error| unreachable(&self.url, &error))?;
            return Err(match serde_json::from_slice(&body) {
                Ok(ErrorBody { error: ErrorText { code, message } }) => ClientError::Refused { code, message },
                Err(_) => ClientError::Unreadable { url: self.url.clone(), reason: format!("status {status}") },
            });
        }
        let mut reading = Reading {
            url: self.url.clone(),
            chunks: answer.bytes_stream(),
            decoder: StreamDecoder::new(),
            buffer: Buffer::default(),
        };
        let first = reading.next().await?;
        let schema = reading.decoder.schema().ok_or_else(|| reading.unreadable("no columns"))?;
        let rest = stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|batch| (batch, reading)))
        });
        Ok((schema, stream::iter(first.map(Ok)).chain(rest).boxed()))
    }
}

/// An Arrow stream that is being read from a connection.
struct Reading<S> {
    url: String,
    chunks: S,
    decoder: StreamDecoder,
    buffer: Buffer,
}

impl<S> Reading<S>
where
    S: Stream<Item = reqwest::Result<Bytes>> + Unpin,
{
    async fn next(&mut self) -> Result<Option<RecordBatch>, ClientError> {
        loop {
            if !self.buffer.is_empty() {
                match self.decoder.decode(&mut self.buffer) {
                    Ok(Some(batch)) => return Ok(Some(batch)),
                    Ok(None) => {}
                    Err(error) => return Err(self.unreadable(&error.to_string())),
                }
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.buffer = Buffer::from(chunk),
                Some(Err(error)) => return Err(self.broken_off(&deepest(&error))),
                None => {
                    self.decoder.finish().map_err(|error| self.broken_off(&error.to_string()))?;
                    return Ok(None);
                }
            }
        }
    }

    fn unreadable(&self, reason: &str) -> ClientError {
        ClientError::Unreadable { url: self.url.clone(), reason: reason.to_owned() }
    }

    fn broken_off(&self, reason: &str) -> ClientError {
        ClientError::BrokenOff { url: self.url.clone(), reason: reason.to_owned() }
    }
}

fn unreachable(url: &str, error: &reqwest::Error) -> ClientError {
    ClientError::Unreachable { url: url.to_owned(), reason: deepest(error) }
}

/// The innermost cause: `Connection refused`, not `error sending request for url`.
pub(crate) fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
