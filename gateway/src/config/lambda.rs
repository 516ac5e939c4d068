//! Lambda functions as integrations and as authorizers: `type = "lambda"`, `[[lambda_authorizer]]`.

use std::{collections::BTreeMap, time::Duration};

use weir_station::{
    config::{OneOrMany, Section},
    tls::ClientTlsConfig,
};

use super::{
    authorizers::Pattern,
    integration::{StageUri, substitute},
};
use crate::{
    auth::lambda::identity::{EXPECTED as EXPECTED_SOURCE, IdentitySource},
    lambda::name::{EXPECTED, FunctionName, is_qualifier},
};

/// How long an authorizer's function may take, and the longest that it may be given; API Gateway's limit.
const AUTHORIZER_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time that an authorizer's answer may be kept; API Gateway's limit.
const MOST_TTL: Duration = Duration::from_hours(1);

/// Where a function's calls go, and who signs them, unless it says otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct FunctionDefaults {
    /// `gateway.region`.
    pub region: String,
    /// Whether there is a file of credentials.
    pub has_credentials: bool,
}

/// A function.
#[derive(Clone, Debug)]
pub struct FunctionDefinition {
    /// Its name or ARN; may hold stage variables.
    pub function: String,
    /// Its version or alias.
    pub qualifier: Option<String>,
    /// The base of the Invoke API's URLs; none for AWS's own.
    pub endpoint: Option<String>,
    /// The region, where the name says none.
    pub region: String,
    /// The section of the file of credentials that calls are signed with; none for calls that are not signed.
    pub credentials: Option<String>,
    /// How the two recognise each other, by TLS.
    pub tls: ClientTlsConfig,
    /// How long a call may take.
    pub timeout: Duration,
}

/// A function that answers a route.
#[derive(Clone, Debug)]
pub struct LambdaProxy {
    /// The function.
    pub function: FunctionDefinition,
    /// The format of events and answers; none for that of the API's kind.
    pub payload: Option<PayloadVersion>,
}

/// The format of events and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadVersion {
    /// 1.0.
    V1,
    /// 2.0; HTTP APIs alone have it.
    V2,
}

/// A Lambda authorizer.
#[derive(Clone, Debug)]
pub struct LambdaAuthorizerDefinition {
    /// Its name.
    pub name: String,
    /// The function.
    pub function: FunctionDefinition,
    /// Whether it is told of a token alone (`TOKEN`), or of the request (`REQUEST`).
    pub is_token: bool,
    /// The format of its events in HTTP APIs.
    pub payload: PayloadVersion,
    /// Whether it answers `{"isAuthorized": …}` (2.0 alone).
    pub has_simple_responses: bool,
    /// What it decides by.
    pub(crate) identity: Vec<IdentitySource>,
    /// What a token looks like; others are refused unasked (`TOKEN` alone).
    pub(crate) validation: Option<Pattern>,
    /// How long an answer holds; zero for one request.
    pub ttl: Duration,
}

impl FunctionDefinition {
    fn read(section: &Section, timeout: Duration, defaults: &FunctionDefaults) -> Option<Self> {
        let qualifier = section.optional::<String>("qualifier");
        if let Some(text) = qualifier.as_deref().filter(|text| !is_qualifier(text)) {
            section.fault("qualifier", format!("is {text:?}"), "a version such as \"7\", an alias, or \"$LATEST\"");
        }
        let credentials = section.optional::<String>("credentials");
        if credentials.is_some() && !defaults.has_credentials {
            let expected = "gateway.iam_credentials_file, one of whose sections this names";
            section.fault("credentials", "names a section of no file", expected);
        }
        let read = Self {
            function: section.required("function")?,
            qualifier,
            endpoint: section.optional("endpoint"),
            region: section.value("region", defaults.region.clone()),
            credentials,
            tls: ClientTlsConfig::read(&section.section("tls")),
            timeout: section.value("timeout", timeout),
        };
        if let Err(problem) = read.endpoint_in(&read.region) {
            let expected = "the base of Lambda's URLs such as \"http://127.0.0.1:3001\"";
            section.fault("endpoint", problem, expected);
            return None;
        }
        Some(read)
    }

