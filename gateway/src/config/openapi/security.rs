//! Security schemes and requirements: what a client must prove itself with.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-authorizer.html>.
//!
//! What always holds: an operation is never more open than its document says; a requirement that cannot be checked is
//! a fault.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Hints, ImportedAuth as Auth, ImportedAuthorizer, ImportedLambdaAuthorizer, integration::function, node::Node,
};
use crate::{
    auth::jwt::identity::{EXPECTED as EXPECTED_SOURCE, IdentitySource},
    config::{
        authorizers::{CognitoDefinition, JwksSource, JwtDefinition, Pattern, UserPool, is_url},
        definitions::ApiKind,
    },
};

/// What an operation needs.
#[derive(Debug)]
pub(super) struct Needs {
    pub auth: Auth,
    pub scopes: Vec<String>,
    pub needs_api_key: bool,
}

/// What a scheme stands for.
#[derive(Clone, Debug)]
enum Scheme {
    ApiKey,
    Iam,
    Authorizer(Auth),
}

/// The document's schemes, each read when an operation first names it.
pub(super) struct Security<'r, 'd, 'h> {
    root: Node<'r, 'd>,
    hints: &'h Hints<'h>,
    /// By name; none for faulty ones.
    schemes: BTreeMap<String, Option<Scheme>>,
    authorizers: Vec<ImportedAuthorizer>,
}

impl<'r, 'd, 'h> Security<'r, 'd, 'h> {
    pub(super) fn new(root: &Node<'r, 'd>, hints: &'h Hints<'h>) -> Self {
        if hints.kind == ApiKind::Rest
            && let Some(security) = root.get("security")
            && !security.items().is_empty()
        {
            let problem = "stands at the root, where API Gateway ignores it for REST APIs";
            security.fault(problem, "security at each operation, or kind = \"http\"");
        }
        Self { root: root.clone(), hints, schemes: BTreeMap::new(), authorizers: Vec::new() }
    }

    /// The authorizers that operations named.
    pub(super) fn authorizers(self) -> Vec<ImportedAuthorizer> {
        self.authorizers
    }

    /// What a requirement's scheme stands for.
    fn scheme(&mut self, name: &str, requirement: &Node<'r, 'd>) -> Option<Scheme> {
        if let Some(known) = self.schemes.get(name) {
            return known.clone();
        }
        let scheme = self.root.get("components").and_then(|components| components.get("securitySchemes"));
        let scheme = match scheme.and_then(|schemes| schemes.get(name)) {
            Some(scheme) => scheme.resolved().and_then(|scheme| self.read_scheme(name, &scheme)),
            None => {
                requirement.fault("is no security scheme", "a name in components.securitySchemes");
                None
            }
        };
        self.schemes.insert(name.to_owned(), scheme.clone());
        scheme
    }

    fn read_scheme(&mut self, name: &str, scheme: &Node<'r, 'd>) -> Option<Scheme> {
        let text = |key: &str| scheme.get(key).and_then(|field| field.text());
        let authtype = text("x-amazon-apigateway-authtype");
        let types = ["awsSigv4", "custom", "cognito_user_pools", "oauth2"];
        if let Some(authtype) = authtype.filter(|authtype| !types.contains(authtype)) {
            scheme.fault(format!("has the authtype {authtype:?}"), format!("one of: {}", types.join(", ")));
            return None;
        }
        if authtype == Some("awsSigv4") {
            return Some(Scheme::Iam);
        }
        if let Some(authorizer) = scheme.get("x-amazon-apigateway-authorizer") {
            let own = format!("{}/{name}", self.hints.name);
            let (auth, definition) = read_authorizer(own, scheme, &authorizer, self.hints.kind)?;
            self.authorizers.push(definition);
            return Some(Scheme::Authorizer(auth));
        }
        if text("type") == Some("apiKey") {
            if authtype.is_none()
                && text("in") == Some("header")
                && text("name").is_some_and(|name| name.eq_ignore_ascii_case("x-api-key"))
            {
                return Some(Scheme::ApiKey);
            }
            scheme.fault("is no API key of the gateway, and has no authorizer", "name: x-api-key, in: header");
            return None;
        }
        let expected = "x-amazon-apigateway-authorizer, or x-amazon-apigateway-authtype: awsSigv4";
        scheme.fault("says what clients show, but not what checks it", expected);
        None
    }
}

