//! `requestContext` of events.

use serde_json::{Map, Value, json};

use super::{Invocation, Shape, address, object};
use crate::{
    auth::jwt::Claims,
    context::{clf_time, extended_request_id},
    facts::{AuthorizerFacts, AuthorizerKind, Caller},
};

/// Of format 1.0.
pub(super) fn version_1(invocation: &Invocation<'_>, shape: Shape, path: &str) -> Value {
    let Invocation { route, record, facts, .. } = *invocation;
    let (stage, api) = (&route.stage, &route.stage.api);
    let is_rest = shape == Shape::Rest;
    let extended = if is_rest { extended_request_id(&record.request_id) } else { record.request_id.clone() };
    let mut context = object(json!({
        "accountId": api.account_id,
        "apiId": api.id,
        "domainName": record.domain,
        "domainPrefix": domain_prefix(record.domain.as_deref()),
        "extendedRequestId": extended,
        "httpMethod": record.method,
        "identity": identity(invocation, is_rest),
        "path": path,
        "protocol": protocol(invocation),
        "requestId": record.request_id,
        "requestTime": clf_time(record.time_us),
        "requestTimeEpoch": record.time_us / 1_000,
        "resourceId": is_rest.then_some(route.resource_id.as_str()),
        "resourcePath": route.key.template,
        "stage": stage.name,
    }));
    if is_rest {
        context.insert("deploymentId".to_owned(), stage.deployment_id.as_str().into());
    }
    if let Some(authorizer) = facts.authorizer.as_deref().and_then(|own| authorizer_1(own, is_rest)) {
        context.insert("authorizer".to_owned(), authorizer);
    }
    context.into()
}

/// Of format 2.0.
pub(super) fn version_2(invocation: &Invocation<'_>, raw_path: &str) -> Value {
    let Invocation { route, record, facts, .. } = *invocation;
    let (stage, api) = (&route.stage, &route.stage.api);
    let mut context = object(json!({
        "accountId": api.account_id,
        "apiId": api.id,
        "domainName": record.domain,
        "domainPrefix": domain_prefix(record.domain.as_deref()),
        "http": {
            "method": record.method,
            "path": raw_path,
            "protocol": protocol(invocation),
            "sourceIp": address(facts.address),
            "userAgent": record.user_agent.as_deref().unwrap_or_default(),
        },
        "requestId": record.request_id,
        "routeKey": route.key.to_string(),
        "stage": stage.name,
        "time": clf_time(record.time_us),
        "timeEpoch": record.time_us / 1_000,
    }));
    let authorizer = match (facts.authorizer.as_deref(), facts.caller.as_deref()) {
        (Some(authorizer), _) => authorizer_2(authorizer),
        (None, Some(caller)) => Some(json!({"iam": signer(caller)})),
        (None, None) => None,
    };
    if let Some(authorizer) = authorizer {
        context.insert("authorizer".to_owned(), authorizer);
    }
    context.into()
}

fn identity(invocation: &Invocation<'_>, is_rest: bool) -> Value {
    let Invocation { record, facts, headers, .. } = *invocation;
    let nobody = Caller::default();
    let caller = facts.caller.as_deref().unwrap_or(&nobody);
    let mut identity = object(json!({
        "accessKey": caller.access_key,
        "accountId": caller.account_id,
        "caller": caller.user_id,
        "cognitoAuthenticationProvider": null,
        "cognitoAuthenticationType": null,
        "cognitoIdentityId": null,
        "cognitoIdentityPoolId": null,
        "principalOrgId": caller.principal_org_id,
        "sourceIp": address(facts.address),
        "user": caller.user_id,
        "userAgent": record.user_agent,
        "userArn": caller.user_arn,
    }));
    if is_rest && let Some(id) = &record.api_key_id {
        let key = headers.get("x-api-key").and_then(|key| key.to_str().ok());
        identity.insert("apiKey".to_owned(), key.into());
        identity.insert("apiKeyId".to_owned(), id.as_str().into());
    }
    identity.into()
}

fn authorizer_1(own: &AuthorizerFacts, is_rest: bool) -> Option<Value> {
    match own.kind {
        AuthorizerKind::Lambda => {
            // The request has not passed its authorizer yet, whose event this is.
            own.principal_id.as_ref().or(own.context.as_ref().map(|_| &NOBODY))?;
            let mut members = own.context.as_deref().cloned().unwrap_or_default();
            members.insert("principalId".to_owned(), own.principal_id.as_deref().into());
            if is_rest {
                let latency_ms = own.integration_latency_us.unwrap_or(0) / 1_000;
                members.insert("integrationLatency".to_owned(), latency_ms.into());
            }
            Some(members.into())
        }
        AuthorizerKind::Jwt | AuthorizerKind::Cognito => {
            let claims = own.claims.as_deref()?;
            Some(match is_rest {
                true => json!({"claims": texts(claims)}),
                false => json!({"claims": texts(claims), "scopes": scopes(claims)}),
            })
        }
    }
}

/// A principal that was not named.
static NOBODY: String = String::new();

fn authorizer_2(own: &AuthorizerFacts) -> Option<Value> {
    match own.kind {
        AuthorizerKind::Lambda if own.phase.status == 0 && own.context.is_none() => None,
        AuthorizerKind::Lambda => Some(json!({"lambda": own.context.as_deref()})),
        AuthorizerKind::Jwt | AuthorizerKind::Cognito => {
            let claims = own.claims.as_deref()?;
            Some(json!({"jwt": {"claims": texts(claims), "scopes": scopes(claims)}}))
        }
    }
}

fn signer(caller: &Caller) -> Value {
    json!({
        "accessKey": caller.access_key,
        "accountId": caller.account_id,
        "callerId": caller.user_id,
        "cognitoIdentity": null,
        "principalOrgId": caller.principal_org_id,
        "userArn": caller.user_arn,
        "userId": caller.user_id,
    })
}

/// Claims as texts: `[a b]` for a list, as API Gateway writes it.
fn texts(claims: &Claims) -> Map<String, Value> {
    let texts = claims.all.keys().filter_map(|name| Some((name.clone(), claims.text(name)?.into())));
    texts.collect()
}

fn scopes(claims: &Claims) -> Option<&[String]> {
    Some(&claims.scopes[..]).filter(|scopes| !scopes.is_empty())
}

fn domain_prefix(domain: Option<&str>) -> Option<&str> {
    domain?.split(['.', ':']).next()
}

fn protocol(invocation: &Invocation<'_>) -> String {
    format!("HTTP/{}", invocation.record.protocol.as_deref().unwrap_or("1.1"))
}
