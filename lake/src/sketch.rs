//! Latency sketches: what a metrics cell keeps of its latencies, so that quantiles of merged cells can be asked.
//!
//! A sketch is an HdrHistogram (<http://hdrhistogram.org>) in its V2 encoding without compression, which the
//! HdrHistogram libraries of every language read. What always holds: every sketch has the same bounds and the same
//! precision, so that any two can be merged and the merge equals recording everything at one place (I5).

use hdrhistogram::{
    Histogram,
    serialization::{DeserializeError, Deserializer, Serializer, V2Serializer},
};

/// The lowest latency that a sketch tells apart, microseconds; 0 counts as this.
pub const LOWEST_LATENCY_US: u64 = 1;

/// The highest latency that a sketch tells apart, microseconds: one hour; whatever is above counts as this.
pub const HIGHEST_LATENCY_US: u64 = 3_600_000_000;

/// Decimal digits that a value keeps: a quantile is off by less than 1 %.
const SIGNIFICANT_DIGITS: u8 = 2;

/// The most values that one sketch holds; what is recorded or merged beyond is not counted. It exists so that no sum of
/// counts can overflow: no gateway serves as many requests.
const MOST_VALUES: u64 = 1 << 62;

/// First bytes of the V2 encoding, and the length of its header.
const V2_COOKIE: [u8; 4] = [0x1c, 0x84, 0x93, 0x13];
const V2_HEADER_BYTES: usize = 40;

/// Bytes that are no sketch of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SketchError {
    /// Not an HdrHistogram in V2 encoding without compression.
    #[error("not an HdrHistogram in V2 encoding without compression")]
    Encoding,
    /// An HdrHistogram of other bounds or another precision; merging it would lose values.
    #[error(
        "an HdrHistogram from {low} to {high} with {digits} significant digits; \
         sketches here go from {LOWEST_LATENCY_US} to {HIGHEST_LATENCY_US} (µs) with {SIGNIFICANT_DIGITS}"
    )]
    Bounds {
        /// Its lowest discernible value.
        low: u64,
        /// Its highest trackable value.
        high: u64,
        /// Its significant decimal digits.
        digits: u32,
    },
    /// The counts are torn, or more than any gateway can have served.
    #[error("the counts of the HdrHistogram are damaged: {reason}")]
    Counts {
        /// What is wrong with them.
        reason: String,
    },
}

impl From<DeserializeError> for SketchError {
    fn from(error: DeserializeError) -> Self {
        Self::Counts { reason: error.to_string() }
    }
}

/// The distribution of some latencies.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    histogram: Histogram<u64>,
}

impl Default for Sketch {
    fn default() -> Self {
        Self::new()
    }
}

impl Sketch {
    /// An empty sketch.
    #[must_use]
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_LATENCY_US, HIGHEST_LATENCY_US, SIGNIFICANT_DIGITS)
            .expect("the bounds are constants that HdrHistogram allows");
        Self { histogram }
    }

    /// Records one latency, microseconds; beyond the bounds it counts as the bound.
    pub fn record(&mut self, latency_us: u64) {
        self.record_n(latency_us, 1);
    }

    /// Records one latency, microseconds, `count` times.
    pub fn record_n(&mut self, latency_us: u64, count: u64) {
        if count > 0 && self.has_room_for(count) {
            let latency_us = latency_us.clamp(LOWEST_LATENCY_US, HIGHEST_LATENCY_US);
            self.histogram.saturating_record_n(latency_us, count);
        }
    }

    /// Adds what another sketch has recorded.
    pub fn merge(&mut self, other: &Self) {
        if self.has_room_for(other.count()) {
            self.histogram.add(&other.histogram).expect("all sketches have the same bounds");
        }
    }

    /// Adds what an encoded sketch has recorded.
    ///
    /// # Errors
    /// When the bytes are no sketch; this one is then unchanged.
    pub fn merge_bytes(&mut self, bytes: &[u8]) -> Result<(), SketchError> {
        self.merge(&Self::from_bytes(bytes)?);
        Ok(())
    }

    /// The latency, microseconds, that this share of the recorded ones does not exceed: `quantile(0.99)` is the p99.
    ///
    /// The answer is at most 1 % above the recorded value. 0 for an empty sketch; `q` beyond 0 and 1 counts as 0 or 1.
    #[must_use]
    pub fn quantile(&self, q: f64) -> u64 {
        let q = if q.is_nan() { 0.0 } else { q.clamp(0.0, 1.0) };
        self.histogram.value_at_quantile(q)
    }

    /// How many latencies were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// The lowest recorded latency, microseconds, within the precision; 0 for an empty sketch.
    #[must_use]
    pub fn min(&self) -> u64 {
        self.histogram.min()
    }

    /// The highest recorded latency, microseconds, within the precision; 0 for an empty sketch.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.histogram.max()
    }

    /// The mean of the recorded latencies, microseconds, within the precision; 0 for an empty sketch.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.is_empty() { 0.0 } else { self.histogram.mean() }
    }

    /// Forgets what was recorded, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.histogram.reset();
    }

    /// The sketch in HdrHistogram's V2 encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(&self.histogram, &mut bytes)
            .expect("a sketch holds no more values than the encoding can, and memory takes every write");
        bytes
    }

    /// The sketch that these bytes encode.
    ///
    /// # Errors
    /// When they are not HdrHistogram's V2 encoding, or one with other bounds than ours.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SketchError> {
        let counts = check_header(bytes)?;
        // Nine of these bytes decode to i64::MIN, which the decoder negates; nothing that a serializer writes has them.
        if counts.windows(9).any(|window| window == [u8::MAX; 9]) {
            return Err(SketchError::Counts { reason: "a run of zeros is out of range".to_owned() });
        }
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..])?;
        if histogram.len() > MOST_VALUES {
            return Err(SketchError::Counts { reason: format!("{} values", histogram.len()) });
        }
        Ok(Self { histogram })
    }

    fn has_room_for(&self, count: u64) -> bool {
        self.count().saturating_add(count) <= MOST_VALUES
    }
}

