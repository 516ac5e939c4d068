//! IAM authorization: the request is signed (AWS Signature Version 4) by somebody whom the credentials file knows, and
//! whose policy allows it (<https://docs.aws.amazon.com/apigateway/latest/developerguide/permissions.html>).

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, header};
use weir_record::Outcome;

use super::{
    Asking,
    policy::{Circumstances, Decision},
};
use crate::{
    body::UploadBody,
    config::definitions::ApiKind,
    exchange::{Exchange, micros},
    facts::{Caller, Phase},
    handle::broken_upload,
    percent,
    refusal::Refusal,
    serving::Route,
    sigv4::{self, Claim, CredentialStore, Expected, Fault, FaultKind, Message, Moment, Signer},
    target::Target,
};

/// The service in the scope of signatures.
const SERVICE: &str = "execute-api";

/// What a signer does that calls a route.
pub(super) const ACTION: &str = "execute-api:Invoke";

/// API Gateway's limit on the ARN of a call.
const MOST_ARN_BYTES: usize = 1_600;

/// The header of a session's token.
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// A body of a request whose signature may yet turn out to be false: anybody may make us keep so much of it.
const MOST_UNPROVEN_BYTES: u64 = 1 << 20;

/// Lets a signed request pass. Its signature does not go on to the integration.
pub(super) async fn admit(credentials: &CredentialStore, asking: Asking<'_>) -> Result<(), Refusal> {
    let region = asking.route.stage.api.region.clone();
    let expected = Expected { service: SERVICE, region: Some(&region) };
    let identities = credentials.current();
    let request = &*asking.request;
    let begun = Instant::now();
    let claim = sigv4::begin(
        &Message::of(request.method(), request.uri(), request.headers()),
        &expected,
        &identities,
        SystemTime::now(),
    );
    let signer = match claim.map_err(|fault| refuse(asking.exchange, begun, fault))? {
        Claim::Holds(signer) => signer,
        Claim::NeedsBody(pending) => {
            let body = std::mem::replace(asking.request.body_mut(), UploadBody::whole(Bytes::new()));
            let body = if pending.is_proven() { body } else { body.up_to(MOST_UNPROVEN_BYTES) };
            let body = body.collect().await.map_err(|error| {
                let refusal = broken_upload(asking.upload, &asking.exchange.facts.client);
                refusal.unwrap_or_else(|| Refusal::with_detail(Outcome::ClientClosed, error.to_string()))
            })?;
            let signer = pending.finish(&sigv4::sha256(&body));
            let signer = signer.map_err(|fault| refuse(asking.exchange, begun, fault))?;
            *asking.request.body_mut() = UploadBody::whole(body);
            signer
        }
    };
    forget_signature(asking.request);
    let exchange = asking.exchange;
    exchange.facts.query = asking.request.uri().query().map(str::to_owned);
    exchange.facts.authenticate = Some(Phase { status: 200, latency_us: micros(begun.elapsed()), error: None });
    let begun = Instant::now();
    let resource = resource(asking.route, asking.request.method(), asking.target, exchange.facts.below)?;
    exchange.record.principal = Some(signer.user_arn().to_owned());
    exchange.facts.caller = Some(Box::new(caller(&signer)));
    let decision = signer.policy().map_or(Decision::Allow, |policy| {
        let circumstances = circumstances(exchange, asking.request.headers(), Some(signer.user_arn()));
        policy.decide(ACTION, &resource, &circumstances)
    });
    let refusal = match decision {
        Decision::Allow => None,
        denied => Some(denial(denied, signer.user_arn(), &resource)),
    };
    let status = if refusal.is_some() { 403 } else { 200 };
    let error = refusal.as_ref().and_then(|refusal| refusal.detail.clone());
    exchange.facts.authorize = Some(Phase { status, latency_us: micros(begun.elapsed()), error });
    refusal.map_or(Ok(()), Err)
}

/// Takes the signature out of a request, in whichever form it came: whoever is asked next must not be able to use it.
fn forget_signature(request: &mut Request<UploadBody>) {
    request.headers_mut().remove(header::AUTHORIZATION);
    request.headers_mut().remove(SECURITY_TOKEN);
    let Some(query) = request.uri().query() else { return };
    let is_signature = |pair: &&str| {
        let name = percent::decode(pair.split('=').next().unwrap_or_default(), true);
        sigv4::IN_QUERY.iter().chain([&sigv4::TOKEN_IN_QUERY]).any(|own| own.as_bytes() == &*name)
    };
    if !query.split('&').any(|pair| is_signature(&pair)) {
        return;
    }
    let others = query.split('&').filter(|pair| !is_signature(pair)).collect::<Vec<_>>().join("&");
    let path = request.uri().path();
    let target = if others.is_empty() { path.to_owned() } else { format!("{path}?{others}") };
    // What is left of a target is one.
    if let Ok(target) = target.parse() {
        *request.uri_mut() = target;
    }
}

