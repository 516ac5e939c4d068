//! The harness of the whole-pipeline stories: processes, traffic, oracle, a real S3 server.
