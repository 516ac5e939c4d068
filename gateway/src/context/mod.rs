//! `$context`: what API Gateway calls what is known of a request.

use base64::{Engine, engine::general_purpose::STANDARD};

/// `$context.extendedRequestId` of REST APIs: the first eleven bytes of the request's id, as API Gateway writes its own.
pub(crate) fn extended_request_id(request_id: &str) -> String {
    let digits: Vec<u8> =
        request_id.bytes().filter_map(|digit| char::from(digit).to_digit(16)).map(|digit| digit as u8).collect();
    let bytes: Vec<u8> = digits.chunks_exact(2).take(11).map(|pair| pair[0] << 4 | pair[1]).collect();
    STANDARD.encode(bytes)
}
