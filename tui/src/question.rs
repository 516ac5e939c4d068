//! The questions the overview asks, their SQL, and what is read from the answers.
//!
//! A question's columns stand in its `sql/*.sql`; the types here bear the same names. An answer that does not fit is
//! refused in words and never half taken.

use serde::{Deserialize, de::DeserializeOwned};

/// How far back the sparklines, the table and the pipeline line look, and in which steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Its length.
    pub(crate) seconds: u64,
    /// A step of the series; a multiple of the 10 s buckets of `metrics`.
    pub(crate) step_seconds: u64,
    /// Its length in words.
    pub(crate) label: &'static str,
}

impl Window {
    /// All windows, the shortest first: 30 to 90 steps each.
    const ALL: [Self; 5] = [
        Self { seconds: 300, step_seconds: 10, label: "5 min" },
        Self { seconds: 900, step_seconds: 10, label: "15 min" },
        Self { seconds: 3_600, step_seconds: 60, label: "1 h" },
        Self { seconds: 21_600, step_seconds: 300, label: "6 h" },
        Self { seconds: 86_400, step_seconds: 1_200, label: "24 h" },
    ];

    /// The window one longer, or the longest.
    pub(crate) fn longer(self) -> Self {
        Self::ALL.into_iter().find(|other| other.seconds > self.seconds).unwrap_or(self)
    }

    /// The window one shorter, or the shortest.
    pub(crate) fn shorter(self) -> Self {
        Self::ALL.into_iter().rfind(|other| other.seconds < self.seconds).unwrap_or(self)
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::ALL[1]
    }
}

/// What is asked, once per tick each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// The traffic of this moment.
    Now,
    /// The traffic over the window, step by step.
    Series,
    /// The traffic over the window, by api, stage, route and method.
    Routes,
    /// What the pipeline lost over the window.
    Ledger,
}

impl Question {
    /// All, in the order they are asked.
    pub(crate) const ALL: [Self; 4] = [Self::Now, Self::Series, Self::Routes, Self::Ledger];

    /// Its statement.
    pub(crate) fn sql(self, window: Window) -> String {
        let text = match self {
            Self::Now => include_str!("../sql/now.sql"),
            Self::Series => include_str!("../sql/series.sql"),
            Self::Routes => include_str!("../sql/routes.sql"),
            Self::Ledger => include_str!("../sql/ledger.sql"),
        };
        text.replace("{window}", &window.seconds.to_string()).replace("{step}", &window.step_seconds.to_string())
    }

    /// Reads its answer: a JSON array of rows.
    ///
    /// # Errors
    /// When a column is missing or of another type, or there is no row where one must be.
    pub(crate) fn read(self, json: &[u8]) -> Result<Answer, serde_json::Error> {
        Ok(match self {
            Self::Now => Answer::Now(single(json)?),
            Self::Series => Answer::Series(serde_json::from_slice(json)?),
            Self::Routes => Answer::Routes(serde_json::from_slice(json)?),
            Self::Ledger => Answer::Ledger(single(json)?),
        })
    }
}

fn single<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<[T; 1]>(json).map(|[row]| row)
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// To [`Question::Now`].
    Now(Now),
    /// To [`Question::Series`]: the steps that had traffic, in order of time.
    Series(Vec<Step>),
    /// To [`Question::Routes`].
    Routes(Vec<Route>),
    /// To [`Question::Ledger`].
    Ledger(Ledger),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answers at the address.
    #[error("{0}")]
    Unreachable(String),
    /// There was an answer, and it was an error or made no sense.
    #[error("{0}")]
    Refused(String),
}

