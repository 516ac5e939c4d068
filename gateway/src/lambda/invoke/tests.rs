//! Calls over real sockets, to a server that speaks the Invoke API.

use std::{convert::Infallible, io::Write, net::SocketAddr, path::Path, sync::Mutex};

use http::{Response, Uri};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};
use weir_station::config::Document;

use super::*;
use crate::{
    config::{Config, OTHER_SECTIONS},
    integration::Integration,
    serving::Serving,
    sigv4::{Claim, Expected, Message},
    target::Target,
};

const CREDENTIALS: &str = "[caller]\naws_access_key_id = AKIACALLER\naws_secret_access_key = secret\n\
     aws_session_token = token\n";

/// Answers each call so: status, headers, body.
type Told = (u16, &'static [(&'static str, &'static str)], &'static str);

/// What a server got: path and query, headers, body.
type Seen = Arc<Mutex<Vec<(Uri, HeaderMap, Bytes)>>>;

/// A server and the function on it, until this is dropped.
struct Setting {
    function: Arc<crate::serving::Route>,
    seen: Seen,
    pool: Rc<Pool<UploadBody>>,
    _tasks: JoinSet<()>,
    _directory: tempfile::TempDir,
}

impl Setting {
    async fn start(told: Option<Told>, function: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, told, Arc::clone(&seen)));
        let directory = tempfile::tempdir().unwrap();
        let route = served(directory.path(), address, function);
        Self { function: route, seen, pool: Rc::new(Pool::new()), _tasks: tasks, _directory: directory }
    }

    fn function(&self) -> &Function {
        match &self.function.integration {
            Integration::Lambda(lambda) => &lambda.function,
            other => panic!("{other:?}"),
        }
    }

    async fn call(&self, payload: &'static str) -> Result<Reply, InvokeError> {
        let mut context = HeaderMap::new();
        context.insert("x-amzn-trace-id", HeaderValue::from_static("Root=1-a-b"));
        let (deadlines, payload) = (Deadlines::new(), Bytes::from_static(payload.as_bytes()));
        self.function().call_over(&self.pool, &deadlines, payload, context).await
    }
}

fn served(directory: &Path, address: SocketAddr, function: &str) -> Arc<crate::serving::Route> {
    let credentials = directory.join("credentials");
    std::fs::File::create(&credentials).unwrap().write_all(CREDENTIALS.as_bytes()).unwrap();
    let text = format!(
        "[gateway]\nregion = \"eu-central-1\"\niam_credentials_file = {credentials:?}\n\
         [[api]]\nname = \"a\"\n[[api.stage]]\nname = \"$default\"\nvariables = {{ version = \"live\" }}\n\
         [[api.route]]\nroute = \"GET /\"\n\
         integration = {{ type = \"lambda\", endpoint = \"http://{address}\", {function} }}\n"
    );
    let document = Document::parse(&text, Vec::new()).unwrap();
    let config = Config::read(&document, Path::new("data"));
    document.finish(OTHER_SECTIONS).unwrap();
    let serving = Serving::new(&config, None).unwrap();
    let found = serving.find(None, "GET", &Target::new("/a"));
    Arc::clone(found.place.route().unwrap())
}

async fn serve(listener: TcpListener, told: Option<Told>, seen: Seen) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let seen = Arc::clone(&seen);
        let service = service_fn(move |request: Request<Incoming>| {
            let seen = Arc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                assert_eq!(head.method, "POST");
                seen.lock().unwrap().push((head.uri, head.headers, body));
                let Some((status, headers, body)) = told else { std::future::pending().await };
                let response = Response::builder().status(status);
                let response = headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
            }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // The pool ends it however it likes.
            let _ = connection.await;
        });
    }
}

