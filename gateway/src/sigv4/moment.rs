//! Moments in whole seconds, as signatures write them.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::calendar::{civil_from_days, days_from_civil};

const DAY_SECONDS: i64 = 24 * 60 * 60;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970 in UTC. It is shown as in a signature: `20150830T123600Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64);

impl Moment {
    /// ISO 8601's basic format, which is the one that is signed: `20150830T123600Z`.
    pub(crate) fn parse_basic(text: &str) -> Option<Self> {
        let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
        if (bytes[8], bytes[15]) != (b'T', b'Z') {
            return None;
        }
        let number = |from: usize, to: usize| number(text.get(from..to)?);
        let date = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
        Self::of(date, (number(9, 11)?, number(11, 13)?, number(13, 15)?))
    }

    /// ISO 8601's extended format in UTC: `2015-08-30T12:36:00Z`.
    pub(crate) fn parse_extended(text: &str) -> Option<Self> {
        let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
        if [bytes[4], bytes[7], bytes[10], bytes[13], bytes[16], bytes[19]] != *b"--T::Z" {
            return None;
        }
        let number = |from: usize, to: usize| number(text.get(from..to)?);
        let date = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        Self::of(date, (number(11, 13)?, number(14, 16)?, number(17, 19)?))
    }

    /// A date in HTTP (RFC 9110, section 5.6.7): `Sun, 30 Aug 2015 12:36:00 GMT`. Mail's `-0000` and `+0000` mean the
    /// same; botocore writes the first.
    pub(crate) fn parse_http(text: &str) -> Option<Self> {
        let (_day_of_week, rest) = text.split_once(", ")?;
        let mut words = rest.split(' ');
        let day = number(words.next()?)?;
        let month = words.next()?;
        let month = MONTHS.iter().position(|own| *own == month)?;
        let year = words.next().filter(|year| year.len() == 4)?;
        let mut time = words.next()?.split(':').map(number);
        let time_of_day = (time.next()??, time.next()??, time.next()??);
        if !matches!(words.next()?, "GMT" | "-0000" | "+0000") || words.next().is_some() || time.next().is_some() {
            return None;
        }
        Self::of((number(year)?, i64::try_from(month).ok()? + 1, day), time_of_day)
    }

    /// So many seconds later; earlier when they are negative.
    pub(crate) fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    fn of((year, month, day): (i64, i64, i64), (hour, minute, second): (i64, i64, i64)) -> Option<Self> {
        // A leap second is the first of the next minute.
        if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let days = days_from_civil(year, month, day);
        let moment = Self(days * DAY_SECONDS + hour * 3600 + minute * 60 + second);
        // What is no day of the month is another day of another one.
        (civil_from_days(days) == (year, month, day)).then_some(moment)
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY_SECONDS));
        let second = self.0.rem_euclid(DAY_SECONDS);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

fn number(digits: &str) -> Option<i64> {
    let is_number = (1..=4).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_the_same_in_each_format() {
        let moment = Moment::parse_basic("20150830T123600Z").unwrap();
        assert_eq!(moment, Moment(1_440_938_160));
        assert_eq!(moment.to_string(), "20150830T123600Z");
        assert_eq!(Moment::parse_extended("2015-08-30T12:36:00Z"), Some(moment));
        for zone in ["GMT", "-0000", "+0000"] {
            assert_eq!(Moment::parse_http(&format!("Sun, 30 Aug 2015 12:36:00 {zone}")), Some(moment));
        }
        assert_eq!(Moment::parse_basic("20240229T000000Z").unwrap().to_string(), "20240229T000000Z");
        assert_eq!(Moment::parse_basic("19700101T000000Z"), Some(Moment(0)));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "20150830", "20150830T123600", "20150830t123600Z", "20150230T000000Z", "20150830T240000Z"] {
            assert_eq!(Moment::parse_basic(text), None, "{text}");
        }
        for text in ["20151330T000000Z", "20150800T000000Z", "2015083éT12360Z", "+0150830T123600Z", "20150830T126000Z"]
        {
            assert_eq!(Moment::parse_basic(text), None, "{text}");
        }
        for text in ["Sun, 30 Aug 2015 12:36:00", "Sun, 30 Aug 2015 12:36 GMT", "Sun, 30 Aug 2015 12:36:00 CET"] {
            assert_eq!(Moment::parse_http(text), None, "{text}");
        }
        assert_eq!(Moment::parse_http("Sun, 30 Aug 15 12:36:00 GMT"), None);
        assert_eq!(Moment::parse_extended("2015-08-30 12:36:00Z"), None);
    }

    #[test]
    fn every_day_of_four_centuries_is_written_and_read() {
        for day in -10_000..140_000 {
            let (year, month, of_month) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, of_month), day);
        }
    }
}
