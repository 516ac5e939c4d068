//! A request and its response as the integration's mapping changes them.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use weir_record::Outcome;

use super::broken_upload;
use crate::{
    body::{Proxied, Upload, UploadBody},
    context::variable::About,
    exchange::Exchange,
    integration::{HttpProxy, Integration},
    mapping::{Around, BODY_BYTES, RequestChanges, RequestView},
    refusal::Refusal,
    target::Target,
};

/// The changes that a request undergoes; none without a mapping. Its body is read whole where a value is in it.
///
/// # Errors
/// When the client breaks off meanwhile, or sends too much.
pub(super) async fn request<'m>(
    proxy: &'m HttpProxy,
    request: &mut Request<UploadBody>,
    target: &Target<'_>,
    parameters: &[(&str, &str)],
    exchange: &Exchange,
    upload: &Upload,
) -> Result<Option<RequestChanges<'m>>, Refusal> {
    let Some(own) = &proxy.mapping else { return Ok(None) };
    let mut body = Bytes::new();
    if own.mapping.needs_request_body() {
        let coming = std::mem::replace(request.body_mut(), UploadBody::whole(Bytes::new()));
        body = coming.collect().await.map_err(|_| {
            broken_upload(upload, &exchange.facts.client).unwrap_or_else(|| Refusal::new(Outcome::ClientClosed))
        })?;
        *request.body_mut() = UploadBody::whole(body.clone());
    }
    let path = format!("/{}", target.rest(exchange.facts.below));
    let (headers, query) = (request.headers(), request.uri().query());
    let view = RequestView { headers, path: &path, parameters, query, body: &body };
    let about = About { record: &exchange.record, facts: &exchange.facts };
    Ok(Some(own.mapping.request_changes(&view, &Around { about, variables: &own.variables })))
}

/// The path and query after these changes.
///
/// # Errors
/// When what the client sent makes none that it may ask for.
pub(super) fn target(changes: &RequestChanges<'_>, made: String) -> Result<String, Refusal> {
    changes
        .target(made)
        .map_err(|fault| Refusal::with_detail(Outcome::BadRequestParameters, format!("mapped: {fault}")))
}

/// Changes what the integration answered.
pub(super) async fn response(response: &mut Response<Box<Proxied>>, exchange: &Exchange) {
    let Some(Integration::HttpProxy(proxy)) = exchange.facts.place.route().map(|route| &route.integration) else {
        return;
    };
    let Some(own) = &proxy.mapping else { return };
    let mut status = response.status();
    let body = if own.mapping.needs_response_body(status) {
        response.body_mut().beginning(BODY_BYTES).await
    } else {
        Vec::new()
    };
    let about = About { record: &exchange.record, facts: &exchange.facts };
    let around = Around { about, variables: &own.variables };
    own.mapping.change_response(&mut status, response.headers_mut(), &body, &around);
    if status != response.status() && matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // Its body is left where it is, and so the connection is of no use to others.
        response.body_mut().lease = None;
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    *response.status_mut() = status;
}
