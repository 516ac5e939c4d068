//! An access record as it lies in a message: the fields are borrowed, nothing is copied that need not be.
//!
//! This is the one place that says what an attribute means: [`AccessRecord`] and the columns of the table both come from
//! a view. What always holds: the attributes stand in the order of their keys, each key once, within the bounds named
//! here; what was cut or left out is named among them.

use std::{borrow::Cow, str::FromStr};

use opentelemetry_proto::tonic::common::v1::any_value;

use super::{
    meaning::{Key, Meaning},
    value::{as_bool, as_integer, into_text},
};
use crate::{AccessRecord, CacheStatus, Outcome, SpanId, ThrottleScope, TraceId, keys};

/// The longest attribute value that is kept, bytes. A longer one is cut, and [`keys::CUT`] names it.
pub const ATTRIBUTE_BYTES: usize = 16 * 1_024;

/// Attributes that a record keeps beside its fields, those of its resource included. What is beyond is counted in
/// [`keys::LEFT_OUT`].
pub const MOST_ATTRIBUTES: usize = 256;

/// Bytes of keys and values that a record's attributes may take. What is beyond is counted in [`keys::LEFT_OUT`].
pub const ATTRIBUTES_BYTES: usize = 64 * 1_024;

type Text<'a> = Cow<'a, str>;

/// The fields of an [`AccessRecord`], as far as possible borrowed from a message. They mean what they mean there.
#[expect(missing_docs, reason = "the fields of AccessRecord, which says what they mean")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessView<'a> {
    pub time_us: i64,
    pub request_id: Text<'a>,
    pub api: Text<'a>,
    pub stage: Text<'a>,
    pub route: Text<'a>,
    pub method: Text<'a>,
    pub path: Text<'a>,
    pub protocol: Option<Text<'a>>,
    pub domain: Option<Text<'a>>,
    pub status: Option<u16>,
    pub outcome: Outcome,
    pub throttle_scope: Option<ThrottleScope>,
    pub latency_us: u64,
    pub integration_latency_us: Option<u64>,
    pub authorizer_latency_us: Option<u64>,
    pub integration_status: Option<u16>,
    pub authorizer_status: Option<u16>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub client_address: Option<Text<'a>>,
    pub user_agent: Option<Text<'a>>,
    pub principal: Option<Text<'a>>,
    pub api_key_id: Option<Text<'a>>,
    pub usage_plan: Option<Text<'a>>,
    pub cache: CacheStatus,
    pub canary: bool,
    pub trace_id: Option<TraceId>,
    pub span_id: Option<SpanId>,
    pub trace_kept: Option<bool>,
    pub error_message: Option<Text<'a>>,
    /// In the order of the keys, each key once.
    pub attributes: Vec<(Text<'a>, Text<'a>)>,
    /// What was cut or left out while reading.
    loss: Loss<'a>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Loss<'a> {
    cut: Vec<Text<'a>>,
    left_out: u64,
    attributes_bytes: usize,
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Integer(i64),
    Truth(bool),
    /// Whatever is rare: numbers with a fraction, bytes, lists, maps, and values that stand in pieces.
    Other(any_value::Value),
}

impl<'a> Value<'a> {
    pub(super) fn into_text(self) -> Text<'a> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Truth(true) => Cow::Borrowed("true"),
            Self::Truth(false) => Cow::Borrowed("false"),
            Self::Other(value) => Cow::Owned(into_text(value)),
        }
    }

    /// The value as a whole number, if it is one. Senders such as Envoy send every number as a text.
    fn number<T: TryFrom<u64>>(&self) -> Option<T> {
        let number = match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            Self::Text(text) => text.parse().ok(),
            Self::Truth(_) => None,
            Self::Other(value) => as_integer(value),
        };
        T::try_from(number?).ok()
    }

    fn truth(&self) -> Option<bool> {
        match self {
            Self::Truth(truth) => Some(*truth),
            Self::Text(text) => text.parse().ok(),
            Self::Integer(_) => None,
            Self::Other(value) => as_bool(value),
        }
    }

    fn name<T: FromStr>(&self) -> Option<T> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Other(any_value::Value::StringValue(text)) => text.parse().ok(),
            Self::Integer(_) | Self::Truth(_) | Self::Other(_) => None,
        }
    }
}

