//! A fixed answer, after a while if one is configured.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::sleep;

use crate::config::integration::Mock;

/// Answers.
pub(crate) async fn answer(mock: &Mock) -> Response<Bytes> {
    if mock.delay > Duration::ZERO {
        sleep(mock.delay).await;
    }
    let mut response = Response::new(mock.body.clone());
    *response.status_mut() = mock.status;
    response.headers_mut().clone_from(&mock.headers);
    response
}
