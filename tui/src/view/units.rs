//! Numbers for people: three digits and a unit, at most six characters.
//!
//! What always holds: what is not zero never reads as zero, and a larger number never reads as a smaller one.

use std::time::Duration;

/// A latency of so many µs: `870µs`, `3.24ms`, `1.50s`, `16.7m`.
pub(super) fn latency(us: f64, unicode: bool) -> String {
    let micro = if unicode { "µs" } else { "us" };
    if us < 999.5 {
        return format!("{us:.0}{micro}");
    }
    scaled(us, &[(1e3, "ms"), (1e6, "s"), (60e6, "m"), (3.6e9, "h")])
}

/// A count: exact below a thousand, then `18.6k`, `1.25M`.
pub(super) fn count(count: u64) -> String {
    if count < 1_000 { count.to_string() } else { scaled(count as f64, &THOUSANDS) }
}

/// Something per second: `0.03`, `12.4`, `870`, `1.24k`.
pub(super) fn rate(rate: f64) -> String {
    if rate == 0.0 {
        "0".to_owned()
    } else if rate < 0.01 {
        "<0.01".to_owned()
    } else if rate < 999.5 {
        three_digits(rate)
    } else {
        scaled(rate, &THOUSANDS)
    }
}

/// A share of 0 to 1 in per cent: `0%`, `<0.01%`, `0.31%`, `12.4%`, `>99.9%`, `100%`.
pub(super) fn share(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent == 100.0 {
        format!("{percent:.0}%")
    } else if percent < 0.01 {
        "<0.01%".to_owned()
    } else if percent < 99.95 {
        format!("{}%", three_digits(percent))
    } else {
        ">99.9%".to_owned()
    }
}

/// An age: `12 s`, `3 min`, `2 h`.
pub(super) fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

/// An interval as it is typed: `500ms`, `1s`.
pub(super) fn interval(interval: Duration) -> String {
    match interval.as_millis() {
        millis if millis % 1_000 == 0 => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}

const THOUSANDS: [(f64, &str); 6] = [(1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"), (1e15, "P"), (1e18, "E")];

/// In the largest unit that leaves a number of at least one, once rounded.
fn scaled(number: f64, units: &[(f64, &str)]) -> String {
    let unit = units.iter().rev().find(|(size, _)| number / size >= 0.9995).or(units.first());
    let (size, name) = unit.copied().unwrap_or((1.0, ""));
    format!("{}{name}", three_digits(number / size))
}

fn three_digits(number: f64) -> String {
    if number < 9.995 {
        format!("{number:.2}")
    } else if number < 99.95 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn latencies_have_three_digits_and_a_unit() {
        let cases = [
            (0.0, "0µs"),
            (870.0, "870µs"),
            (999.0, "999µs"),
            (1_000.0, "1.00ms"),
            (3_240.0, "3.24ms"),
            (99_960.0, "100ms"),
            (999_999.0, "1.00s"),
            (59_000_000.0, "59.0s"),
            (1_000_000_000.0, "16.7m"),
            (3_600_000_000.0, "1.00h"),
        ];
        for (us, text) in cases {
            assert_eq!(latency(us, true), text);
        }
        assert_eq!(latency(870.0, false), "870us");
    }

    #[test]
    fn counts_rates_and_shares_read_as_written_here() {
        assert_eq!(
            [0, 999, 1_000, 18_630, 999_999, u64::MAX].map(count),
            ["0", "999", "1.00k", "18.6k", "1.00M", "18.4E"]
        );
        assert_eq!(
            [0.0, 0.001, 0.03, 12.44, 999.6, 1_242.0].map(rate),
            ["0", "<0.01", "0.03", "12.4", "1.00k", "1.24k"]
        );
        assert_eq!(
            [0.0, 0.00001, 0.0031, 0.124, 0.9999, 1.0].map(share),
            ["0%", "<0.01%", "0.31%", "12.4%", ">99.9%", "100%"]
        );
    }

    #[test]
    fn ages_and_intervals_read_as_written_here() {
        assert_eq!(
            [0, 119, 120, 7_199, 7_200].map(|s| age(Duration::from_secs(s))),
            ["0 s", "119 s", "2 min", "119 min", "2 h"]
        );
        assert_eq!([500, 1_000, 1_500].map(|ms| interval(Duration::from_millis(ms))), ["500ms", "1s", "1500ms"]);
    }

    /// What a text says, in the smallest unit.
    fn value(text: &str) -> f64 {
        let bare = text.trim_start_matches(['<', '>']);
        let unit_at = bare.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(bare.len());
        let (number, unit) = bare.split_at(unit_at);
        let size = match unit {
            "" | "%" | "µs" => 1.0,
            "k" | "ms" => 1e3,
            "M" | "s" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            "P" => 1e15,
            "E" => 1e18,
            "m" => 60e6,
            "h" => 3.6e9,
            other => panic!("no unit {other}"),
        };
        number.parse::<f64>().unwrap() * size
    }

    fn check(number: f64, text: &str) -> Result<(), TestCaseError> {
        prop_assert!(text.chars().count() <= 6, "{number} is {text}");
        prop_assert_eq!(number == 0.0, value(text) == 0.0, "{} is {}", number, text);
        if !text.starts_with(['<', '>']) {
            prop_assert!((value(text) - number).abs() <= number * 0.0051 + 0.0051, "{number} is {text}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_latency_is_short_and_true(us in 0_u64..=3_600_000_000) {
            check(us as f64, &latency(us as f64, true))?;
        }

        #[test]
        fn a_count_is_short_and_true(number: u64, shift in 0_u32..64) {
            check((number >> shift) as f64, &count(number >> shift))?;
        }

        #[test]
        fn a_rate_is_short_and_true(number in 0.0..10.0_f64, power in -4..12) {
            let number = number * 10_f64.powi(power);
            check(number, &rate(number))?;
        }

        #[test]
        fn a_share_is_short_and_true(part: u32, whole in 1_u32..) {
            let number = f64::from(part.min(whole)) / f64::from(whole);
            check(number * 100.0, &share(number))?;
        }

        #[test]
        fn a_larger_number_never_reads_smaller(a in 0_u64..=3_600_000_000, b in 0_u64..=3_600_000_000) {
            let (small, large) = (a.min(b), a.max(b));
            prop_assert!(value(&latency(small as f64, true)) <= value(&latency(large as f64, true)));
            prop_assert!(value(&count(small)) <= value(&count(large)));
        }
    }
}