/// Requests of some time and place: counts, and quantiles of the latency that clients saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Traffic {
    /// All requests.
    pub(crate) requests: u64,
    /// Answered with a status of 400 to 499.
    pub(crate) status_4xx: u64,
    /// Answered with a status of 500 to 599.
    pub(crate) status_5xx: u64,
    /// Refused by a throttle or a quota.
    pub(crate) throttled: u64,
    /// Refused because of who asked: no, wrong or expired credentials, or no right to it.
    pub(crate) auth_failures: u64,
    /// Half of the requests were as fast, µs; none if there was no request.
    pub(crate) p50_us: Option<u64>,
    /// 9 of 10, µs.
    pub(crate) p90_us: Option<u64>,
    /// 99 of 100, µs.
    pub(crate) p99_us: Option<u64>,
    /// 999 of 1000, µs.
    pub(crate) p999_us: Option<u64>,
}

impl Traffic {
    /// The share of requests that a count is, 0 to 1; 0 if there was no request.
    pub(crate) fn share(&self, count: u64) -> f64 {
        if self.requests == 0 { 0.0 } else { count as f64 / self.requests as f64 }
    }
}

/// The traffic of this moment, by the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(crate) struct Now {
    /// How long it counts, s: 10 to 20.
    pub(crate) seconds: f64,
    /// The traffic of that time.
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
}

/// The traffic of one step of the series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Step {
    /// Where it begins, µs since the Unix epoch.
    pub(crate) start_us: i64,
    /// When it was asked, µs since the Unix epoch.
    pub(crate) now_us: i64,
    /// Its traffic.
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
}

/// The traffic of one method of one route.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Route {
    /// The API.
    pub(crate) api: String,
    /// Its stage.
    pub(crate) stage: String,
    /// The route's template, or `$default`.
    pub(crate) route: String,
    /// The HTTP method.
    pub(crate) method: String,
    /// Requests per second of this moment: in the time that [`Now`] counts.
    pub(crate) rate: f64,
    /// The traffic over the window.
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
}

/// What came through the pipeline over the window, and what did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Ledger {
    /// Access records stored.
    pub(crate) records: u64,
    /// Records and spans dropped at the source.
    pub(crate) dropped: u64,
    /// Batches or records that came again, and were left out.
    pub(crate) duplicate: u64,
    /// Records and spans that were refused as malformed.
    pub(crate) rejected: u64,
    /// Batches that never came.
    pub(crate) gaps: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_statement_is_filled_in() {
        for question in Question::ALL {
            let sql = question.sql(Window::default());
            assert!(!sql.contains(['{', '}', ';']), "{sql}");
        }
    }

    #[test]
    fn windows_are_whole_steps_and_end_at_both_ends() {
        for window in Window::ALL {
            assert_eq!(window.seconds % window.step_seconds, 0);
            assert_eq!(window.step_seconds % 10, 0);
        }
        let [shortest, .., longest] = Window::ALL;
        assert_eq!(shortest.shorter(), shortest);
        assert_eq!(longest.longer(), longest);
        assert_eq!(shortest.longer().shorter(), shortest);
    }

    #[test]
    fn answers_are_read_and_foreign_ones_refused() {
        let ledger = br#"[{"records":5,"dropped":0,"duplicate":1,"rejected":2,"gaps":3}]"#;
        let expected = Ledger { records: 5, dropped: 0, duplicate: 1, rejected: 2, gaps: 3 };
        assert_eq!(Question::Ledger.read(ledger).unwrap(), Answer::Ledger(expected));
        assert_eq!(Question::Series.read(b"[]").unwrap(), Answer::Series(Vec::new()));
        assert!(Question::Now.read(b"[]").is_err());
        assert!(Question::Routes.read(ledger).is_err());
        assert!(Question::Ledger.read(br#"[{"records":-1}]"#).is_err());
        assert!(Question::Ledger.read(b"<html>").is_err());
    }

    #[test]
    fn no_requests_have_no_quantiles() {
        let json = br#"[{"seconds":12.5,"requests":0,"status_4xx":0,"status_5xx":0,"throttled":0,
            "auth_failures":0,"p50_us":null,"p90_us":null,"p99_us":null,"p999_us":null}]"#;
        let Answer::Now(now) = Question::Now.read(json).unwrap() else { panic!("another answer") };
        assert_eq!(now.traffic, Traffic::default());
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for question in Question::ALL {
                let _ = question.read(&bytes);
            }
        }
    }
}
