//! HTTP to the query station: a statement out, the bytes of its rows in.

use std::{error::Error, time::Duration};

use reqwest::{
    Response,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::Deserialize;
use url::Url;

use crate::question::{Answer, Failure, Question, Window};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait for an answer; more than a query station takes before it gives up itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest answer that is read; the longest that is asked for is far shorter.
const ANSWER_BYTES: usize = 8 << 20;

/// Asks one query station.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: Url,
}

/// An error as the query station tells it.
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorText,
}

#[derive(Deserialize)]
struct ErrorText {
    code: String,
    message: String,
}

impl Client {
    /// A client of the station at `url`.
    ///
    /// # Errors
    /// When this machine cannot do HTTP at all.
    pub(crate) fn new(url: &Url) -> Result<Self, reqwest::Error> {
        let mut endpoint = url.clone();
        endpoint.set_path(&format!("{}/sql", url.path().trim_end_matches('/')));
        endpoint.set_query(None);
        endpoint.set_fragment(None);
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT).build()?;
        Ok(Self { http, endpoint })
    }

    /// Asks one question.
    ///
    /// # Errors
    /// When nobody answers, or the answer is an error or not what was asked for.
    pub(crate) async fn ask(&self, question: Question, window: Window) -> Result<Answer, Failure> {
        let request = self.http.post(self.endpoint.clone()).header(ACCEPT, "application/json");
        let request = request.header(CONTENT_TYPE, "text/plain").body(question.sql(window));
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let body = read_body(response).await?;
        if status.is_success() {
            return question
                .read(&body)
                .map_err(|error| Failure::Refused(format!("the answer makes no sense to this version: {error}")));
        }
        Err(Failure::Refused(match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(ErrorBody { error }) => format!("{} ({})", error.message, error.code),
            Err(_) => format!("HTTP status {status}, and not in the words of a query station; is this its address?"),
        }))
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES {
            return Err(Failure::Refused("the answer is longer than 8 MiB".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreachable(error: &reqwest::Error) -> Failure {
    if error.is_timeout() && !error.is_connect() {
        return Failure::Unreachable(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
    }
    // The outer errors only say that a request failed; the innermost says why.
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Failure::Unreachable(cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Server;

    async fn ask(server: &Server) -> Result<Answer, Failure> {
        Client::new(&server.url).unwrap().ask(Question::Series, Window::default()).await
    }

    fn refusal(outcome: Result<Answer, Failure>) -> String {
        match outcome {
            Err(Failure::Refused(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_statement_is_posted_as_text_and_rows_come_as_json() {
        let server = Server::start(|_| ("200 OK", "[]".to_owned())).await;
        assert_eq!(ask(&server).await, Ok(Answer::Series(Vec::new())));
        let request = server.requests().remove(0);
        let lower = request.to_ascii_lowercase();
        assert!(request.starts_with("POST /sql HTTP/1.1\r\n"), "{request}");
        assert!(lower.contains("accept: application/json\r\n"), "{request}");
        assert!(lower.contains("content-type: text/plain\r\n"), "{request}");
        assert!(request.contains("interval '900 seconds'"), "{request}");
    }

    #[tokio::test]
    async fn an_error_is_told_in_the_words_of_the_station() {
        let body = r#"{"error":{"code":"busy","message":"too many statements run"}}"#;
        let server = Server::start(|_| ("429 Too Many Requests", body.to_owned())).await;
        assert_eq!(refusal(ask(&server).await), "too many statements run (busy)");
    }

    #[tokio::test]
    async fn what_is_not_a_query_station_is_told_apart() {
        let server = Server::start(|_| ("404 Not Found", "<html>".to_owned())).await;
        assert!(refusal(ask(&server).await).contains("is this its address?"));
        let server = Server::start(|_| ("200 OK", "<html>".to_owned())).await;
        assert!(refusal(ask(&server).await).contains("makes no sense"));
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        let server = Server::start(|_| ("200 OK", " ".repeat(ANSWER_BYTES + 1))).await;
        assert!(refusal(ask(&server).await).contains("longer than"));
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        drop(listener);
        let outcome = Client::new(&url).unwrap().ask(Question::Now, Window::default()).await;
        assert!(matches!(outcome, Err(Failure::Unreachable(text)) if text.contains("refused")));
    }

    #[test]
    fn the_path_of_the_address_is_kept() {
        let client = Client::new(&Url::parse("http://host/weir/?x=1#y").unwrap()).unwrap();
        assert_eq!(client.endpoint.as_str(), "http://host/weir/sql");
    }
}
