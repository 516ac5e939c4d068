//! The periods of quotas: days, weeks and months of the UTC calendar.
//!
//! A day is a number: days since 1 January 1970 ([`crate::calendar`]); there are no leap seconds in Unix time.
//!
//! `offset` is the day on which a period begins, as the older documentation of API Gateway's `QuotaSettings` has it
//! (0 to 6 from Sunday for weeks, 0 to 27 from the first for months). The newer meaning, requests to subtract in the
//! first period, is not honoured.

use crate::calendar::{MARCH_OF_YEAR_0, civil_from_days, days_from_civil};

/// Seconds in a day.
pub(crate) const DAY_S: u64 = 86_400;

/// How long a quota lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// From midnight to midnight, UTC.
    Day,
    /// Seven days.
    Week {
        /// The day on which it begins: 0 for Sunday, 6 for Saturday.
        offset: u32,
    },
    /// A month.
    Month {
        /// Days from the first of the month to the day on which it begins: 0 to 27.
        offset: u32,
    },
}

/// One period: the days from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first day.
    pub start: u32,
    /// The first day of the next period.
    pub end: u32,
}

impl Period {
    /// Its name in the configuration and in the file of counts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week { .. } => "week",
            Self::Month { .. } => "month",
        }
    }

    /// The period that a day is in.
    pub(crate) fn span(self, day: u32) -> Span {
        match self {
            Self::Day => Span { start: day, end: day + 1 },
            Self::Week { offset } => {
                // 1 January 1970 was a Thursday.
                let since = (day + 4 + 7 - offset % 7) % 7;
                Span { start: day.saturating_sub(since), end: day + 7 - since }
            }
            Self::Month { offset } => {
                let (year, month) = month_of(day);
                let begin = |first: u32| (first + offset).saturating_sub(MARCH_OF_YEAR_0);
                let this = begin(first_of(year, month));
                if day >= this {
                    Span { start: this, end: begin(first_of_next(year, month)) }
                } else {
                    Span { start: begin(first_of_last(year, month)), end: this }
                }
            }
        }
    }

    /// Days in the longest such period.
    pub(crate) const fn most_days(self) -> u32 {
        match self {
            Self::Day => 1,
            Self::Week { .. } => 7,
            Self::Month { .. } => 31,
        }
    }
}

/// The day of a Unix time.
pub(crate) fn day_of(unix_s: u64) -> u32 {
    // Times beyond the calendar's end are the last day.
    u32::try_from(unix_s / DAY_S).unwrap_or(LAST_DAY).min(LAST_DAY)
}

/// A day that leaves room for the arithmetic and for a count beside it in a word; in the year 4840.
pub(crate) const LAST_DAY: u32 = (1 << 20) - 63;

/// Year and month (1 to 12) of a day.
fn month_of(day: u32) -> (u32, u32) {
    let (year, month, _) = civil_from_days(day.into());
    // Days are not before 1970 and not after [`LAST_DAY`].
    (u32::try_from(year).unwrap_or(0), u32::try_from(month).unwrap_or(1))
}

/// The first day of a month, in days since 1 March of the year 0.
fn first_of(year: u32, month: u32) -> u32 {
    let days = days_from_civil(year.into(), month.into(), 1) + i64::from(MARCH_OF_YEAR_0);
    u32::try_from(days).unwrap_or(0)
}

fn first_of_next(year: u32, month: u32) -> u32 {
    if month == 12 { first_of(year + 1, 1) } else { first_of(year, month + 1) }
}

fn first_of_last(year: u32, month: u32) -> u32 {
    if month == 1 { first_of(year - 1, 12) } else { first_of(year, month - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The date of each day, counted by hand from the epoch on: a model that knows only the lengths of months.
    fn dates() -> impl Iterator<Item = (u32, (u32, u32, u32))> {
        let (mut year, mut month, mut date) = (1970, 1, 1);
        (0..).map(move |day| {
            let today = (year, month, date);
            date += 1;
            if date > length(year, month) {
                (month, date) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
            (day, today)
        })
    }

    fn length(year: u32, month: u32) -> u32 {
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        match month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day(year: u32, month: u32, date: u32) -> u32 {
        dates().find(|(_, own)| *own == (year, month, date)).unwrap().0
    }

    #[test]
    fn months_are_those_of_the_calendar_for_eight_hundred_years() {
        for (day, (year, month, date)) in dates().take(800 * 366) {
            assert_eq!(month_of(day), (year, month), "{day}");
            assert_eq!(first_of(year, month), MARCH_OF_YEAR_0 + day + 1 - date, "{day}");
        }
    }

    #[test]
    fn a_month_begins_on_its_day_and_ends_where_the_next_begins() {
        for (offset, on, start, end) in [
            (0, (2026, 11, 25), (2026, 11, 1), (2026, 12, 1)),
            (0, (2026, 12, 31), (2026, 12, 1), (2027, 1, 1)),
            (0, (2028, 2, 29), (2028, 2, 1), (2028, 3, 1)),
            (0, (2100, 2, 28), (2100, 2, 1), (2100, 3, 1)),
            (14, (2026, 1, 14), (2025, 12, 15), (2026, 1, 15)),
            (14, (2026, 1, 15), (2026, 1, 15), (2026, 2, 15)),
            (27, (2027, 2, 27), (2027, 1, 28), (2027, 2, 28)),
            (27, (2027, 2, 28), (2027, 2, 28), (2027, 3, 28)),
            (27, (2028, 2, 29), (2028, 2, 28), (2028, 3, 28)),
        ] {
            let of = |(year, month, date)| day(year, month, date);
            let span = Period::Month { offset }.span(of(on));
            assert_eq!(span, Span { start: of(start), end: of(end) }, "{offset} {on:?}");
        }
    }

    #[test]
    fn a_week_begins_on_its_day_sunday_unless_it_has_an_offset() {
        // 22 November 2026 is a Sunday.
        let sunday = day(2026, 11, 22);
        for offset in 0..7 {
            for since in 0..7 {
                let span = Period::Week { offset }.span(sunday + offset + since);
                assert_eq!(span, Span { start: sunday + offset, end: sunday + offset + 7 }, "{offset} {since}");
            }
        }
    }

    #[test]
    fn periods_follow_each_other_without_gap_from_the_epoch_on() {
        let weeks = (0..7).map(|offset| Period::Week { offset });
        let months = (0..28).map(|offset| Period::Month { offset });
        for period in weeks.chain(months).chain([Period::Day]) {
            // The first period of all may have begun before the epoch.
            let mut span = period.span(60);
            for day in 60..40_000 {
                let own = period.span(day);
                if own != span {
                    assert_eq!((own.start, day), (span.end, span.end), "{period:?}");
                    span = own;
                }
                assert!(own.end - own.start <= period.most_days() && (own.start..own.end).contains(&day), "{period:?}");
            }
            for day in [0, 1, 30, LAST_DAY] {
                assert!((period.span(day).start..period.span(day).end).contains(&day), "{period:?} {day}");
            }
        }
    }

    #[test]
    fn a_day_is_that_of_utc() {
        assert_eq!(day_of(0), 0);
        assert_eq!(day_of(DAY_S - 1), 0);
        assert_eq!(day_of(1_795_564_800), day(2026, 11, 25));
        assert_eq!(day_of(u64::MAX), LAST_DAY);
    }
}
