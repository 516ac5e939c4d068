//! The walk over a message of logs: every record in turn, as a view, without building the message first.
//!
//! A message is taken or refused as a whole as far as its frame goes: requests, resources, scopes. From there on each
//! record stands alone: one that is broken is rejected with its reason, and the next one is read. What always holds:
//! the walk takes every message that `prost` takes, and reads it as `prost` would.

mod pair;

use std::borrow::Cow;

use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource};
use pair::{Pieces, any_value, take_pair, utf8};
use prost::Message;

use super::{
    DecodeError,
    decode::{Origin, micros},
    encode,
    meaning::Keys,
    view::AccessView,
    wire::{Field, Fields, WireError},
};
use crate::{Source, SpanId, TraceId, keys};

/// The longest record that is read, bytes on the wire.
pub const RECORD_BYTES: usize = 1_024 * 1_024;

/// Lists and maps within one another that an attribute's value may hold.
pub const NESTING: usize = 16;

/// What the records of one message may come to in memory, bytes: [`ROW_BYTES`] and its texts for each. A message of
/// many empty records, or with much in its resource, is small on the wire only.
pub const MESSAGE_ROWS_BYTES: usize = 64 * 1_024 * 1_024;

/// What a row takes beside its texts, bytes.
pub const ROW_BYTES: usize = 256;

/// Why a record was not taken, while the rest of its message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Rejection {
    /// Its bytes are no protobuf of a record.
    #[error("is no protobuf of a record")]
    Malformed,
    /// A text in it is not UTF-8, which protobuf demands.
    #[error("a text is not UTF-8")]
    InvalidUtf8,
    /// An attribute's value holds more than [`NESTING`] lists and maps within one another.
    #[error("a value is nested deeper than {NESTING} levels")]
    TooDeep,
    /// It is longer than [`RECORD_BYTES`].
    #[error("is longer than {RECORD_BYTES} bytes")]
    TooLarge,
    /// The records before it come to [`MESSAGE_ROWS_BYTES`] already.
    #[error("the rows of the message come to more than {MESSAGE_ROWS_BYTES} bytes")]
    Expansion,
    /// A span without a valid trace id and span id.
    #[error("has no valid trace id and span id")]
    NoIds,
}

impl Rejection {
    /// Every reason, in the order in which they are listed.
    pub const ALL: [Self; 6] =
        [Self::Malformed, Self::InvalidUtf8, Self::TooDeep, Self::TooLarge, Self::Expansion, Self::NoIds];

    /// The reason's name, as self metrics and logs give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::Expansion => "expansion",
            Self::NoIds => "no_ids",
        }
    }
}

impl From<WireError> for Rejection {
    fn from(_: WireError) -> Self {
        Self::Malformed
    }
}

/// The records of one resource, still in the message.
#[derive(Debug)]
pub struct LogsView<'a> {
    origin: Origin,
    scopes: Vec<Scope<'a>>,
}

#[derive(Debug)]
struct Scope<'a> {
    /// Its name, unless it is ours.
    name: Option<String>,
    /// The `ScopeLogs`, of sound structure.
    message: &'a [u8],
    records: usize,
}

/// The records in the protobuf of an `ExportLogsServiceRequest`, a view for each resource.
///
/// # Errors
/// When the bytes are no such message, as far as its frame goes. Records are read later, each for itself.
pub fn view_logs(bytes: &[u8]) -> Result<Vec<LogsView<'_>>, DecodeError> {
    let mut views = Vec::new();
    for field in Fields::new(bytes) {
        match field.map_err(wire)? {
            (1, Field::Bytes(resource_logs)) => views.push(resource_view(resource_logs)?),
            (1, _) => return Err(wire(WireError::Kind(1))),
            _ => {}
        }
    }
    Ok(views)
}

fn resource_view(message: &[u8]) -> Result<LogsView<'_>, DecodeError> {
    let mut resource = Resource::default();
    let mut scopes = Vec::new();
    for field in Fields::new(message) {
        match field.map_err(wire)? {
            (1, Field::Bytes(bytes)) => resource.merge(bytes).map_err(protobuf)?,
            (2, Field::Bytes(bytes)) => scopes.push(scope(bytes)?),
            (3, Field::Bytes(url)) => frame_text(url)?,
            (number @ 1..=3, _) => return Err(wire(WireError::Kind(number))),
            _ => {}
        }
    }
    Ok(LogsView { origin: Origin::read(Some(resource)), scopes })
}

fn scope(message: &[u8]) -> Result<Scope<'_>, DecodeError> {
    let (mut scope, mut records) = (InstrumentationScope::default(), 0);
    for field in Fields::new(message) {
        match field.map_err(wire)? {
            (1, Field::Bytes(bytes)) => scope.merge(bytes).map_err(protobuf)?,
            (2, Field::Bytes(_)) => records += 1,
            (3, Field::Bytes(url)) => frame_text(url)?,
            (number @ 1..=3, _) => return Err(wire(WireError::Kind(number))),
            _ => {}
        }
    }
    let name = Some(scope.name).filter(|name| !name.is_empty() && name != encode::SCOPE);
    Ok(Scope { name, message, records })
}