/// Takes the value if there is one; whether there was.
fn set<T>(field: &mut T, value: Option<T>) -> bool {
    value.map(|value| *field = value).is_some()
}

fn set_some<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    value.map(|value| *field = Some(value)).is_some()
}

impl<'a> AccessView<'a> {
    /// The gateway's own share of the latency: [`AccessRecord::gateway_latency_us`].
    #[must_use]
    pub fn gateway_latency_us(&self) -> u64 {
        let elsewhere =
            self.integration_latency_us.unwrap_or(0).saturating_add(self.authorizer_latency_us.unwrap_or(0));
        self.latency_us.saturating_sub(elsewhere)
    }

    /// Forgets the record, and keeps the memory.
    pub(super) fn reset(&mut self) {
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.clear();
        *self = Self { attributes, ..Self::default() };
    }

    /// Takes an attribute of the record: into its field, or else among the attributes, last of all so far.
    pub(super) fn take(&mut self, key: &Key<'a>, value: Value<'a>) {
        if self.assign(key.meaning, &value) {
            return;
        }
        let mut text = value.into_text();
        let is_cut = key.meaning != Meaning::Attribute && cut(&mut text, key.meaning.most_bytes());
        match self.text_field(key.meaning) {
            Some(Field::Said(field)) => *field = text,
            Some(Field::Optional(field)) => *field = Some(text),
            None => return self.push(Cow::Borrowed(key.text), text),
        }
        if is_cut {
            self.loss.cut.push(Cow::Borrowed(key.text));
        }
    }

    /// As [`Self::take`], of a text: most attributes are one.
    #[inline]
    pub(super) fn take_text(&mut self, key: &Key<'a>, text: &'a str) {
        match self.text_field(key.meaning) {
            _ if text.len() > key.meaning.most_bytes() => self.take(key, Value::Text(text)),
            Some(Field::Said(field)) => *field = Cow::Borrowed(text),
            Some(Field::Optional(field)) => *field = Some(Cow::Borrowed(text)),
            None => self.take(key, Value::Text(text)),
        }
    }

    /// The field of a text that the meaning names, if it does.
    #[inline]
    fn text_field(&mut self, meaning: Meaning) -> Option<Field<'_, 'a>> {
        Some(match meaning {
            Meaning::RequestId => Field::Said(&mut self.request_id),
            Meaning::Api => Field::Said(&mut self.api),
            Meaning::Stage => Field::Said(&mut self.stage),
            Meaning::Route => Field::Said(&mut self.route),
            Meaning::Method => Field::Said(&mut self.method),
            Meaning::Path => Field::Said(&mut self.path),
            Meaning::Protocol => Field::Optional(&mut self.protocol),
            Meaning::Domain => Field::Optional(&mut self.domain),
            Meaning::ClientAddress => Field::Optional(&mut self.client_address),
            Meaning::UserAgent => Field::Optional(&mut self.user_agent),
            Meaning::Principal => Field::Optional(&mut self.principal),
            Meaning::ApiKeyId => Field::Optional(&mut self.api_key_id),
            Meaning::UsagePlan => Field::Optional(&mut self.usage_plan),
            Meaning::ErrorMessage => Field::Optional(&mut self.error_message),
            _ => return None,
        })
    }