    /// Whether the function has a name in a stage with these variables.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(crate) fn check(&self, variables: &BTreeMap<String, String>) -> Result<(), (String, &'static str)> {
        let name = substitute(&self.function, variables).and_then(|name| FunctionName::parse(&name));
        name.map(drop).map_err(|problem| (problem, EXPECTED))
    }

    /// Where the Invoke API of a region is.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub(crate) fn endpoint_in(&self, region: &str) -> Result<StageUri, String> {
        let text = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None if region.starts_with("cn-") => format!("https://lambda.{region}.amazonaws.com.cn"),
            None => format!("https://lambda.{region}.amazonaws.com"),
        };
        let uri = StageUri::new(&text, &BTreeMap::new())?;
        let is_base = uri.parameters().next().is_none() && !text.contains(['?', '$']);
        if is_base { Ok(uri) } else { Err(format!("is {text:?}")) }
    }
}

impl LambdaProxy {
    /// Reads the table `integration` of a route.
    pub(super) fn read(section: &Section, timeout: Duration, defaults: &FunctionDefaults) -> Option<Self> {
        let payload = payload_version(section);
        let function = FunctionDefinition::read(section, timeout, defaults)?;
        Some(Self { function, payload })
    }
}

fn payload_version(section: &Section) -> Option<PayloadVersion> {
    match section.optional::<String>("payload_version")?.as_str() {
        "1.0" => Some(PayloadVersion::V1),
        "2.0" => Some(PayloadVersion::V2),
        other => {
            section.fault("payload_version", format!("is {other:?}"), "\"1.0\" or \"2.0\"");
            None
        }
    }
}

impl LambdaAuthorizerDefinition {
    /// Reads a `[[lambda_authorizer]]`.
    pub(super) fn read(section: &Section, defaults: &FunctionDefaults) -> Option<Self> {
        let name = section.required::<String>("name");
        let is_token = match section.value("kind", "request".to_owned()).as_str() {
            "token" => true,
            "request" => false,
            other => {
                section.fault("kind", format!("is {other:?}"), "\"token\" or \"request\"");
                false
            }
        };
        let payload = payload_version(section).unwrap_or(PayloadVersion::V2);
        let has_simple_responses = section.value("simple_responses", false);
        if has_simple_responses && (is_token || payload == PayloadVersion::V1) {
            let expected = "false, or kind = \"request\" with payload_version = \"2.0\"";
            section.fault("simple_responses", "is true", expected);
        }
        let ttl = section.value("ttl", Duration::from_secs(300));
        if ttl > MOST_TTL {
            section.fault("ttl", "is too long", "at most \"1h\", or \"0s\" for an answer that holds once");
        }
        let identity = identity(section, is_token, ttl);
        let validation = section.optional::<String>("validation").and_then(|text| {
            if !is_token {
                section.fault("validation", "is for tokens", "kind = \"token\", or no validation");
            }
            let fault = |error| section.fault("validation", format!("is {text:?}: {error}"), "a regular expression");
            Pattern::parse(&text).map_err(fault).ok()
        });
        let function = FunctionDefinition::read(section, AUTHORIZER_TIMEOUT, defaults)?;
        if let Err((problem, expected)) = function.check(&BTreeMap::new()) {
            section.fault("function", problem, expected);
            return None;
        }
        Some(Self { name: name?, function, is_token, payload, has_simple_responses, identity, validation, ttl })
    }
}

fn identity(section: &Section, is_token: bool, ttl: Duration) -> Vec<IdentitySource> {
    let default = OneOrMany(vec!["$request.header.Authorization".to_owned()]);
    let texts = section.value("identity_source", default).0;
    let parse = |text: &String| {
        let source = IdentitySource::parse(text);
        if source.is_none() {
            section.fault("identity_source", format!("has {text:?}"), EXPECTED_SOURCE);
        }
        source
    };
    let sources: Vec<_> = texts.iter().filter_map(parse).collect();
    if is_token && !matches!(sources[..], [IdentitySource::Header(_)]) {
        section.fault("identity_source", "is not one header", "\"method.request.header.NAME\" for kind = \"token\"");
    }
    if texts.is_empty() && !ttl.is_zero() {
        let expected = "what answers may be kept by, or ttl = \"0s\"";
        section.fault("identity_source", "is empty", expected);
    }
    sources
}
