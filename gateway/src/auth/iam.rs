//! IAM authorization: the request is signed (AWS Signature Version 4) by somebody whom the credentials file knows, and
//! whose policy allows it (<https://docs.aws.amazon.com/apigateway/latest/developerguide/permissions.html>).

use std::time::SystemTime;

use bytes::Bytes;
use http::header;
use weir_record::Outcome;

use super::Asking;
use crate::{
    body::UploadBody,
    facts::Caller,
    handle::broken_upload,
    refusal::Refusal,
    sigv4::{self, Claim, CredentialStore, Expected, Fault, FaultKind, Message, Signer},
};

/// The service in the scope of signatures.
const SERVICE: &str = "execute-api";

/// A body of a request whose signature may yet turn out to be false: anybody may make us keep so much of it.
const MOST_UNPROVEN_BYTES: u64 = 1 << 20;

/// Lets a signed request pass. Its signature does not go on to the integration.
pub(super) async fn admit(credentials: &CredentialStore, asking: Asking<'_>) -> Result<(), Refusal> {
    let region = asking.route.stage.api.region.clone();
    let expected = Expected { service: SERVICE, region: Some(&region) };
    let identities = credentials.current();
    let request = &*asking.request;
    let claim = sigv4::begin(
        &Message::of(request.method(), request.uri(), request.headers()),
        &expected,
        &identities,
        SystemTime::now(),
    );
    let signer = match claim.map_err(refusal)? {
        Claim::Holds(signer) => signer,
        Claim::NeedsBody(pending) => {
            let body = std::mem::replace(asking.request.body_mut(), UploadBody::whole(Bytes::new()));
            let body = if pending.is_proven() { body } else { body.up_to(MOST_UNPROVEN_BYTES) };
            let body = body.collect().await.map_err(|error| {
                let refusal = broken_upload(asking.upload, &asking.exchange.facts.client);
                refusal.unwrap_or_else(|| Refusal::with_detail(Outcome::ClientClosed, error.to_string()))
            })?;
            let signer = pending.finish(&sigv4::sha256(&body)).map_err(refusal)?;
            *asking.request.body_mut() = UploadBody::whole(body);
            signer
        }
    };
    asking.request.headers_mut().remove(header::AUTHORIZATION);
    let exchange = asking.exchange;
    exchange.record.principal = Some(signer.user_arn().to_owned());
    exchange.facts.caller = Some(Box::new(caller(&signer)));
    Ok(())
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
        error_type: Some((http::StatusCode::FORBIDDEN, fault.kind.error_type())),
        detail: fault.detail,
        ..Refusal::new(outcome)
    }
}