fn frame_text(bytes: &[u8]) -> Result<(), DecodeError> {
    std::str::from_utf8(bytes).map(drop).map_err(|source| DecodeError::Text { signal: "logs", source })
}

fn wire(source: WireError) -> DecodeError {
    DecodeError::Wire { signal: "logs", source }
}

fn protobuf(source: prost::DecodeError) -> DecodeError {
    DecodeError::Protobuf { signal: "logs", source }
}

impl LogsView<'_> {
    /// Who sent them.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.origin.source
    }

    /// How many records there are, those included that will be rejected.
    #[must_use]
    pub fn records(&self) -> usize {
        self.scopes.iter().map(|scope| scope.records).sum()
    }

    /// Gives each record in turn, or why it is rejected. `budget` is what the rest of the message may come to in
    /// memory: begin with [`MESSAGE_ROWS_BYTES`] and hand it from one resource to the next.
    pub fn for_each<'s>(&'s self, budget: &mut usize, mut take: impl FnMut(Result<&mut AccessView<'s>, Rejection>)) {
        let (mut view, mut keys) = (AccessView::default(), Keys::default());
        for scope in &self.scopes {
            for log in records_of(scope) {
                let read = self.read(scope, log, &mut keys, &mut view).and_then(|()| {
                    let rest = budget.checked_sub(ROW_BYTES + view.text_bytes()).ok_or(Rejection::Expansion)?;
                    *budget = rest;
                    Ok(&mut view)
                });
                take(read);
            }
        }
    }

    fn read<'s>(
        &'s self,
        scope: &'s Scope<'_>,
        log: &'s [u8],
        keys: &mut Keys<'s>,
        view: &mut AccessView<'s>,
    ) -> Result<(), Rejection> {
        if log.len() > RECORD_BYTES {
            return Err(Rejection::TooLarge);
        }
        view.reset();
        keys.restart();
        let mut said = Said::default();
        let mut fields = Fields::new(log);
        loop {
            while let Some(pair) = fields.next_bytes(ATTRIBUTE) {
                take_pair(pair, keys, view)?;
            }
            let Some(field) = fields.next() else { break };
            match field? {
                (ATTRIBUTE, Field::Bytes(pair)) => take_pair(pair, keys, view)?,
                field => said.take(field)?,
            }
        }
        let time = if said.time == 0 { said.observed } else { said.time };
        view.time_us = micros(time);
        view.trace_id = TraceId::from_slice(said.trace_id);
        view.span_id = SpanId::from_slice(said.span_id);
        view.sort();
        let mut keep = |key: &'static str, text: Cow<'s, str>| {
            if !text.is_empty() {
                view.inherit(Cow::Borrowed(key), text);
            }
        };
        if said.event_name != keys::EVENT_REQUEST {
            keep(keys::LOG_EVENT_NAME, Cow::Borrowed(said.event_name));
            keep(keys::LOG_SEVERITY, Cow::Borrowed(said.severity));
        }
        if let Some(body) = any_value(&said.body)? {
            keep(keys::LOG_BODY, body.into_text());
        }
        keep(keys::SCOPE_NAME, Cow::Borrowed(scope.name.as_deref().unwrap_or_default()));
        for (key, text) in &self.origin.attributes {
            view.inherit(Cow::Borrowed(key), Cow::Borrowed(text));
        }
        if view.api.is_empty() {
            view.api = Cow::Borrowed(&self.origin.source.service);
        }
        if let (true, Some(environment)) = (view.stage.is_empty(), &self.origin.environment) {
            view.stage = Cow::Borrowed(environment);
        }
        view.mark_loss();
        Ok(())
    }
}

fn records_of<'a>(scope: &Scope<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    Fields::new(scope.message).filter_map(|field| match field {
        Ok((2, Field::Bytes(log))) => Some(log),
        _ => None,
    })
}

/// Field of a `LogRecord`: its attributes, which are most of it.
const ATTRIBUTE: u32 = 6;

/// What a `LogRecord` says beside its attributes.
#[derive(Default)]
struct Said<'a> {
    time: u64,
    observed: u64,
    severity: &'a str,
    event_name: &'a str,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    body: Pieces<'a>,
}

impl<'a> Said<'a> {
    fn take(&mut self, (number, field): (u32, Field<'a>)) -> Result<(), Rejection> {
        match (number, field) {
            (1, Field::Fixed64(time)) => self.time = time,
            (11, Field::Fixed64(time)) => self.observed = time,
            (3, Field::Bytes(text)) => self.severity = utf8(text)?,
            (5, Field::Bytes(piece)) => self.body.add(piece),
            (9, Field::Bytes(id)) => self.trace_id = id,
            (10, Field::Bytes(id)) => self.span_id = id,
            (12, Field::Bytes(text)) => self.event_name = utf8(text)?,
            (2 | 7, Field::Varint(_)) | (8, Field::Fixed32) | (4 | 13.., _) => {}
            _ => return Err(Rejection::Malformed),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