/// Checks the header before anything is allocated by it; gives the bytes of the counts.
fn check_header(bytes: &[u8]) -> Result<&[u8], SketchError> {
    let (header, counts) = bytes.split_at_checked(V2_HEADER_BYTES).ok_or(SketchError::Encoding)?;
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let long = |at: usize| u64::from(number(at)) << 32 | u64::from(number(at + 4));
    if header[..4] != V2_COOKIE || usize::try_from(number(4)) != Ok(counts.len()) {
        return Err(SketchError::Encoding);
    }
    let (digits, low, high) = (number(12), long(16), long(24));
    if (digits, low, high) != (u32::from(SIGNIFICANT_DIGITS), LOWEST_LATENCY_US, HIGHEST_LATENCY_US) {
        return Err(SketchError::Bounds { low, high, digits });
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch(latencies: &[u64]) -> Sketch {
        let mut sketch = Sketch::new();
        latencies.iter().for_each(|latency| sketch.record(*latency));
        sketch
    }

    fn latencies() -> impl Strategy<Value = Vec<u64>> {
        let latency = prop_oneof![0..100u64, 0..HIGHEST_LATENCY_US, any::<u64>()];
        proptest::collection::vec(latency, 0..200)
    }

    proptest! {
        #[test]
        fn merging_equals_recording_everything(one in latencies(), other in latencies()) {
            let mut merged = sketch(&one);
            merged.merge_bytes(&sketch(&other).to_bytes()).unwrap();
            prop_assert_eq!(&merged, &sketch(&[one, other].concat()));
        }

        #[test]
        fn bytes_read_back_as_the_sketch(latencies in latencies()) {
            let sketch = sketch(&latencies);
            prop_assert_eq!(Sketch::from_bytes(&sketch.to_bytes()), Ok(sketch.clone()));
            prop_assert_eq!(sketch.count(), latencies.len() as u64);
        }

        #[test]
        fn a_quantile_is_within_one_percent_of_the_recorded_value(mut latencies in latencies(), q in 0.0..=1.0f64) {
            prop_assume!(!latencies.is_empty());
            let quantile = sketch(&latencies).quantile(q);
            latencies.iter_mut().for_each(|latency| *latency = (*latency).clamp(LOWEST_LATENCY_US, HIGHEST_LATENCY_US));
            latencies.sort_unstable();
            let rank = ((q * latencies.len() as f64).ceil() as usize).max(1);
            let exact = latencies[rank - 1] as f64;
            prop_assert!((quantile as f64 - exact).abs() <= exact * 0.01 + 1.0, "{quantile} for {exact}");
        }

        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), counts in any::<bool>()) {
            if counts {
                let mut header = Sketch::new().to_bytes();
                header.truncate(V2_HEADER_BYTES);
                header[4..8].copy_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
                bytes = [header, bytes].concat();
            }
            if let Ok(sketch) = Sketch::from_bytes(&bytes) {
                prop_assert!(sketch.quantile(0.5) <= sketch.max());
            }
        }
    }

    #[test]
    fn a_value_beyond_the_bounds_counts_as_the_bound() {
        let sketch = sketch(&[0, u64::MAX]);
        assert_eq!((sketch.count(), sketch.min()), (2, LOWEST_LATENCY_US));
        assert!(sketch.max().abs_diff(HIGHEST_LATENCY_US) <= HIGHEST_LATENCY_US / 100, "{}", sketch.max());
    }

    #[test]
    fn an_empty_sketch_answers_zero() {
        let sketch = Sketch::new();
        assert_eq!((sketch.count(), sketch.quantile(0.5), sketch.min(), sketch.max()), (0, 0, 0, 0));
        assert_eq!(sketch.mean(), 0.0);
    }

    #[test]
    fn an_odd_quantile_is_answered() {
        let sketch = sketch(&[10, 20]);
        assert_eq!((sketch.quantile(f64::NAN), sketch.quantile(-1.0), sketch.quantile(2.0)), (10, 10, 20));
    }

    #[test]
    fn counts_never_overflow() {
        let mut sketch = Sketch::new();
        sketch.record_n(7, MOST_VALUES);
        sketch.record(7);
        sketch.merge(&sketch.clone());
        assert_eq!((sketch.count(), sketch.quantile(0.99)), (MOST_VALUES, 7));
        assert_eq!(Sketch::from_bytes(&sketch.to_bytes()), Ok(sketch));
    }

    #[test]
    fn other_bounds_are_refused() {
        let mut bytes = Vec::new();
        let foreign = Histogram::<u64>::new_with_bounds(1, 1000, 3).unwrap();
        V2Serializer::new().serialize(&foreign, &mut bytes).unwrap();
        assert_eq!(Sketch::from_bytes(&bytes), Err(SketchError::Bounds { low: 1, high: 1000, digits: 3 }));
        assert_eq!(Sketch::from_bytes(b"no sketch"), Err(SketchError::Encoding));
    }
}
