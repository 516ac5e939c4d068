//! Requests that others sign hold: curl's `--aws-sigv4`, botocore's signers, and a whole client of AWS's SDK for Python.
//!
//! curl 7.88 signs otherwise than AWS asks, and what it signs does not hold, neither here nor at AWS, when
//! - the query is not in order, or spelled in another way than AWS's (`?a`, `?a=b:c`, `?a=%2f`): it is signed as typed;
//! - the path has something to escape (`/a%20b`, `/a:b`) or to normalise (`/a//b`): it is not escaped once more;
//! - a header comes twice, is empty, or has a name that another's begins with (`a`, `a-b`);
//! - the body comes from `--upload-file` or `--form`: it is signed as empty, save with `x-amz-content-sha256:
//!   UNSIGNED-PAYLOAD`.
//!
//! Later versions do better (curl/curl#9717, #11794, #13754).
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails where it breaks off")]

mod install;

use std::{convert::Infallible, net::SocketAddr, process::Stdio, sync::Arc, time::SystemTime};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command, task::JoinSet};
use weir_gateway::sigv4_from_outside::Signers;

const FILE: &str = "\
[alice]
aws_access_key_id = AKIDALICE
aws_secret_access_key = alice/secret+of=40
account_id = 111122223333
[robot]
aws_access_key_id = AKIDROBOT
aws_secret_access_key = robot-secret
aws_session_token = robot/session+token==
account_id = 111122223333
";

const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
const ROBOT: &str = "arn:aws:iam::111122223333:user/robot";

/// A server that answers who has signed a request, or why nobody has.
async fn serve(servers: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let signers = Arc::new(Signers::parse(FILE).unwrap());
    servers.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let signers = Arc::clone(&signers);
            connections.spawn(async move {
                let answer = service_fn(move |request| answer(Arc::clone(&signers), request));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    address
}

async fn answer(signers: Arc<Signers>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (request, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Ok(match signers.verify(&request, &body, SystemTime::now()) {
        Ok(arn) => Response::new(arn.into()),
        Err((error_type, message)) => {
            let body = json!({ "message": message }).to_string();
            Response::builder().status(403).header("x-amzn-errortype", error_type).body(body.into()).unwrap()
        }
    })
}

/// What a command prints.
async fn run(command: &mut Command) -> String {
    let child = command.env_remove("http_proxy").env("no_proxy", "*").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = child.await.unwrap_or_else(|error| panic!("{command:?} is needed by this test: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn what_botocore_signs_holds_and_what_it_signs_wrongly_is_told_in_words_of_aws() {
    let mut servers = JoinSet::new();
    let address = serve(&mut servers).await;
    let packages = install::botocore().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/signers/send.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(address.port().to_string()).env("PYTHONPATH", packages);
    let mut refused = Vec::new();
    let mut held = 0;
    for line in run(&mut command).await.lines() {
        let (name, status, error, body): (String, u16, Option<String>, String) = serde_json::from_str(line).unwrap();
        if let Some(name) = name.strip_prefix("refused: ") {
            assert_eq!(status, 403, "{line}");
            let message = serde_json::from_str::<Value>(&body).map(|body| body["message"].to_string());
            refused.push((name.to_owned(), error.unwrap(), message.unwrap_or_default()));
        } else {
            let expected = if name.ends_with("ROBOT") { ROBOT } else { ALICE };
            assert_eq!((status, body.as_str()), (200, expected), "{name}");
            held += 1;
        }
    }
    assert_eq!(held, 2 * (11 + 6) + 2);
    let expected = [
        ("client", "InvalidSignatureException", ""),
        ("another body", "InvalidSignatureException", "The request signature we calculated does not match"),
        ("wrong secret", "InvalidSignatureException", "The request signature we calculated does not match"),
        ("unknown key", "UnrecognizedClientException", "The security token included in the request is invalid."),
        ("another token", "UnrecognizedClientException", "The security token included in the request is invalid."),
        (
            "another service",
            "InvalidSignatureException",
            "Credential should be scoped to correct service: 'execute-api'.",
        ),
        ("not signed", "MissingAuthenticationTokenException", "Missing Authentication Token"),
        ("old", "InvalidSignatureException", "Signature expired: "),
        ("early", "InvalidSignatureException", "Signature not yet current: "),
        ("expired", "InvalidSignatureException", "Signature expired: "),
    ];
    assert_eq!(refused.len(), expected.len());
    for (told, (name, error, message)) in refused.iter().zip(expected) {
        assert_eq!((told.0.as_str(), told.1.as_str()), (name, error));
        assert!(told.2.trim_start_matches('"').starts_with(message), "{told:?}");
    }
}

#[tokio::test]
async fn what_curl_signs_holds() {
    let mut servers = JoinSet::new();
    let address = serve(&mut servers).await;
    let alice = ["--user", "AKIDALICE:alice/secret+of=40"];
    let robot = ["--user", "AKIDROBOT:robot-secret", "--header", "x-amz-security-token: robot/session+token=="];
    let unsigned = ["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "--upload-file", install::REQUIREMENTS];
    let cases: [(&str, &[&str], &[&str], &str); 9] = [
        ("/prod/orders/17", &alice, &unsigned, ALICE),
        ("/", &alice, &[], ALICE),
        ("/prod/orders/17", &alice, &["--request", "DELETE"], ALICE),
        ("/prod/orders?a=1&b=%2F&c=", &alice, &[], ALICE),
        ("/prod/orders", &alice, &["--json", "{\"name\":\"Jürgen\"}"], ALICE),
        ("/prod/orders", &alice, &["--header", "x-note:  a   b ", "--data", "a=1&b=2"], ALICE),
        ("/prod/orders", &robot, &[], ROBOT),
        ("/prod/orders", &robot, &["--data-binary", "whatever", "--request", "PUT"], ROBOT),
        ("/prod/orders", &["--user", "AKIDALICE:another"], &[], "{\"message\":\"The request signature we calculated"),
    ];
    for (target, user, more, expected) in cases {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--aws-sigv4", "aws:amz:eu-central-1:execute-api"]);
        command.args(user).args(more).arg(format!("http://{address}{target}"));
        let answer = run(&mut command).await;
        assert!(answer.starts_with(expected), "{target} {more:?}: {answer}");
    }
}
