//! Stands between a client's bytes and hyper, and lets only requests pass that have one reading.
//!
//! It follows the messages: head, body, next head. A head is passed on when it is whole and sound. In place of one that
//! is not, hyper gets a request of the gateway's own, the last one on the connection, for which the service gives the
//! refusal: so it comes after the responses to what was sent before, with a body, and is recorded. A body that breaks
//! the rules breaks off.
//!
//! What always holds: nothing after the first byte that is refused is interpreted; nothing is copied when heads come
//! whole.

pub(crate) mod chunk;
pub(crate) mod frames;
pub(crate) mod head;

use std::{
    io, mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use chunk::Chunk;
use frames::Frames;
use head::{Framing, HeadLimits, NoHead};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    refused::{Reason, Refused},
    stream::Stream,
    wire::{Late, Wire},
};

/// What hyper gets in place of a request that is refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// What is read at once of bytes that nobody wants.
const LINGER_BUFFER_BYTES: usize = 4_096;

/// Where in the client's bytes we are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Before a head, or in it.
    Head,
    /// In a body with so many bytes to come.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunk),
    /// After a request for a WebSocket: what comes may not be HTTP.
    Upgrade,
    /// After what was refused: nothing is read.
    Refused,
    /// In a body that has broken off.
    Broken(Reason),
    /// In HTTP/2.
    Frames(Frames),
    /// Past HTTP: everything passes.
    Open,
}

/// Why a look at bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// All of them are good.
    All,
    /// So many are good; the others are not yet known to be.
    Until(usize),
    /// So many are good; from there on nothing is.
    Refused(usize, Reason),
}

/// A client's bytes.
#[derive(Debug)]
pub(crate) struct Guard {
    stream: Stream,
    wire: Rc<Wire>,
    limits: HeadLimits,
    place: Place,
    /// Whether the head that is being passed asks for a WebSocket.
    is_upgrade: bool,
    /// Bytes that were read and not passed on: the first `good` of them may be, the others are a part of a head.
    held: Vec<u8>,
    good: usize,
    /// Whether something of `held` was not looked at.
    is_new: bool,
}

impl Guard {
    /// Guards HTTP/1, of which these bytes were read.
    pub(crate) fn new(stream: Stream, wire: Rc<Wire>, limits: HeadLimits, read: Vec<u8>) -> Self {
        let is_new = !read.is_empty();
        Self { stream, wire, limits, place: Place::Head, is_upgrade: false, held: read, good: 0, is_new }
    }

    /// Guards HTTP/2, of which these bytes were read. So many frames that ask for nothing may come in a tick.
    pub(crate) fn frames(stream: Stream, wire: Rc<Wire>, limits: HeadLimits, read: Vec<u8>, most: u32) -> Self {
        Self { place: Place::Frames(Frames::new(most)), ..Self::new(stream, wire, limits, read) }
    }

    /// The connection is HTTP no more: everything passes.
    pub(crate) fn open(&mut self) {
        self.place = Place::Open;
        self.good = self.held.len();
    }