/// What an operation needs: its own `security`, or else the document's (HTTP APIs).
pub(super) fn of_operation<'r, 'd>(operation: &Node<'r, 'd>, security: &mut Security<'r, 'd, '_>) -> Needs {
    let mut needs = Needs { auth: Auth::None, scopes: Vec::new(), needs_api_key: false };
    let documents = || security.root.get("security").filter(|_| security.hints.kind == ApiKind::Http);
    let requirements = operation.get("security").or_else(documents);
    for requirement in requirements.iter().flat_map(Node::items) {
        let entries = requirement.entries();
        if entries.is_empty() {
            requirement.fault("asks for nothing, beside what else may be shown", "security: [] for an open operation");
        }
        for (name, scopes) in entries {
            let scheme = security.scheme(name, &scopes);
            let own = scopes.texts();
            let has_scopes = matches!(scheme, Some(Scheme::Authorizer(Auth::Jwt(_) | Auth::Cognito(_))));
            if !own.is_empty() && scheme.is_some() && !has_scopes {
                scopes.fault("has scopes, but no token that could bear them", "[]");
            }
            needs.scopes.extend(own);
            match scheme {
                None => {}
                Some(Scheme::ApiKey) => needs.needs_api_key = true,
                Some(Scheme::Iam) => one_only(&mut needs.auth, Auth::Iam, &scopes),
                Some(Scheme::Authorizer(auth)) => one_only(&mut needs.auth, auth, &scopes),
            }
        }
    }
    if let Some(kind) = operation.get("x-amazon-apigateway-auth").and_then(|auth| auth.get("type")) {
        match kind.text() {
            Some("AWS_IAM") => one_only(&mut needs.auth, Auth::Iam, &kind),
            Some("NONE") if needs.auth == Auth::None => {}
            Some("NONE") => kind.fault("is NONE, but the operation has an authorizer", "one of the two"),
            Some(other) => kind.fault(format!("is {other:?}"), "NONE or AWS_IAM"),
            None => {}
        }
    }
    needs
}

fn one_only(auth: &mut Auth, other: Auth, requirement: &Node<'_, '_>) {
    if *auth != Auth::None && *auth != other {
        requirement.fault("is a second authorizer of the operation", "one authorizer, and an API key beside it");
    }
    *auth = other;
}

const FIELDS: &[&str] = &[
    "type",
    "authorizerUri",
    "authorizerCredentials",
    "authorizerPayloadFormatVersion",
    "enableSimpleResponses",
    "identitySource",
    "jwtConfiguration",
    "identityValidationExpression",
    "authorizerResultTtlInSeconds",
    "providerARNs",
];

fn read_authorizer(
    name: String,
    scheme: &Node<'_, '_>,
    node: &Node<'_, '_>,
    kind: ApiKind,
) -> Option<(Auth, ImportedAuthorizer)> {
    node.refuse_others(FIELDS, &[], "an authorizer's fields, as docs/openapi.md lists them");
    let Some(field) = node.get("type") else {
        node.fault("has no type", "jwt, cognito_user_pools, token or request");
        return None;
    };
    let auth = match (field.text()?, kind) {
        ("jwt", ApiKind::Http) => Auth::Jwt(name.clone()),
        ("cognito_user_pools", ApiKind::Rest) => Auth::Cognito(name.clone()),
        ("token", ApiKind::Rest) | ("request", _) => {
            let lambda = read_lambda(name.clone(), scheme, node, kind)?;
            return Some((Auth::Lambda(name), ImportedAuthorizer::Lambda(lambda)));
        }
        ("jwt", _) => {
            field.fault("is jwt, which HTTP APIs have", "cognito_user_pools, token or request, or kind = \"http\"");
            return None;
        }
        ("cognito_user_pools" | "token", _) => {
            field.fault(format!("is {}, which REST APIs have", field.value()), "jwt or request, or kind = \"rest\"");
            return None;
        }
        (other, _) => {
            field.fault(format!("is {other:?}"), "jwt, cognito_user_pools, token or request");
            return None;
        }
    };
    let authorizer = match &auth {
        Auth::Jwt(_) => ImportedAuthorizer::Jwt(read_jwt(name, node)?),
        _ => ImportedAuthorizer::Cognito(Box::new(read_cognito(name, scheme, node)?)),
    };
    Some((auth, authorizer))
}

/// Where the credentials stand: a text, in which commas separate several, or a list.
fn sources(node: &Node<'_, '_>) -> Vec<String> {
    let Some(field) = node.get("identitySource") else { return Vec::new() };
    let Some(text) = field.value().as_str() else { return field.texts() };
    text.split(',').map(|source| source.trim().to_owned()).collect()
}

/// The header that the scheme names: `name: Authorization`, `in: header`.
fn scheme_header(scheme: &Node<'_, '_>) -> Option<String> {
    scheme.get("in").filter(|place| place.value().as_str() == Some("header"))?;
    scheme.get("name")?.text().map(|name| format!("method.request.header.{name}"))
}

fn token_sources(node: &Node<'_, '_>, texts: &[String]) -> Vec<IdentitySource> {
    let parse = |text: &String| {
        let source = IdentitySource::parse(text);
        if source.is_none() {
            node.fault(format!("has the identitySource {text:?}"), EXPECTED_SOURCE);
        }
        source
    };
    texts.iter().filter_map(parse).collect()
}