/// What conditions of policies may look at.
pub(super) fn circumstances<'a>(
    exchange: &'a Exchange,
    headers: &'a HeaderMap,
    principal_arn: Option<&'a str>,
) -> Circumstances<'a> {
    Circumstances {
        source_ip: exchange.facts.address,
        user_agent: exchange.record.user_agent.as_deref(),
        referer: headers.get(header::REFERER).and_then(|value| value.to_str().ok()),
        is_secure: exchange.facts.client.tls.is_some(),
        now: Moment::from(SystemTime::now()),
        principal_arn,
    }
}

/// The signature does not hold.
fn refuse(exchange: &mut Exchange, begun: Instant, fault: Fault) -> Refusal {
    let error = fault.detail.clone().or_else(|| Some(fault.message.clone().into_owned()));
    exchange.facts.authenticate = Some(Phase { status: 403, latency_us: micros(begun.elapsed()), error });
    refusal(fault)
}

/// What a call is in policies: `arn:aws:execute-api:{region}:{account}:{api}/{stage}/{METHOD}/{path}`; in HTTP APIs with
/// the route's path, or `{stage}/$default` for the route that takes what no other does.
pub(super) fn resource(route: &Route, method: &Method, target: &Target<'_>, below: usize) -> Result<String, Refusal> {
    let (api, stage) = (&route.stage.api, &route.stage.name);
    let before = format!("arn:aws:execute-api:{}:{}:{}/{stage}", api.region, api.account_id, api.id);
    let arn = match (api.kind, &route.key.path) {
        (ApiKind::Rest, _) => format!("{before}/{method}/{}", target.rest(below)),
        (ApiKind::Http, Some(_)) => format!("{before}/{method}{}", route.key.template),
        (ApiKind::Http, None) => format!("{before}/{}", route.key.template),
    };
    if arn.len() > MOST_ARN_BYTES {
        return Err(Refusal::with_detail(Outcome::UriTooLong, "the path makes too long a resource for policies"));
    }
    Ok(arn)
}

/// As API Gateway tells it.
fn denial(decision: Decision, user_arn: &str, resource: &str) -> Refusal {
    let explicit = if decision == Decision::ExplicitDeny { " with an explicit deny" } else { "" };
    let message = format!("User: {user_arn} is not authorized to perform: {ACTION} on resource: {resource}{explicit}");
    // Who it was is the record's principal to say, or to keep back.
    let detail = format!("the signer's policy does not allow {resource}{explicit}");
    Refusal { message: Some(message), ..Refusal::with_detail(Outcome::AccessDenied, detail) }
}

fn caller(signer: &Signer) -> Caller {
    Caller {
        access_key: Some(signer.access_key().to_owned()),
        account_id: Some(signer.account_id().to_owned()),
        user_id: Some(signer.user_id().to_owned()),
        user_arn: Some(signer.user_arn().to_owned()),
        principal_org_id: signer.principal_org_id().map(str::to_owned),
    }
}

fn refusal(fault: Fault) -> Refusal {
    let outcome = match fault.kind {
        FaultKind::Missing => Outcome::MissingAuthenticationToken,
        FaultKind::Incomplete | FaultKind::Invalid | FaultKind::Expired => Outcome::InvalidSignature,
        FaultKind::Unrecognized => Outcome::AccessDenied,
        FaultKind::ExpiredToken => Outcome::ExpiredToken,
    };
    Refusal {
        message: Some(fault.message.into_owned()),
        error_type: Some(Box::new((http::StatusCode::FORBIDDEN, fault.kind.error_type()))),
        detail: fault.detail,
        ..Refusal::new(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_signature_goes_on() {
        let target = "/a?x=1&X-Amz-Signature=0&X%2dAmz-Credential=AKID&X-Amz-Security-Token=t&y=X-Amz-Date";
        let mut request = Request::get(target)
            .header(header::AUTHORIZATION, "AWS4-HMAC-SHA256 Signature=0")
            .header(SECURITY_TOKEN, "t")
            .header("x-other", "1")
            .body(UploadBody::whole(Bytes::new()))
            .unwrap();
        forget_signature(&mut request);
        assert_eq!(request.uri(), "/a?x=1&y=X-Amz-Date");
        assert_eq!(request.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-other"]);
    }
}
