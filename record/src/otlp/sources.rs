//! Who sent each batch of a message, without decoding what was sent: enough to know which batches were taken.

use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::{DecodeError, decode};
use crate::Source;

/// Both OTLP requests, as far as they are alike: each group of records stands under its resource.
#[derive(Message)]
struct Envelope {
    #[prost(message, repeated, tag = "1")]
    groups: Vec<Group>,
}

/// `ResourceLogs` or `ResourceSpans` without the records.
#[derive(Message)]
struct Group {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
}

/// The source of each batch in a message of logs or traces, in the order in which the full decoding gives them.
///
/// # Errors
/// When the bytes are no protobuf of such a message.
pub fn sources(bytes: &[u8]) -> Result<Vec<Source>, DecodeError> {
    let envelope =
        Envelope::decode(bytes).map_err(|source| DecodeError::Protobuf { signal: "logs or traces", source })?;
    Ok(envelope.groups.into_iter().map(|group| decode::source(group.resource)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccessRecord, BatchStamp, otlp};

    #[test]
    fn the_sources_are_those_of_the_full_decoding() {
        let source = |sequence| Source {
            service: "weir-gateway".into(),
            instance: "i".into(),
            stamp: Some(BatchStamp { sequence, offered: 7, dropped: 1, doubtful: sequence == 2, elsewhere: None }),
        };
        let mut logs = otlp::encode_logs(&source(1), &[AccessRecord::default()]);
        logs.extend(otlp::encode_logs(&source(2), &[]));
        assert_eq!(sources(&logs).unwrap(), [source(1), source(2)]);
        let decoded: Vec<_> = otlp::decode_logs(&logs).unwrap().into_iter().map(|batch| batch.source).collect();
        assert_eq!(sources(&logs).unwrap(), decoded);
        let traces = otlp::encode_traces(&source(3), &[]);
        assert_eq!(sources(&traces).unwrap(), [source(3)]);
    }
}