fn read_jwt(name: String, node: &Node<'_, '_>) -> Option<JwtDefinition> {
    let Some(configuration) = node.get("jwtConfiguration") else {
        node.fault("has no jwtConfiguration", "jwtConfiguration with issuer and audience");
        return None;
    };
    configuration.refuse_others(&["issuer", "audience"], &[], "issuer and audience");
    let Some(field) = configuration.get("issuer") else {
        configuration.fault("has no issuer", "the issuer's https:// URL");
        return None;
    };
    let issuer = field.text()?.to_owned();
    if !is_url(&issuer) {
        field.fault(format!("is {issuer:?}, by which its keys cannot be found"), "the issuer's https:// URL");
    }
    let audience = configuration.get("audience").map(|audience| match audience.value().as_str() {
        Some(one) => vec![one.to_owned()],
        None => audience.texts(),
    });
    let audience = audience.unwrap_or_default();
    if audience.is_empty() || audience.len() > 50 {
        configuration.fault("has an audience that is empty, or too long", "1 to 50 audiences");
    }
    let mut texts = sources(node);
    if texts.is_empty() {
        texts.push("$request.header.Authorization".to_owned());
    }
    Some(JwtDefinition {
        name,
        issuer,
        audience,
        jwks: JwksSource::Discovery,
        ca: None,
        identity_source: token_sources(node, &texts),
        leeway: Duration::ZERO,
    })
}

fn read_cognito(name: String, scheme: &Node<'_, '_>, node: &Node<'_, '_>) -> Option<CognitoDefinition> {
    let mut texts = sources(node);
    if texts.is_empty() {
        texts.push(scheme_header(scheme).unwrap_or_else(|| "method.request.header.Authorization".to_owned()));
    }
    let Some(arns) = node.get("providerARNs") else {
        node.fault("has no providerARNs", "the ARNs of user pools");
        return None;
    };
    let parse = |arn: &Node<'_, '_>| {
        let pool = UserPool::parse(arn.text()?);
        if pool.is_none() {
            arn.fault(format!("is {}", arn.value()), "a user pool's ARN");
        }
        pool
    };
    let user_pools: Vec<_> = arns.items().iter().filter_map(parse).collect();
    if user_pools.is_empty() {
        arns.fault("is empty", "the ARNs of user pools");
    }
    let audience_pattern = node.get("identityValidationExpression").and_then(|field| {
        let fault = |error| field.fault(format!("is no regular expression: {error}"), "one");
        Pattern::parse(field.text()?).map_err(fault).ok()
    });
    let identity_source = token_sources(node, &texts);
    Some(CognitoDefinition { name, user_pools, ca: None, identity_source, audience_pattern })
}

fn read_lambda(
    name: String,
    scheme: &Node<'_, '_>,
    node: &Node<'_, '_>,
    kind: ApiKind,
) -> Option<ImportedLambdaAuthorizer> {
    let text = |key: &str| node.get(key).and_then(|field| field.text().map(str::to_owned));
    let is_token = text("type").as_deref() == Some("token");
    let mut identity_source = sources(node);
    if is_token && identity_source.is_empty() {
        identity_source.extend(scheme_header(scheme));
    }
    let default_ttl = if kind == ApiKind::Rest { 300 } else { 0 };
    let ttl = node.get("authorizerResultTtlInSeconds");
    let ttl_seconds = ttl.as_ref().and_then(Node::number).unwrap_or(default_ttl);
    if let Some(ttl) = ttl.filter(|_| ttl_seconds > 3600) {
        ttl.fault(format!("is {ttl_seconds}"), "at most 3600");
    }
    let format = text("authorizerPayloadFormatVersion");
    let is_format_2 = match (format.as_deref(), kind) {
        (Some("2.0"), ApiKind::Http) => true,
        (Some("1.0"), _) | (None, ApiKind::Rest) => false,
        _ => {
            node.fault(
                "has no authorizerPayloadFormatVersion that can be",
                match kind {
                    ApiKind::Http => "\"1.0\" or \"2.0\"",
                    ApiKind::Rest => "none, or \"1.0\": REST APIs have no other",
                },
            );
            false
        }
    };
    let has_simple_responses = node.get("enableSimpleResponses").is_some_and(|value| value.boolean());
    if has_simple_responses && !is_format_2 {
        node.fault("has simple responses, which format 2.0 has", "authorizerPayloadFormatVersion: \"2.0\"");
    }
    let Some(uri) = node.get("authorizerUri") else {
        node.fault("has no authorizerUri", "the function's");
        return None;
    };
    Some(ImportedLambdaAuthorizer {
        name,
        function: function(&uri)?,
        credentials: text("authorizerCredentials"),
        is_token,
        identity_source,
        identity_pattern: text("identityValidationExpression"),
        ttl_seconds,
        is_format_2,
        has_simple_responses,
    })
}
