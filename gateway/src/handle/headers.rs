//! What headers a request and its response lose and gain on their way through the gateway.
//!
//! The rules are API Gateway's (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html>)
//! where it has any, and RFC 9110, section 7.6, for what concerns one connection alone.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{config::definitions::ApiKind, exchange::Exchange};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const EXTENDED_REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-apigw-id");
const HTTP_REQUEST_ID: HeaderName = HeaderName::from_static("apigw-requestid");
const REQUEST_ID_2: HeaderName = HeaderName::from_static("x-amz-id-2");
const S3_REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Headers that concern one connection alone, and what older peers send.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What else of a request may not go on.
const IN_PASSING: [HeaderName; 3] = [header::EXPECT, header::FORWARDED, FORWARDED_PORT];

/// Headers that a request gains on its way.
const GAINED: usize = 8;

/// Headers of a response that REST APIs give another name, since they have the like of them themselves or keep them.
const REMAPPED: [(HeaderName, HeaderName); 6] = [
    (header::AUTHORIZATION, HeaderName::from_static("x-amzn-remapped-authorization")),
    (header::DATE, HeaderName::from_static("x-amzn-remapped-date")),
    (header::MAX_FORWARDS, HeaderName::from_static("x-amzn-remapped-max-forwards")),
    (header::SERVER, HeaderName::from_static("x-amzn-remapped-server")),
    (header::USER_AGENT, HeaderName::from_static("x-amzn-remapped-user-agent")),
    (header::WWW_AUTHENTICATE, HeaderName::from_static("x-amzn-remapped-www-authenticate")),
];

/// The headers that the integration gets: those of the client, save what concerned its connection, and who it was.
pub(crate) fn to_integration(headers: &mut HeaderMap, host: &HeaderValue, exchange: &Exchange) {
    let client = &exchange.facts.client;
    let is_trusted = client.is_trusted_proxy();
    // Most requests have none of these: one look at their names costs less than looking each up.
    if headers.keys().any(|name| is_hop_by_hop(name) || IN_PASSING.contains(name)) {
        remove_hop_by_hop(headers);
        headers.remove(header::EXPECT);
        // What a stranger says of proxies before us is not passed on.
        if !is_trusted {
            headers.remove(header::FORWARDED);
            headers.remove(FORWARDED_PORT);
        }
    }
    headers.reserve(GAINED);
    let asked = headers.insert(header::HOST, host.clone());
    if !(is_trusted && headers.contains_key(FORWARDED_HOST)) {
        match asked.or_else(|| HeaderValue::from_str(exchange.record.domain.as_deref()?).ok()) {
            Some(asked) => drop(headers.insert(FORWARDED_HOST, asked)),
            None => drop(headers.remove(FORWARDED_HOST)),
        }
    }
    let clients = if is_trusted && headers.contains_key(FORWARDED_FOR) {
        // The last of several lines is of the nearest proxy: none may get lost.
        let before = headers.get_all(FORWARDED_FOR).iter();
        let lines: Vec<&[u8]> = before.map(HeaderValue::as_bytes).chain([client.peer_text().as_bytes()]).collect();
        HeaderValue::try_from(lines.join(&b", "[..]))
    } else {
        HeaderValue::from_str(client.peer_text())
    };
    if let Ok(clients) = clients {
        headers.insert(FORWARDED_FOR, clients);
    }
    if !(is_trusted && headers.contains_key(FORWARDED_PROTO)) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(exchange.scheme()));
    }
    headers.insert(REQUEST_ID, exchange.request_id.clone());
    exchange.trace.write(headers, exchange.is_sampled());
}

/// The headers that a function is told of: those of the client and who it was, as API Gateway's events have them.
pub(crate) fn to_function(headers: &mut HeaderMap, exchange: &Exchange) {
    let asked = headers.get(header::HOST).cloned();
    let asked = asked.or_else(|| HeaderValue::from_str(exchange.record.domain.as_deref()?).ok());
    let is_trusted = exchange.facts.client.is_trusted_proxy();
    let forwarded_host = headers.get(FORWARDED_HOST).filter(|_| is_trusted).cloned();
    to_integration(headers, &asked.unwrap_or_else(|| HeaderValue::from_static("")), exchange);
    match forwarded_host {
        Some(host) => drop(headers.insert(FORWARDED_HOST, host)),
        None => drop(headers.remove(FORWARDED_HOST)),
    }
    if !headers.contains_key(FORWARDED_PORT) {
        let port = if exchange.scheme() == "https" { "443" } else { "80" };
        headers.insert(FORWARDED_PORT, HeaderValue::from_static(port));
    }
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(REQUEST_ID);
}

/// What of an integration's headers does not go to the client.
pub(crate) fn from_integration(headers: &mut HeaderMap, exchange: &Exchange) {
    if headers.keys().any(is_hop_by_hop) {
        remove_hop_by_hop(headers);
    }
    if exchange.kind() == ApiKind::Rest {
        for (name, remapped) in &REMAPPED {
            while let Some(value) = headers.remove(name) {
                headers.append(remapped, value);
            }
        }
    }
}

/// What the client gets besides: the request's id, and what the limits say.
pub(crate) fn to_client(headers: &mut HeaderMap, exchange: &Exchange) {
    headers.insert(REQUEST_ID, exchange.request_id.clone());
    match exchange.kind() {
        ApiKind::Http => drop(headers.insert(HTTP_REQUEST_ID, exchange.request_id.clone())),
        ApiKind::Rest => {
            if let Ok(id) = HeaderValue::try_from(exchange.extended_request_id()) {
                headers.insert(EXTENDED_REQUEST_ID, id);
            }
        }
    }
    if let Some(cors) = exchange.facts.place.api().and_then(|api| api.cors.as_ref())
        && !exchange.is_preflight
    {
        cors.dress(exchange.origin.as_ref(), headers);
    }
    if let Some(limits) = &exchange.limits {
        limits.insert(headers);
    }
}

/// The integration's own ids of a request: `$context.awsEndpointRequestId` and `…2`.
pub(crate) fn ids_of_integration(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    (text(REQUEST_ID).or_else(|| text(S3_REQUEST_ID)), text(REQUEST_ID_2))
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    // The lengths that those names have.
    matches!(name.as_str().len(), 2 | 7 | 10 | 16..=19) && HOP_BY_HOP.contains(name)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if let header::Entry::Occupied(lines) = headers.entry(header::CONNECTION) {
        let (_, mut lines) = lines.remove_entry_mult();
        let (first, more): (_, Vec<_>) = (lines.next(), lines.collect());
        let lines = first.iter().chain(&more).filter_map(|line| line.to_str().ok());
        for name in lines.flat_map(|line| line.split(',')) {
            headers.remove(name.trim());
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_of_one_connection_is_found_by_its_length() {
        assert!(HOP_BY_HOP.iter().all(is_hop_by_hop));
        assert!(!is_hop_by_hop(&header::USER_AGENT));
    }
}
