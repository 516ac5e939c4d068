//! AWS X-Ray's trace header in and out
//! (<https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>):
//! `X-Amzn-Trace-Id: Root=1-{8 digits}-{24 digits};Parent={16 digits};Sampled={0|1|?}`, in any order and case, and with
//! parts that others need (`Self`, `Lineage`), which go on as they came.

use http::{HeaderMap, HeaderName, HeaderValue};
use weir_record::{SpanId, TraceId};

/// `x-amzn-trace-id`.
pub(crate) const TRACE_HEADER: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Parts that we do not know take so much at most, bytes.
const MOST_OTHERS: usize = 512;

/// What a caller's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XRay {
    /// The trace.
    pub root: TraceId,
    /// The caller's segment.
    pub parent: Option<SpanId>,
    /// Whether the caller records this trace; none when it leaves that to us.
    pub sampled: Option<bool>,
    /// The other parts, each after a semicolon.
    others: String,
}

impl XRay {
    /// Reads the header; a malformed one, or one without a root, says nothing.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACE_HEADER).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (mut root, mut parent, mut sampled, mut others) = (None, None, None, String::new());
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=')?;
            if key.eq_ignore_ascii_case("root") {
                root = Some(parse_root(value)?);
            } else if key.eq_ignore_ascii_case("parent") {
                parent = value.to_ascii_lowercase().parse().ok();
            } else if key.eq_ignore_ascii_case("sampled") {
                sampled = match value {
                    "1" => Some(true),
                    "0" => Some(false),
                    _ => None,
                };
            } else if others.len() + part.len() < MOST_OTHERS {
                others.push(';');
                others.push_str(part);
            }
        }
        Some(Self { root: root?, parent, sampled, others })
    }
}

fn parse_root(text: &str) -> Option<TraceId> {
    let (time, random) = text.strip_prefix("1-")?.split_once('-')?;
    (time.len() == 8 && random.len() == 24).then(|| format!("{time}{random}").to_ascii_lowercase().parse().ok())?
}

/// A trace id as X-Ray writes it: `1-{8 digits}-{24 digits}`.
pub(crate) fn root(id: TraceId) -> String {
    let digits = id.digits();
    let text = String::from_utf8_lossy(&digits);
    format!("1-{}-{}", &text[..8], &text[8..])
}

/// Writes the header for the integration, whose caller is this span.
pub(super) fn write(headers: &mut HeaderMap, own: TraceId, caller: Option<&XRay>, parent: SpanId, sampled: bool) {
    const SHAPE: &[u8; 74] = b"Root=1-........-........................;Parent=................;Sampled=0";
    let mut value = *SHAPE;
    let digits = caller.map_or(own, |caller| caller.root).digits();
    value[7..15].copy_from_slice(&digits[..8]);
    value[16..40].copy_from_slice(&digits[8..]);
    value[48..64].copy_from_slice(&parent.digits());
    value[73] += u8::from(sampled);
    let value = match caller.filter(|caller| !caller.others.is_empty()) {
        None => HeaderValue::from_bytes(&value),
        Some(caller) => HeaderValue::from_bytes(&[&value[..], caller.others.as_bytes()].concat()),
    };
    if let Ok(value) = value {
        headers.insert(TRACE_HEADER, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
    const ID: &str = "5759e988bd862e3fe1be46a994272793";

    #[test]
    fn parts_are_read_in_any_order_and_case() {
        let parent = Some("53995c3f42cd8ad8".parse().unwrap());
        for (text, parent, sampled) in [
            (format!("Root={ROOT}"), None, None),
            (format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"), parent, Some(true)),
            (format!("sampled=0; PARENT=53995C3F42CD8AD8; root={ROOT}"), parent, Some(false)),
            (format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=?"), parent, None),
            (format!("Root={ROOT};Parent=none"), None, None),
        ] {
            let read = XRay::parse(&text).unwrap();
            assert_eq!((read.root.to_string(), read.parent, read.sampled), (ID.to_owned(), parent, sampled), "{text}");
        }
    }

    #[test]
    fn what_names_no_trace_says_nothing() {
        for text in
            ["", "Parent=53995c3f42cd8ad8", "Root=2-5759e988-bd862e3fe1be46a994272793", "Root=1-1-2", "x", "Root"]
        {
            assert_eq!(XRay::parse(text), None, "{text}");
        }
        let twice: HeaderMap = [ROOT, ROOT]
            .map(|root| (TRACE_HEADER, HeaderValue::try_from(format!("Root={root}")).unwrap()))
            .into_iter()
            .collect();
        assert_eq!(XRay::read(&twice), None);
    }

    #[test]
    fn what_others_need_goes_on_as_it_came() {
        let caller = XRay::parse(&format!("Self=1-a-b;Root={ROOT};Lineage=25:abc:0")).unwrap();
        let mut headers = HeaderMap::new();
        let span = "53995c3f42cd8ad8".parse().unwrap();
        write(&mut headers, ID.parse().unwrap(), Some(&caller), span, true);
        let expected = format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Self=1-a-b;Lineage=25:abc:0");
        assert_eq!(headers[TRACE_HEADER], expected);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let (trace, span) = (
                TraceId::from_slice(&trace.to_be_bytes()).unwrap(), SpanId::from_slice(&span.to_be_bytes()).unwrap(),
            );
            let mut headers = HeaderMap::new();
            write(&mut headers, trace, None, span, sampled);
            let read = XRay::read(&headers).unwrap();
            prop_assert_eq!((read.root, read.parent, read.sampled), (trace, Some(span), Some(sampled)));
            prop_assert_eq!(parse_root(&root(trace)), Some(trace));
        }

        #[test]
        fn no_text_stops_it(text in "\\PC{0,60}") {
            let _ = XRay::parse(&text);
        }
    }
}
