//! What one request leaves behind: the access record, its spans, their OTLP form and the access-log line.
