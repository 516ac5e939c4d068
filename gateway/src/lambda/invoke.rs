//! Calls a function over Lambda's Invoke API
//! (<https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>), signed when there are credentials to sign with.
//!
//! What always holds: a call is sent at most once, and never takes longer than its time.

use std::{
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::{MOST_PAYLOAD_BYTES, name::FunctionName};
use crate::{
    body::UploadBody,
    config::{integration::substitute, lambda::FunctionDefinition},
    core::Core,
    integration::Upstreams,
    serving::ServingError,
    sigv4::{self, CredentialStore, Identities, SignError},
    timer::Deadlines,
    upstream::{Pool, SendError, Upstream},
};

/// The service in the scope of signatures.
const SERVICE: &str = "lambda";

const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
/// How newer local runtimes say that a function failed.
const ERROR_TYPE: HeaderName = HeaderName::from_static("error-type");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// What of an error's text is told to the operator, characters.
const MOST_TOLD: usize = 200;

/// A function, ready to be called.
#[derive(Debug)]
pub(crate) struct Function {
    /// What is asked.
    upstream: Arc<Upstream>,
    /// Path and query of a call.
    path: String,
    region: String,
    credentials: Option<Credentials>,
    /// How long a call may take.
    timeout: Duration,
}

/// With what calls are signed: a section of the file of credentials.
#[derive(Debug)]
struct Credentials {
    store: Arc<CredentialStore>,
    section: String,
}

/// What a call brought back.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status of the call; the function's own is in the payload.
    pub status: StatusCode,
    /// Lambda's id of the call.
    pub request_id: Option<String>,
    /// Whether the function failed, so far as headers say; its payload may say so too.
    pub is_error: bool,
    /// What the function returned.
    pub payload: Bytes,
}

/// A call that brought nothing back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvokeError {
    /// There was no answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The function took too long.
    #[error("the function did not answer within {0:?}")]
    Timeout(Duration),
    /// The answer is larger than Lambda lets it be.
    #[error("the function's answer is larger than {MOST_PAYLOAD_BYTES} bytes")]
    TooLarge,
    /// The answer broke off.
    #[error("the function's answer broke off: {0}")]
    Broken(String),
    /// Lambda did not call the function.
    #[error("the function was not called: {0}, {1}")]
    Refused(StatusCode, String),
    /// The file of credentials no longer has what calls are signed with.
    #[error("the file of credentials has no section [{0}]")]
    NoCredentials(String),
    /// The call cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Function {
    /// Makes a function ready to be called in a stage with these variables.
    ///
    /// # Errors
    /// When a file cannot be used, or lacks the credentials. The name was checked when it was configured.
    pub(crate) fn new(
        definition: &FunctionDefinition,
        variables: &BTreeMap<String, String>,
        upstreams: &mut Upstreams,
        store: Option<&Arc<CredentialStore>>,
    ) -> Result<Self, ServingError> {
        const CHECKED: &str = "the configuration checks the function in every stage";
        let name = substitute(&definition.function, variables).expect(CHECKED);
        let name = FunctionName::parse(&name).expect(CHECKED);
        let region = name.region.clone().unwrap_or_else(|| definition.region.clone());
        let endpoint = definition.endpoint_in(&region).expect(CHECKED);
        let credentials = match &definition.credentials {
            None => None,
            Some(section) => {
                let store = store.filter(|store| store.current().named(section).is_some());
                let store = store.ok_or_else(|| ServingError::NoCredentials(section.clone()))?;
                Some(Credentials { store: Arc::clone(store), section: section.clone() })
            }
        };
        let before = endpoint.path_and_query(|_| "", None);
        Ok(Self {
            upstream: upstreams.of(&endpoint, &definition.tls)?,
            path: name.path(before.trim_end_matches('/'), definition.qualifier.as_deref()),
            region,
            credentials,
            timeout: definition.timeout,
        })
    }

    /// Calls the function and waits for its answer. `context` has the headers of the trace.
    ///
    /// # Errors
    /// When nothing comes back. A function that failed is no error here.
    pub(crate) async fn call(&self, core: &Core, payload: Bytes, context: HeaderMap) -> Result<Reply, InvokeError> {
        self.call_over(&core.pool, &core.deadlines, payload, context).await
    }

    async fn call_over(
        &self,
        pool: &Rc<Pool<UploadBody>>,
        deadlines: &Deadlines,
        payload: Bytes,
        context: HeaderMap,
    ) -> Result<Reply, InvokeError> {
        let request = match &self.credentials {
            None => self.request(&payload, context, None, SystemTime::now())?,
            Some(Credentials { store, section }) => {
                let signer = (&*store.current(), section.as_str());
                self.request(&payload, context, Some(signer), SystemTime::now())?
            }
        };
        let request = Request::from_parts(request, UploadBody::whole(payload));
        let answered = async {
            let (response, lease) = pool.send(&self.upstream, request, deadlines.after(self.timeout)).await?;
            let (head, body) = response.into_parts();
            let payload = Limited::new(body, MOST_PAYLOAD_BYTES).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    InvokeError::TooLarge
                } else {
                    InvokeError::Broken(error.to_string())
                }
            })?;
            lease.give_back();
            reply(head.status, &head.headers, payload.to_bytes())
        };
        tokio::select! {
            answered = answered => answered,
            () = deadlines.after(self.timeout) => Err(InvokeError::Timeout(self.timeout)),
        }
    }

    /// The head of a call.
    fn request(
        &self,
        payload: &[u8],
        context: HeaderMap,
        signer: Option<(&Identities, &str)>,
        now: SystemTime,
    ) -> Result<Parts, InvokeError> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = http::Method::POST;
        // A name that was checked and encoded makes a path.
        head.uri = self.path.parse().unwrap_or_default();
        head.headers = context;
        head.headers.insert(header::HOST, self.upstream.host.clone());
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        head.headers.insert(INVOCATION_TYPE, HeaderValue::from_static("RequestResponse"));
        if let Some((identities, section)) = signer {
            let identity = identities.named(section);
            let identity = identity.ok_or_else(|| InvokeError::NoCredentials(section.to_owned()))?;
            sigv4::sign(&mut head, &sigv4::sha256(payload), identity, (&self.region, SERVICE), now)?;
        }
        Ok(head)
    }
}

/// What an answer of the Invoke API says.
fn reply(status: StatusCode, headers: &HeaderMap, payload: Bytes) -> Result<Reply, InvokeError> {
    let is_error = headers.contains_key(FUNCTION_ERROR) || headers.contains_key(ERROR_TYPE);
    if !status.is_success() && !is_error {
        return Err(InvokeError::Refused(status, what_is_wrong(headers, &payload)));
    }
    let request_id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    Ok(Reply { status, request_id, is_error, payload })
}

/// What AWS says of a call that it refuses.
fn what_is_wrong(headers: &HeaderMap, payload: &[u8]) -> String {
    let kind = headers.get("x-amzn-errortype").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let body: Value = serde_json::from_slice(payload).unwrap_or_default();
    let message = ["message", "Message", "errorMessage"].iter().find_map(|key| body.get(key)?.as_str());
    let message = message.map_or_else(|| String::from_utf8_lossy(payload), Into::into);
    let text = format!("{} {message}", kind.split(':').next().unwrap_or_default());
    text.trim().chars().map(|own| if own.is_control() { ' ' } else { own }).take(MOST_TOLD).collect()
}

#[cfg(test)]
mod tests;
