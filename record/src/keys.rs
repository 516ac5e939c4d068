//! Every attribute key that Weir writes or reads by name. Nothing else in the workspace spells one.
//!
//! Where OpenTelemetry's semantic conventions have a name, it is used
//! (<https://opentelemetry.io/docs/specs/semconv/registry/attributes/>); they have none for gateways, so the rest
//! stand under `gateway.`, and what concerns the telemetry itself under `weir.`.

/// Event name of the access record.
pub const EVENT_REQUEST: &str = "gateway.request";

// Resource: who sends.
/// Logical name of the sending service.
pub const SERVICE_NAME: &str = "service.name";
/// Unique id of the sending process.
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
/// Deployment environment, the stage of senders that are no gateway.
pub const DEPLOYMENT_ENVIRONMENT: &str = "deployment.environment.name";
/// Number of the batch among the source's batches of this signal.
pub const BATCH_SEQUENCE: &str = "weir.batch.sequence";
/// Records offered to the sender of this signal since the source's start.
pub const RECORDS_OFFERED: &str = "weir.records.offered";
/// Records of this signal that the source dropped since its start.
pub const RECORDS_DROPPED: &str = "weir.records.dropped";
/// Whether another collector, which never answered, may have kept the batch too.
pub const BATCH_DOUBTFUL: &str = "weir.batch.doubtful";
/// Number of the last batch that another collector acknowledged.
pub const ELSEWHERE_SEQUENCE: &str = "weir.elsewhere.sequence";
/// What that batch told as [`RECORDS_OFFERED`].
pub const ELSEWHERE_OFFERED: &str = "weir.elsewhere.offered";
/// What that batch told as [`RECORDS_DROPPED`].
pub const ELSEWHERE_DROPPED: &str = "weir.elsewhere.dropped";

// Record and span, by OpenTelemetry's conventions.
/// Route template.
pub const HTTP_ROUTE: &str = "http.route";
/// Request method.
pub const HTTP_METHOD: &str = "http.request.method";
/// Scheme of the request: `http`, `https`.
pub const URL_SCHEME: &str = "url.scheme";
/// Port of the server that was asked.
pub const SERVER_PORT: &str = "server.port";
/// Query string, as far as it may be recorded.
pub const URL_QUERY: &str = "url.query";
/// The trace that AWS X-Ray's header named, where it is another than the record's.
pub const XRAY_TRACE_ID: &str = "aws.xray.trace_id";
/// Path without the query string.
pub const URL_PATH: &str = "url.path";
/// HTTP version.
pub const PROTOCOL_VERSION: &str = "network.protocol.version";
/// Host that the client asked for.
pub const SERVER_ADDRESS: &str = "server.address";
/// Status that the client got.
pub const HTTP_STATUS: &str = "http.response.status_code";
/// Bytes of the request body.
pub const HTTP_REQUEST_BYTES: &str = "http.request.body.size";
/// Bytes of the response body.
pub const HTTP_RESPONSE_BYTES: &str = "http.response.body.size";
/// Address of the client.
pub const CLIENT_ADDRESS: &str = "client.address";
/// `User-Agent` of the request.
pub const USER_AGENT: &str = "user_agent.original";
/// Who asked.
pub const PRINCIPAL: &str = "enduser.id";
/// What went wrong, in words.
pub const ERROR_MESSAGE: &str = "error.message";
/// Why a span failed, as a name.
pub const ERROR_TYPE: &str = "error.type";
/// Where the integration was reached.
pub const URL_FULL: &str = "url.full";

// Record and span, the gateway's own.
/// Unique id of the request.
pub const REQUEST_ID: &str = "gateway.request.id";
/// Name of the API.
pub const API: &str = "gateway.api";
/// Stage of the API.
pub const STAGE: &str = "gateway.stage";
/// Outcome of the request.
pub const OUTCOME: &str = "gateway.outcome";
/// The limit that refused.
pub const THROTTLE_SCOPE: &str = "gateway.throttle.scope";
/// Latency, microseconds.
pub const LATENCY: &str = "gateway.latency_us";
/// Integration latency, microseconds.
pub const INTEGRATION_LATENCY: &str = "gateway.integration.latency_us";
/// Authorizer latency, microseconds.
pub const AUTHORIZER_LATENCY: &str = "gateway.authorizer.latency_us";
/// Status of the integration's answer.
pub const INTEGRATION_STATUS: &str = "gateway.integration.status";
/// Status of the authorizer's answer.
pub const AUTHORIZER_STATUS: &str = "gateway.authorizer.status";
/// Id of the API key.
pub const API_KEY_ID: &str = "gateway.api_key.id";
/// Usage plan of the API key.
pub const USAGE_PLAN: &str = "gateway.usage_plan";
/// Whether the response cache answered.
pub const CACHE: &str = "gateway.cache";
/// Whether a canary served the request.
pub const CANARY: &str = "gateway.canary";
/// Whether the spans of the request's trace were kept.
pub const TRACE_KEPT: &str = "gateway.trace.kept";

// Where decoding puts what a log record says beside its attributes.
/// Event name of a log record that is not an access record.
pub const LOG_EVENT_NAME: &str = "log.event_name";
/// Body of a log record.
pub const LOG_BODY: &str = "log.body";
/// Severity text of a log record.
pub const LOG_SEVERITY: &str = "log.severity";
/// Name of the instrumentation scope.
pub const SCOPE_NAME: &str = "otel.scope.name";

// What we had to change of a record, said among its attributes.
/// Keys of the fields and attributes whose text was too long and was cut, with commas between them.
pub const CUT: &str = "weir.attributes.cut";
/// How many attributes were left out, because the record bore too many or too large ones.
pub const LEFT_OUT: &str = "weir.attributes.left_out";
/// The time that the sender said, microseconds since the Unix epoch, where it cannot be true.
pub const TIME_ORIGINAL: &str = "weir.time.original";