    /// Puts a value that is no text into its field; whether there is one, and the value fits.
    fn assign(&mut self, meaning: Meaning, value: &Value<'a>) -> bool {
        match meaning {
            Meaning::Status => set_some(&mut self.status, value.number()),
            Meaning::Outcome => set(&mut self.outcome, value.name()),
            Meaning::ThrottleScope => set_some(&mut self.throttle_scope, value.name()),
            Meaning::Latency => set(&mut self.latency_us, value.number()),
            Meaning::IntegrationLatency => set_some(&mut self.integration_latency_us, value.number()),
            Meaning::AuthorizerLatency => set_some(&mut self.authorizer_latency_us, value.number()),
            Meaning::IntegrationStatus => set_some(&mut self.integration_status, value.number()),
            Meaning::AuthorizerStatus => set_some(&mut self.authorizer_status, value.number()),
            Meaning::RequestBytes => set(&mut self.request_bytes, value.number()),
            Meaning::ResponseBytes => set(&mut self.response_bytes, value.number()),
            Meaning::Cache => set(&mut self.cache, value.name()),
            Meaning::Canary => set(&mut self.canary, value.truth()),
            Meaning::TraceKept => set_some(&mut self.trace_kept, value.truth()),
            _ => false,
        }
    }

    /// Appends an attribute, as far as the bounds let it.
    fn push(&mut self, key: Text<'a>, text: Text<'a>) {
        if let Some(text) = self.bounded(&key, text) {
            self.attributes.push((key, text));
        }
    }

    /// The attribute's text as it may be kept, unless there is no room for it.
    fn bounded(&mut self, key: &Text<'a>, mut text: Text<'a>) -> Option<Text<'a>> {
        let is_cut = cut(&mut text, ATTRIBUTE_BYTES);
        let bytes = self.loss.attributes_bytes + key.len() + text.len();
        if self.attributes.len() >= MOST_ATTRIBUTES || bytes > ATTRIBUTES_BYTES {
            self.loss.left_out += 1;
            return None;
        }
        self.loss.attributes_bytes = bytes;
        if is_cut {
            self.loss.cut.push(key.clone());
        }
        Some(text)
    }

    /// Brings what the record itself said in order: of one key the last value stands.
    pub(super) fn sort(&mut self) {
        self.attributes.sort_by(|one, other| one.0.cmp(&other.0));
        self.attributes.dedup_by(|later, earlier| {
            let repeated = later.0 == earlier.0;
            if repeated {
                std::mem::swap(later, earlier);
            }
            repeated
        });
    }

    /// Adds an attribute that the record did not bear itself. The attributes are [sorted](Self::sort).
    pub(super) fn inherit(&mut self, key: Text<'a>, text: Text<'a>) {
        if let Err(at) = self.attributes.binary_search_by(|known| known.0.cmp(&key))
            && let Some(text) = self.bounded(&key, text)
        {
            self.attributes.insert(at, (key, text));
        }
    }

    /// Sets an attribute of ours, whatever the record says. The attributes are [sorted](Self::sort).
    fn mark(&mut self, key: &'static str, text: String) {
        let mark = (Cow::Borrowed(key), Cow::Owned(text));
        match self.attributes.binary_search_by(|known| known.0.as_ref().cmp(key)) {
            Ok(at) => self.attributes[at] = mark,
            Err(at) => self.attributes.insert(at, mark),
        }
    }

    /// Names what was cut and counts what was left out.
    pub(super) fn mark_loss(&mut self) {
        if !self.loss.cut.is_empty() {
            let mut cut = std::mem::take(&mut self.loss.cut);
            cut.dedup();
            self.mark(keys::CUT, cut.join(","));
        }
        if self.loss.left_out > 0 {
            self.mark(keys::LEFT_OUT, self.loss.left_out.to_string());
        }
    }

    /// Files the record under another time; what the sender said is kept as [`keys::TIME_ORIGINAL`].
    pub fn correct_time(&mut self, time_us: i64) {
        self.mark(keys::TIME_ORIGINAL, self.time_us.to_string());
        self.time_us = time_us;
    }

    /// Bytes that the texts of the record take.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let said = [&self.request_id, &self.api, &self.stage, &self.route, &self.method, &self.path];
        let optional = [&self.protocol, &self.domain, &self.client_address, &self.user_agent, &self.principal];
        let more = [&self.api_key_id, &self.usage_plan, &self.error_message];
        let optional = optional.into_iter().chain(more).flatten();
        said.into_iter().chain(optional).map(|text| text.len()).sum::<usize>() + self.loss.attributes_bytes
    }
}