    /// Takes back what hyper had read and not used: it was looked at before.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        self.held.splice(..0, bytes.iter().copied());
        self.good += bytes.len();
    }

    /// Waits until there is something to pass on or to read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        if self.held.is_empty() { self.stream.readable().await } else { Ok(()) }
    }

    /// Whether the client may be sending still what nobody will read.
    pub(crate) fn is_amid(&self) -> bool {
        self.place != Place::Head || !self.held.is_empty()
    }

    /// Reads on to the client's end, so that what it was told is not lost: a system that gets bytes for a closed
    /// connection resets it.
    pub(crate) async fn linger(&mut self, most_bytes: usize) {
        use tokio::io::AsyncReadExt;
        let (mut buffer, mut left) = (vec![0; LINGER_BUFFER_BYTES], most_bytes);
        while let Ok(read @ 1..) = self.stream.read(&mut buffer).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    }

    /// Looks at bytes that follow those looked at before.
    fn look(&mut self, bytes: &[u8]) -> Seen {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.place {
                Place::Head => match head::check(rest, &self.limits) {
                    Ok(head) => {
                        self.wire.in_head.set(false);
                        self.wire.heads.set(self.wire.heads.get() + 1);
                        self.is_upgrade = head.is_upgrade;
                        if head.is_upgrade {
                            self.wire.upgrade.set(self.wire.heads.get());
                        }
                        at += head.len;
                        match head.framing {
                            Framing::Length(0) => self.message_ends(),
                            Framing::Length(length) => self.body_begins(Place::Length(length)),
                            Framing::Chunked => self.body_begins(Place::Chunked(Chunk::START)),
                        }
                    }
                    Err(NoHead::Partial) => {
                        self.wire.head_begins();
                        return Seen::Until(at);
                    }
                    Err(NoHead::Refused(reason)) => return Seen::Refused(at, reason),
                },
                Place::Length(left) => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= len as u64;
                    let is_over = *left == 0;
                    at += len;
                    self.body_passes(len, is_over);
                }
                Place::Chunked(chunk) => match chunk.pass(rest) {
                    Ok(len) => {
                        let is_over = *chunk == Chunk::End;
                        at += len;
                        self.body_passes(len, is_over);
                    }
                    Err(bad) => return Seen::Refused(at + bad.at, bad.into()),
                },
                Place::Frames(frames) => match frames.pass(rest, self.wire.now.get()) {
                    Ok(()) => return Seen::All,
                    Err(bad) => return Seen::Refused(at + bad, Reason::Flood),
                },
                Place::Open => return Seen::All,
                Place::Upgrade | Place::Refused | Place::Broken(_) => return Seen::Until(at),
            }
        }
        Seen::All
    }

    fn body_begins(&mut self, place: Place) {
        self.wire.in_body.set(true);
        self.wire.body_bytes.set(0);
        self.place = place;
    }

    fn body_passes(&mut self, len: usize, is_over: bool) {
        self.wire.body_bytes.set(self.wire.body_bytes.get() + len as u64);
        if is_over {
            self.message_ends();
        }
    }

    fn message_ends(&mut self) {
        self.wire.in_body.set(false);
        self.place = if self.is_upgrade { Place::Upgrade } else { Place::Head };
    }

    /// Refuses what comes next, of which these bytes are known.
    fn refuse(&mut self, reason: Reason, bytes: &[u8]) {
        self.wire.in_head.set(false);
        self.wire.in_body.set(false);
        match self.place {
            Place::Head => {
                *self.wire.refused.borrow_mut() = Some(Refused::new(reason, bytes));
                self.wire.heads.set(self.wire.heads.get() + 1);
                self.hold_only(STAND_IN);
                self.place = Place::Refused;
            }
            Place::Frames(_) => {
                *self.wire.refused.borrow_mut() = Some(Refused::new(reason, &[]));
                self.hold_only(frames::FAULT);
                self.place = Place::Refused;
            }
            _ => {
                self.wire.broken.set(Some(reason));
                self.place = Place::Broken(reason);
            }
        }
    }

    fn hold_only(&mut self, bytes: &[u8]) {
        bytes.clone_into(&mut self.held);
        self.good = bytes.len();
        self.is_new = false;
    }

    /// Looks at what is held.
    fn look_at_held(&mut self) {
        self.is_new = false;
        let held = mem::take(&mut self.held);
        match self.look(&held) {
            Seen::All => self.good = held.len(),
            Seen::Until(good) => self.good = good,
            Seen::Refused(good, reason) => {
                self.refuse(reason, &held[good..]);
                // What was good goes first.
                let after = mem::take(&mut self.held);
                self.held = [&held[..good], &after].concat();
                self.good = self.held.len();
                return;
            }
        }
        self.held = held;
    }

    /// Acts on what was found since the last look: the client is late, or what came after its request is HTTP.
    fn attend(&mut self) {
        if let Some(late) = self.wire.late.take() {
            match (late, self.place) {
                (Late::Head, Place::Head) if self.wire.in_head.get() => {
                    let held = mem::take(&mut self.held);
                    self.refuse(Reason::HeadTimeout, &held);
                }
                (Late::Body, Place::Length(_) | Place::Chunked(_)) => self.refuse(Reason::BodyTimeout, &[]),
                _ => {}
            }
        }
        if self.place == Place::Upgrade && self.wire.stays_http.take() {
            self.place = Place::Head;
            self.is_new = !self.held.is_empty();
        }
    }

    /// Reads from the client behind what the buffer holds; how many bytes.
    fn read_some(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.wire.reads.set(read.is_pending());
        ready!(read)?;
        Poll::Ready(Ok(buffer.filled().len() - before))
    }
}

impl AsyncRead for Guard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.wire.late.get().is_some() || this.place == Place::Upgrade {
                this.attend();
            }
            if this.is_new {
                this.look_at_held();
            }
            if this.good > 0 {
                let len = this.good.min(buffer.remaining());
                buffer.put_slice(&this.held[..len]);
                this.held.drain(..len);
                this.good -= len;
                if this.held.is_empty() {
                    this.held = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            match this.place {
                // Whoever gives the answer polls again.
                Place::Upgrade | Place::Refused => return Poll::Pending,
                Place::Broken(reason) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, reason))),
                _ => {}
            }
            let before = buffer.filled().len();
            if ready!(this.read_some(cx, buffer))? == 0 {
                return Poll::Ready(Ok(()));
            }
            let bytes = &buffer.filled()[before..];
            if !this.held.is_empty() {
                this.held.extend_from_slice(bytes);
                // A head that comes byte by byte is looked at once a line, not once a byte.
                this.is_new = bytes.contains(&b'\n') || this.held.len() > this.limits.url_bytes;
                buffer.set_filled(before);
                continue;
            }
            let good = match this.look(bytes) {
                Seen::All => return Poll::Ready(Ok(())),
                Seen::Until(good) => {
                    this.held.extend_from_slice(&bytes[good..]);
                    good
                }
                Seen::Refused(good, reason) => {
                    this.refuse(reason, &bytes[good..]);
                    good
                }
            };
            buffer.set_filled(before + good);
            if good > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Guard {
    fn noted<T>(&self, written: Poll<T>) -> Poll<T> {
        self.wire.writes.set(written.is_pending());
        written
    }
}

impl AsyncWrite for Guard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.noted(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.noted(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
