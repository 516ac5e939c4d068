//! The head of an HTTP/1 request, read strictly: what has two readings is refused (RFC 9112).
//!
//! hyper parses the head again, and is more lenient. What always holds: where this says that a body ends, hyper says so
//! too, because only one way of saying it passes here: one `Content-Length` of digits alone, or one
//! `Transfer-Encoding: chunked`, never both.

use super::super::refused::Reason;

/// The longest method that is taken, bytes; the longest registered one has 17.
const MOST_METHOD_BYTES: usize = 32;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    /// Bytes of the request line and all headers together.
    pub header_bytes: usize,
    /// Bytes of the request target.
    pub url_bytes: usize,
    /// Number of headers.
    pub headers: usize,
}

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// A head that is whole and sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its bytes.
    pub len: usize,
    /// What follows it.
    pub framing: Framing,
    /// Whether it asks for a WebSocket: what comes then may not be HTTP.
    pub is_upgrade: bool,
}

/// Why there is no head yet, or never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHead {
    /// More has to come.
    Partial,
    /// It is not served.
    Refused(Reason),
}

impl From<Reason> for NoHead {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

/// A set of bytes.
type Set = [bool; 256];

const fn set(contains: &[u8], ranges: &[(u8, u8)]) -> Set {
    let mut set = [false; 256];
    let mut index = 0;
    while index < contains.len() {
        set[contains[index] as usize] = true;
        index += 1;
    }
    index = 0;
    while index < ranges.len() {
        let mut byte = ranges[index].0 as usize;
        while byte <= ranges[index].1 as usize {
            set[byte] = true;
            byte += 1;
        }
        index += 1;
    }
    set
}

const ALPHANUMERIC: &[(u8, u8)] = &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')];

/// `tchar` of RFC 9110, section 5.6.2.
pub(super) static TOKEN: Set = set(b"!#$%&'*+-.^_`|~", ALPHANUMERIC);

/// What may stand in a request target: RFC 3986, and the few more that clients send without encoding them.
static TARGET: Set = set(b"!$%&'()*+,-./:;=?@[]^_{|}~", ALPHANUMERIC);

/// What may stand in a header's value: RFC 9110, section 5.5, with `obs-text`.
pub(super) static VALUE: Set = set(b"\t", &[(b' ', b'~'), (0x80, 0xff)]);

/// What may stand in `Host`: RFC 3986, section 3.2.2, and the port.
static HOST: Set = set(b"!$%&'()*+-.:;=[]_~", ALPHANUMERIC);

/// A place in the bytes.
struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    fn next(&mut self) -> Result<u8, NoHead> {
        let byte = *self.bytes.get(self.at).ok_or(NoHead::Partial)?;
        self.at += 1;
        Ok(byte)
    }

    /// All bytes of the set that come, and the one after them, which is passed.
    fn run(&mut self, set: &Set) -> Result<(&'b [u8], u8), NoHead> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| !set[usize::from(*byte)]).ok_or(NoHead::Partial)?;
        self.at += len + 1;
        Ok((&rest[..len], rest[len]))
    }

    /// The LF after a CR.
    fn line_feed(&mut self) -> Result<(), NoHead> {
        if self.next()? == b'\n' { Ok(()) } else { Err(Reason::LineEnding.into()) }
    }
}

/// What the headers say that matters here.
#[derive(Default)]
struct Facts<'b> {
    headers: usize,
    host: Option<&'b [u8]>,
    length: Option<u64>,
    is_chunked: bool,
    is_upgrade: bool,
}

/// Checks the head that these bytes begin with.
pub(crate) fn check(bytes: &[u8], limits: &HeadLimits) -> Result<Head, NoHead> {
    // One empty line before the request is passed over: RFC 9112, section 2.2.
    if bytes == b"\r" {
        return Err(NoHead::Partial);
    }
    let mut cursor = Cursor { bytes, at: if bytes.starts_with(b"\r\n") { 2 } else { 0 } };
    let checked = read(&mut cursor, limits);
    match checked {
        Ok(head) if head.len > limits.header_bytes => Err(Reason::HeadersTooLarge.into()),
        Err(NoHead::Partial) if bytes.len() > limits.header_bytes => Err(Reason::HeadersTooLarge.into()),
        checked => checked,
    }
}

fn read(cursor: &mut Cursor<'_>, limits: &HeadLimits) -> Result<Head, NoHead> {
    let begun = cursor.at;
    let method = match cursor.run(&TOKEN) {
        Ok((method, b' ')) if (1..=MOST_METHOD_BYTES).contains(&method.len()) => method,
        Err(NoHead::Partial) if cursor.bytes.len() - begun <= MOST_METHOD_BYTES => return Err(NoHead::Partial),
        _ => return Err(Reason::RequestLine.into()),
    };
    let begun = cursor.at;
    let target = match cursor.run(&TARGET) {
        Ok((target, _)) if target.len() > limits.url_bytes => return Err(Reason::UriTooLong.into()),
        Err(_) if cursor.bytes.len() - begun > limits.url_bytes => return Err(Reason::UriTooLong.into()),
        Ok((target, b' ')) => target,
        Ok(_) => return Err(Reason::RequestLine.into()),
        Err(partial) => return Err(partial),
    };
    let authority = authority(method, target)?;
    let is_old = version(cursor)?;
    let mut facts = Facts::default();
    while header(cursor, &mut facts, is_old, limits)? {}
    check_host(facts.host, authority, is_old)?;
    let framing = match facts.length {
        Some(_) if facts.is_chunked => return Err(Reason::Framing.into()),
        Some(length) => Framing::Length(length),
        None if facts.is_chunked => Framing::Chunked,
        None => Framing::Length(0),
    };
    Ok(Head { len: cursor.at, framing, is_upgrade: facts.is_upgrade && !is_old })
}