/// Runs a test where the pool may drive its connections.
async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_call_is_signed_and_brings_back_what_the_function_returned() {
    let told = (200, &[("x-amzn-requestid", "id-1")][..], r#"{"statusCode":204}"#);
    let function = r#"function = "orders-${stageVariables.version}", qualifier = "7", credentials = "caller""#;
    local(async {
        let setting = Setting::start(Some(told), function).await;
        for _ in 0..2 {
            let reply = setting.call(r#"{"a":1}"#).await.unwrap();
            assert_eq!((reply.status, reply.is_error, &reply.payload[..]), (StatusCode::OK, false, told.2.as_bytes()));
            assert_eq!(reply.request_id.as_deref(), Some("id-1"));
        }
        let seen = setting.seen.lock().unwrap();
        let (uri, headers, body) = &seen[1];
        assert_eq!(*uri, "/2015-03-31/functions/orders-live/invocations?Qualifier=7");
        assert_eq!(
            (headers["x-amz-invocation-type"].as_bytes(), &body[..]),
            (&b"RequestResponse"[..], &br#"{"a":1}"#[..])
        );
        assert_eq!(headers["x-amzn-trace-id"], "Root=1-a-b");
        let identities = Identities::parse(CREDENTIALS).unwrap();
        let message = Message::of(&http::Method::POST, uri, headers);
        let expected = Expected { service: "lambda", region: Some("eu-central-1") };
        let signer = match sigv4::begin(&message, &expected, &identities, SystemTime::now()) {
            Ok(Claim::NeedsBody(pending)) => pending.finish(&sigv4::sha256(body)).unwrap(),
            Ok(Claim::Holds(signer)) => signer,
            Err(fault) => panic!("{fault:?}"),
        };
        assert_eq!(signer.access_key(), "AKIACALLER");
    })
    .await;
}

#[tokio::test]
async fn an_arn_says_the_region_and_is_encoded_and_nothing_is_signed_without_credentials() {
    let arn = "arn:aws:lambda:us-west-2:123456789012:function:orders";
    local(async {
        let setting = Setting::start(Some((200, &[], "{}")), &format!("function = \"{arn}\"")).await;
        assert_eq!(setting.function().region, "us-west-2");
        setting.call("{}").await.unwrap();
        let seen = setting.seen.lock().unwrap();
        let path =
            "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-west-2%3A123456789012%3Afunction%3Aorders/invocations";
        assert_eq!(seen[0].0, path);
        assert!(!seen[0].1.contains_key("authorization"));
    })
    .await;
}

#[tokio::test]
async fn a_function_that_failed_is_told_by_each_runtime_in_its_way() {
    for (told, is_error) in [
        ((200, &[("x-amz-function-error", "Unhandled")][..], r#"{"errorMessage":"boom"}"#), true),
        ((500, &[("error-type", "Function.Error")][..], "{}"), true),
        // By the body alone, as the runtime interface emulator tells it: who reads the answer finds out.
        ((200, &[][..], r#"{"errorMessage":"boom"}"#), false),
    ] {
        local(async {
            let setting = Setting::start(Some(told), r#"function = "f""#).await;
            assert_eq!(setting.call("{}").await.unwrap().is_error, is_error);
        })
        .await;
    }
}

#[tokio::test]
async fn a_call_that_is_refused_late_or_too_large_is_told_as_such() {
    local(async {
        let headers = &[("x-amzn-errortype", "ResourceNotFoundException:http://x")][..];
        let told = (404, headers, r#"{"Message":"Function not found"}"#);
        let setting = Setting::start(Some(told), r#"function = "f""#).await;
        let error = setting.call("{}").await.unwrap_err();
        let text = "the function was not called: 404 Not Found, ResourceNotFoundException Function not found";
        assert_eq!(error.to_string(), text);

        let setting = Setting::start(None, r#"function = "f", timeout = "50ms""#).await;
        let error = setting.call("{}").await.unwrap_err();
        assert!(matches!(error, InvokeError::Timeout(_) | InvokeError::Send(SendError::Timeout(_))), "{error}");

        let large: &'static str = Box::leak("x".repeat(MOST_PAYLOAD_BYTES + 1).into_boxed_str());
        let setting = Setting::start(Some((200, &[], large)), r#"function = "f""#).await;
        assert!(matches!(setting.call("{}").await, Err(InvokeError::TooLarge)));
    })
    .await;
}
