//! Traffic over time: one slot a step, whether there was traffic or not.

use crate::question::{Now, Step, Traffic, Window};

/// A step under way counts from this age on, s: before, the requests on their way to the tables would be missed in it.
const SETTLED_SECONDS: f64 = 5.0;

/// A number that is shown for this moment and over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Requests per second.
    Requests,
    /// Share of requests answered with 5xx, 0 to 1.
    Errors,
    /// Requests per second that a throttle or quota refused.
    Throttled,
    /// Requests per second refused because of who asked.
    AuthFailures,
    /// Latency, µs.
    P50,
    /// Latency, µs.
    P90,
    /// Latency, µs.
    P99,
    /// Latency, µs.
    P999,
}

impl Metric {
    /// The number for traffic of so many seconds; none where nothing was measured.
    fn of(self, traffic: &Traffic, seconds: f64) -> Option<f64> {
        let us = |quantile: Option<u64>| quantile.map(|us| us as f64);
        match self {
            Self::Requests => Some(traffic.requests as f64 / seconds),
            Self::Errors => Some(traffic.share(traffic.status_5xx)),
            Self::Throttled => Some(traffic.throttled as f64 / seconds),
            Self::AuthFailures => Some(traffic.auth_failures as f64 / seconds),
            Self::P50 => us(traffic.p50_us),
            Self::P90 => us(traffic.p90_us),
            Self::P99 => us(traffic.p99_us),
            Self::P999 => us(traffic.p999_us),
        }
    }

    /// The number of this moment.
    pub(crate) fn now(self, now: &Now) -> Option<f64> {
        self.of(&now.traffic, now.seconds.max(1.0))
    }
}

/// Traffic of the window's steps, the oldest first.
#[derive(Debug)]
pub(crate) struct Series {
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    traffic: Traffic,
    seconds: f64,
}

impl Series {
    /// Lays the steps that had traffic over the window that ends at the time they were asked.
    pub(crate) fn new(window: Window, steps: &[Step]) -> Self {
        let Some(now_us) = steps.iter().map(|step| step.now_us).max() else { return Self { slots: Vec::new() } };
        let step_us = i64::try_from(window.step_seconds.max(1)).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let whole_steps = usize::try_from(window.seconds / window.step_seconds.max(1)).unwrap_or(usize::MAX);
        let current_us = now_us - now_us.rem_euclid(step_us);
        let current_seconds = (now_us - current_us) as f64 / 1e6;

        let empty = Slot { traffic: Traffic::default(), seconds: window.step_seconds as f64 };
        let mut slots = vec![empty; whole_steps + 1];
        slots[whole_steps].seconds = current_seconds;
        for step in steps {
            let steps_ago = current_us.saturating_sub(step.start_us).div_euclid(step_us);
            let place = usize::try_from(steps_ago).ok().and_then(|steps_ago| whole_steps.checked_sub(steps_ago));
            if let Some(place) = place {
                slots[place].traffic = step.traffic;
            }
        }
        if current_seconds < SETTLED_SECONDS {
            slots.pop();
        }
        Self { slots }
    }

    /// A metric over time, the oldest first; none where nothing was measured.
    pub(crate) fn of(&self, metric: Metric) -> Vec<Option<f64>> {
        self.slots.iter().map(|slot| metric.of(&slot.traffic, slot.seconds)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{NOW_US, series, traffic};

    fn step(start_us: i64, now_us: i64) -> Step {
        Step { start_us, now_us, traffic: traffic(600, 1_000) }
    }

    #[test]
    fn steps_without_traffic_are_zero_and_have_no_latency() {
        let series = Series::new(Window::default(), &series());
        let (requests, p50) = (series.of(Metric::Requests), series.of(Metric::P50));
        assert_eq!(requests.len(), 91);
        assert_eq!(requests[60..66], [Some(0.0); 6]);
        assert_eq!(p50[60..66], [None; 6]);
        assert!(requests[59].unwrap() > 0.0 && p50[66].is_some());
    }

    #[test]
    fn the_step_under_way_is_a_rate_over_its_age_once_it_has_settled() {
        let start_us = NOW_US - 5_000_000;
        let settled = Series::new(Window::default(), &[step(start_us, NOW_US)]);
        assert_eq!(settled.of(Metric::Requests).last(), Some(&Some(120.0)));
        let young = Series::new(Window::default(), &[step(start_us - 10_000_000, start_us + 1_000_000)]);
        assert_eq!(young.of(Metric::Requests).last(), Some(&Some(60.0)));
        assert_eq!(young.of(Metric::Requests).len(), 90);
    }

    #[test]
    fn no_steps_are_no_series() {
        assert!(Series::new(Window::default(), &[]).of(Metric::Requests).is_empty());
    }

    proptest! {
        #[test]
        fn no_times_panic_or_give_more_than_the_window(times in proptest::collection::vec((any::<i64>(), any::<i64>()), 0..5)) {
            let steps: Vec<_> = times.into_iter().map(|(start_us, now_us)| step(start_us, now_us)).collect();
            prop_assert!(Series::new(Window::default(), &steps).of(Metric::Requests).len() <= 91);
        }
    }
}