/// Checks the form of the target (RFC 9112, section 3.2); the authority of its absolute form.
fn authority<'b>(method: &[u8], target: &'b [u8]) -> Result<Option<&'b [u8]>, Reason> {
    match target {
        _ if method == b"CONNECT" => Err(Reason::Connect),
        [b'/', ..] => Ok(None),
        b"*" if method == b"OPTIONS" => Ok(None),
        _ => {
            let scheme = [b"http://".as_slice(), b"https://"].into_iter();
            let mut rest = scheme.filter_map(|scheme| {
                let (own, rest) = target.split_at_checked(scheme.len())?;
                own.eq_ignore_ascii_case(scheme).then_some(rest)
            });
            let authority = rest.next().and_then(|rest| rest.split(|byte| b"/?".contains(byte)).next());
            authority.filter(|authority| !authority.is_empty()).map(Some).ok_or(Reason::RequestLine)
        }
    }
}

/// Whether it is HTTP/1.0.
fn version(cursor: &mut Cursor<'_>) -> Result<bool, NoHead> {
    const PREFIX: &[u8] = b"HTTP/1.";
    for expected in PREFIX {
        if cursor.next()? != *expected {
            return Err(Reason::Version.into());
        }
    }
    let minor = cursor.next()?;
    if !matches!(minor, b'0' | b'1') {
        return Err(Reason::Version.into());
    }
    match cursor.next()? {
        b'\r' => cursor.line_feed()?,
        b'\n' => return Err(Reason::LineEnding.into()),
        _ => return Err(Reason::Version.into()),
    }
    Ok(minor == b'0')
}

/// Reads a header; false at the empty line that ends the head.
fn header<'b>(
    cursor: &mut Cursor<'b>,
    facts: &mut Facts<'b>,
    is_old: bool,
    limits: &HeadLimits,
) -> Result<bool, NoHead> {
    let (name, after) = cursor.run(&TOKEN)?;
    match (name, after) {
        ([], b'\r') => return cursor.line_feed().map(|()| false),
        ([], b' ' | b'\t') if facts.headers > 0 => return Err(Reason::ObsFold.into()),
        (_, b'\r' | b'\n') => return Err(Reason::LineEnding.into()),
        ([_, ..], b':') => {}
        _ => return Err(Reason::Header.into()),
    }
    facts.headers += 1;
    if facts.headers > limits.headers {
        return Err(Reason::TooManyHeaders.into());
    }
    let (value, after) = cursor.run(&VALUE)?;
    match after {
        b'\r' => cursor.line_feed()?,
        b'\n' => return Err(Reason::LineEnding.into()),
        _ => return Err(Reason::Header.into()),
    }
    note(facts, name, value, is_old)?;
    Ok(true)
}

/// Notes what a header says of the request's end.
fn note<'b>(facts: &mut Facts<'b>, name: &[u8], value: &'b [u8], is_old: bool) -> Result<(), Reason> {
    // The length tells most names from these few.
    match name.len() {
        4 if name.eq_ignore_ascii_case(b"host") && facts.host.replace(value.trim_ascii()).is_some() => {
            Err(Reason::Host)
        }
        7 if name.eq_ignore_ascii_case(b"upgrade") => {
            facts.is_upgrade |= value.trim_ascii().eq_ignore_ascii_case(b"websocket");
            Ok(())
        }
        14 if is_same(name, b"content-length") => {
            is_plain(name)?;
            let length = length(value.trim_ascii()).ok_or(Reason::Framing)?;
            if facts.length.replace(length).is_some() { Err(Reason::Framing) } else { Ok(()) }
        }
        17 if is_same(name, b"transfer-encoding") => {
            is_plain(name)?;
            let is_sound = !is_old && !facts.is_chunked && value.trim_ascii().eq_ignore_ascii_case(b"chunked");
            facts.is_chunked = true;
            if is_sound { Ok(()) } else { Err(Reason::Framing) }
        }
        9.. if is_same_start(name, b"x-forwarded-") || is_same_start(name, b"x-amzn-") => is_plain(name),
        _ => Ok(()),
    }
}

fn is_same(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len() && is_same_start(name, other)
}

/// Whether a name begins so, where `_` counts as `-`: servers behind that turn both into one must not be deceived.
fn is_same_start(name: &[u8], start: &[u8]) -> bool {
    let dash = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() >= start.len() && name.iter().zip(start).all(|(own, other)| dash(*own) == *other)
}

fn is_plain(name: &[u8]) -> Result<(), Reason> {
    if name.contains(&b'_') { Err(Reason::AmbiguousName) } else { Ok(()) }
}

/// Digits alone, no zeros before them, less than 10^18.
fn length(value: &[u8]) -> Option<u64> {
    let is_sound = matches!(value.len(), 1..=18) && value.iter().all(u8::is_ascii_digit);
    if !is_sound || (value[0] == b'0' && value.len() > 1) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn check_host(host: Option<&[u8]>, authority: Option<&[u8]>, is_old: bool) -> Result<(), Reason> {
    let Some(host) = host else { return if is_old { Ok(()) } else { Err(Reason::Host) } };
    let is_sound = !host.is_empty() && host.iter().all(|byte| HOST[usize::from(*byte)]);
    let is_contradicted = authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(host));
    if is_sound && !is_contradicted { Ok(()) } else { Err(Reason::Host) }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
