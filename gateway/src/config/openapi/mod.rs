//! An OpenAPI 3 document with API Gateway's extensions (`x-amazon-apigateway-*`), read as an API.
//!
//! What always holds: nothing that would change what a request gets is passed over in silence. What is supported comes
//! to [`Imported`]; what is not is a fault that names it and its place; only what documents (summaries, schemas,
//! examples) is left out. `docs/openapi.md` lists all three.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions.html>.

mod definition;
mod extensions;
pub mod fuzzing;
mod integration;
mod mock;
mod node;
mod operations;
mod security;
mod servers;
mod text;

use http::{HeaderMap, Method, StatusCode};
use weir_station::config::Fault;

use super::{
    authorizers::{CognitoDefinition, JwtDefinition},
    definitions::{ApiKind, Cors},
};
use crate::{responses::GatewayResponse, route::RouteKey};

pub(super) use definition::{Brought, read_document};

/// The largest document, bytes: API Gateway's limit.
pub(crate) const MOST_BYTES: usize = 6 << 20;

/// Routes of an API at most: API Gateway's limit.
const MOST_ROUTES: usize = 300;

/// Faults that are told of one document at most.
const MOST_FAULTS: usize = 50;

/// What the document itself does not say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hints<'h> {
    /// The API's name; its authorizers are called `{name}/{scheme}`.
    pub name: &'h str,
    /// Its kind.
    pub kind: ApiKind,
    /// What becomes of the base path that the document's servers have.
    pub basepath: BasePath,
    /// Names of the private services.
    pub services: &'h [String],
}

/// What becomes of the base path that the document's servers have:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-import-api-basePath.html>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BasePath {
    /// Nothing.
    #[default]
    Ignore,
    /// It stands before every path.
    Prepend,
    /// All of it but its first segment stands before every path.
    Split,
}

/// What a document says.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// Its operations.
    pub routes: Vec<ImportedRoute>,
    /// Those of its security schemes that its operations use and that are authorizers.
    pub authorizers: Vec<ImportedAuthorizer>,
    /// `x-amazon-apigateway-cors`.
    pub cors: Option<Cors>,
    /// `x-amazon-apigateway-gateway-responses`.
    pub gateway_responses: Vec<GatewayResponse>,
    /// `x-amazon-apigateway-binary-media-types`: what is binary in a Lambda function's events.
    pub binary_media_types: Vec<String>,
    /// `disableExecuteApiEndpoint`: domains alone lead to the API.
    pub disables_default_endpoint: bool,
}

/// An operation.
#[derive(Debug)]
pub(crate) struct ImportedRoute {
    /// What it is found by.
    pub key: RouteKey,
    /// Where its operation stands in the document: `#/paths/~1users/get`.
    pub place: String,
    /// What answers it.
    pub integration: ImportedIntegration,
    /// What a client must prove itself with.
    pub auth: ImportedAuth,
    /// One of these a token must bear; none for no scope.
    pub scopes: Vec<String>,
    /// Whether a client needs an API key.
    pub needs_api_key: bool,
}

/// What a client must prove itself with: names of authorizers are `{api}/{scheme}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImportedAuth {
    /// Nothing.
    None,
    /// A signature.
    Iam,
    /// A token that this JWT authorizer takes.
    Jwt(String),
    /// A token that this Cognito authorizer takes.
    Cognito(String),
    /// What this Lambda authorizer takes.
    Lambda(String),
}

/// What answers an operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ImportedIntegration {
    /// An HTTP server.
    HttpProxy(ImportedProxy),
    /// The gateway.
    Mock(ImportedMock),
    /// A Lambda function.
    Lambda(ImportedLambda),
}

/// `HTTP_PROXY`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ImportedProxy {
    /// Where it is, as [`crate::config::integration::HttpProxy::uri`].
    pub uri: String,
    /// The method that it is asked with; none for the client's.
    pub method: Option<Method>,
    /// How long it may take, milliseconds.
    pub timeout_ms: Option<u64>,
    /// The name that its certificate must bear.
    pub server_name: Option<String>,
    /// What of a request is changed.
    pub mapping: ImportedMapping,
}