/// A field of text: of those that are empty when nothing was said, or of those that are none.
enum Field<'f, 'a> {
    Said(&'f mut Text<'a>),
    Optional(&'f mut Option<Text<'a>>),
}

/// Cuts a text to a length, between two characters; whether it had to.
fn cut(text: &mut Text<'_>, most_bytes: usize) -> bool {
    if text.len() <= most_bytes {
        return false;
    }
    let end = text.floor_char_boundary(most_bytes);
    match text {
        Cow::Borrowed(text) => *text = &text[..end],
        Cow::Owned(text) => text.truncate(end),
    }
    true
}

impl<'a> From<&'a AccessRecord> for AccessView<'a> {
    fn from(record: &'a AccessRecord) -> Self {
        fn borrowed(text: &str) -> Text<'_> {
            Cow::Borrowed(text)
        }
        let optional = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
        Self {
            time_us: record.time_us,
            request_id: borrowed(&record.request_id),
            api: borrowed(&record.api),
            stage: borrowed(&record.stage),
            route: borrowed(&record.route),
            method: borrowed(&record.method),
            path: borrowed(&record.path),
            protocol: optional(&record.protocol),
            domain: optional(&record.domain),
            status: record.status,
            outcome: record.outcome,
            throttle_scope: record.throttle_scope,
            latency_us: record.latency_us,
            integration_latency_us: record.integration_latency_us,
            authorizer_latency_us: record.authorizer_latency_us,
            integration_status: record.integration_status,
            authorizer_status: record.authorizer_status,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            client_address: optional(&record.client_address),
            user_agent: optional(&record.user_agent),
            principal: optional(&record.principal),
            api_key_id: optional(&record.api_key_id),
            usage_plan: optional(&record.usage_plan),
            cache: record.cache,
            canary: record.canary,
            trace_id: record.trace_id,
            span_id: record.span_id,
            trace_kept: record.trace_kept,
            error_message: optional(&record.error_message),
            attributes: record.attributes.iter().map(|(key, value)| (borrowed(key), borrowed(value))).collect(),
            loss: Loss::default(),
        }
    }
}

impl From<&AccessView<'_>> for AccessRecord {
    fn from(view: &AccessView<'_>) -> Self {
        let text = |text: &Text<'_>| text.as_ref().to_owned();
        let optional = |field: &Option<Text<'_>>| field.as_ref().map(text);
        Self {
            time_us: view.time_us,
            request_id: text(&view.request_id),
            api: text(&view.api),
            stage: text(&view.stage),
            route: text(&view.route),
            method: text(&view.method),
            path: text(&view.path),
            protocol: optional(&view.protocol),
            domain: optional(&view.domain),
            status: view.status,
            outcome: view.outcome,
            throttle_scope: view.throttle_scope,
            latency_us: view.latency_us,
            integration_latency_us: view.integration_latency_us,
            authorizer_latency_us: view.authorizer_latency_us,
            integration_status: view.integration_status,
            authorizer_status: view.authorizer_status,
            request_bytes: view.request_bytes,
            response_bytes: view.response_bytes,
            client_address: optional(&view.client_address),
            user_agent: optional(&view.user_agent),
            principal: optional(&view.principal),
            api_key_id: optional(&view.api_key_id),
            usage_plan: optional(&view.usage_plan),
            cache: view.cache,
            canary: view.canary,
            trace_id: view.trace_id,
            span_id: view.span_id,
            trace_kept: view.trace_kept,
            error_message: optional(&view.error_message),
            attributes: view.attributes.iter().map(|(key, value)| (text(key), text(value))).collect(),
        }
    }
}