/// `requestParameters` and `responseParameters` as they stand there: targets and sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImportedMapping {
    /// Of the request: (`append:header.x`, `$request.path`), or (`integration.request.header.x`, `'text'`).
    pub request: Vec<(String, String)>,
    /// Of responses by their status: (`overwrite:header.x`, `text`).
    pub responses: Vec<(String, Vec<(String, String)>)>,
}

impl ImportedMapping {
    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.request.is_empty() && self.responses.iter().all(|(_, pairs)| pairs.is_empty())
    }
}

/// `MOCK`: a fixed answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ImportedMock {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: String,
}

/// `AWS_PROXY` with a Lambda function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportedLambda {
    /// The function's name or ARN, with its alias; stage variables may stand in it.
    pub function: String,
    /// Whether its events have the format 2.0 (`payloadFormatVersion`); else 1.0.
    pub is_format_2: bool,
    /// The role that API Gateway would take on.
    pub credentials: Option<String>,
    /// How long it may take, milliseconds.
    pub timeout_ms: Option<u64>,
    /// What of a request is changed.
    pub mapping: ImportedMapping,
}

/// An authorizer, called `{api}/{scheme}`.
#[derive(Clone, Debug)]
pub(crate) enum ImportedAuthorizer {
    /// Takes JSON Web Tokens.
    Jwt(JwtDefinition),
    /// Takes tokens of Cognito user pools.
    Cognito(Box<CognitoDefinition>),
    /// Asks a Lambda function.
    Lambda(ImportedLambdaAuthorizer),
}

/// A Lambda authorizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportedLambdaAuthorizer {
    /// Its name.
    pub name: String,
    /// The function's name or ARN; stage variables may stand in it.
    pub function: String,
    /// The role that API Gateway would take on.
    pub credentials: Option<String>,
    /// Whether it is a `TOKEN` authorizer; else a `REQUEST` one.
    pub is_token: bool,
    /// Where what it judges stands: `method.request.header.Authorization`, `$request.header.Authorization`.
    pub identity_source: Vec<String>,
    /// What a token must look like (`TOKEN`).
    pub identity_pattern: Option<String>,
    /// How long its answer holds, seconds: 300 in REST APIs and 0 in HTTP APIs, unless the document says otherwise.
    pub ttl_seconds: u64,
    /// Whether it gets format 2.0; else 1.0.
    pub is_format_2: bool,
    /// Whether it answers `{"isAuthorized": true}`; else with a policy.
    pub has_simple_responses: bool,
}

/// Reads a document.
///
/// # Errors
/// All that is wrong with it. Paths are places in it: `#/paths/~1users/get`.
pub(crate) fn import(text: &[u8], hints: &Hints<'_>) -> Result<Imported, Vec<Fault>> {
    let fault =
        |problem: String, expected: &str| vec![Fault { path: "#".to_owned(), problem, expected: expected.to_owned() }];
    if text.len() > MOST_BYTES {
        return Err(fault(format!("has {} bytes", text.len()), "at most 6 MiB"));
    }
    let text = std::str::from_utf8(text)
        .map_err(|error| fault(format!("is no UTF-8: {error}"), "an OpenAPI 3 document in JSON or YAML"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = text::read(text).map_err(|problem| fault(problem, "an OpenAPI 3 document in JSON or YAML"))?;
    let reading = node::Reading::new(&root);
    let imported = operations::read(&reading.root(), hints);
    let mut faults = reading.faults();
    if faults.is_empty() {
        return Ok(imported);
    }
    let more = faults.len().saturating_sub(MOST_FAULTS);
    faults.truncate(MOST_FAULTS);
    if more > 0 {
        faults.extend(fault(format!("has {more} more faults"), "none"));
    }
    Err(faults)
}

#[cfg(test)]
mod tests;
