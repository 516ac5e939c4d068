//! The numbers of this moment, each with its sparkline: traffic on the left, latency on the right.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    text::Line,
    widgets::Sparkline,
};

use super::{theme::Theme, units};
use crate::{
    question::Question,
    state::{Metric, State},
};

/// A gauge: what it is called and what it measures.
type Gauge = (&'static str, Metric);

const TRAFFIC: [Gauge; 4] = [
    ("requests/s", Metric::Requests),
    ("errors 5xx", Metric::Errors),
    ("throttled/s", Metric::Throttled),
    ("auth fail/s", Metric::AuthFailures),
];
const LATENCY: [Gauge; 4] = [("p50", Metric::P50), ("p90", Metric::P90), ("p99", Metric::P99), ("p999", Metric::P999)];

const LABEL_WIDTH: u16 = 11;
const NUMBER_WIDTH: u16 = 7;
/// From this width on a gauge says the largest number of its sparkline.
const WIDE: u16 = 60;

/// How many rows all gauges take, with sparklines of so many rows.
pub(super) fn height(bar_height: u16) -> u16 {
    1 + 4 * stride(bar_height) + u16::from(bar_height == 1)
}

/// From one gauge to the next: tall sparklines stand apart.
fn stride(bar_height: u16) -> u16 {
    if bar_height > 1 { bar_height + 1 } else { 1 }
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, theme: Theme, state: &State, bar_height: u16) {
    let columns = Layout::horizontal([Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)]);
    let [left, _, right] = columns.areas(area);
    for (half, heading, gauges) in [(left, "traffic", TRAFFIC), (right, "latency", LATENCY)] {
        let [headings, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(half);
        draw_headings(frame, headings, theme, state, heading);
        for (gauge, top) in gauges.into_iter().zip((body.y..).step_by(stride(bar_height).into())) {
            draw_gauge(frame, Rect { y: top, height: bar_height, ..body }, theme, state, gauge);
        }
    }
}

fn cells(area: Rect) -> [Rect; 4] {
    let largest_width = if area.width >= WIDE { NUMBER_WIDTH } else { 0 };
    let [label, number, _, bars, largest] = Layout::horizontal([
        Constraint::Length(LABEL_WIDTH),
        Constraint::Length(NUMBER_WIDTH),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(largest_width),
    ])
    .areas(area);
    [label, number, bars, largest]
}

fn draw_headings(frame: &mut Frame<'_>, area: Rect, theme: Theme, state: &State, heading: &str) {
    let [label, number, bars, largest] = cells(area);
    let window = state.answered_window(Question::Series).unwrap_or(state.asked().window);
    frame.render_widget(Line::styled(heading, theme.heading()), label);
    frame.render_widget(Line::styled("now", theme.quiet()).alignment(Alignment::Right), number);
    frame.render_widget(Line::styled(window.label, theme.quiet()), bars);
    frame.render_widget(Line::styled("max", theme.quiet()).alignment(Alignment::Right), largest);
}

fn draw_gauge(frame: &mut Frame<'_>, area: Rect, theme: Theme, state: &State, (label, metric): Gauge) {
    let [label_area, number_area, bars_area, largest_area] = cells(area);
    let base = |cell: Rect| Rect { y: cell.bottom().saturating_sub(1), height: 1, ..cell };
    let now = state.now().and_then(|now| metric.now(now));
    let bad = metric == Metric::Errors && now.is_some_and(|share| share > 0.0);
    let style = if bad { theme.error() } else { theme.heading() };
    frame.render_widget(Line::raw(label), base(label_area));
    frame.render_widget(Line::styled(text(theme, metric, now), style).alignment(Alignment::Right), base(number_area));

    let Some(series) = state.series() else { return };
    let columns = spread(&series.of(metric), bars_area.width.into());
    let largest = columns.iter().flatten().copied().reduce(f64::max);
    let levels = u64::from(bars_area.height) * 8;
    let sparkline = Sparkline::default()
        .data(heights(&columns, full_height(metric, largest), levels))
        .max(levels)
        .bar_set(theme.bar_set())
        .absent_value_symbol(" ")
        .style(if metric == Metric::Errors { theme.error() } else { theme.bars() });
    frame.render_widget(sparkline, bars_area);
    let largest = Line::styled(text(theme, metric, largest), theme.quiet()).alignment(Alignment::Right);
    frame.render_widget(largest, base(largest_area));
}

fn text(theme: Theme, metric: Metric, number: Option<f64>) -> String {
    let Some(number) = number else { return "-".to_owned() };
    match metric {
        Metric::Requests | Metric::Throttled | Metric::AuthFailures => units::rate(number),
        Metric::Errors => units::share(number),
        Metric::P50 | Metric::P90 | Metric::P99 | Metric::P999 => units::latency(number, theme.unicode()),
    }
}

/// The number that a bar of full height stands for: the largest, but a few errors must not look like an outage.
fn full_height(metric: Metric, largest: Option<f64>) -> f64 {
    let least = if metric == Metric::Errors { 0.05 } else { 0.0 };
    largest.unwrap_or(least).max(least)
}

/// Numbers over so many columns. A column is the largest of what falls in it, so that no peak vanishes.
fn spread(numbers: &[Option<f64>], columns: usize) -> Vec<Option<f64>> {
    let count = numbers.len();
    let of_column = |column: usize| {
        let begin = column * count / columns;
        let end = ((column + 1) * count / columns).max(begin + 1).min(count);
        numbers.get(begin..end)?.iter().flatten().copied().reduce(f64::max)
    };
    (0..columns).map(of_column).collect()
}

/// Bar heights out of so many levels. What is not zero has at least one.
fn heights(columns: &[Option<f64>], full: f64, levels: u64) -> Vec<Option<u64>> {
    let height = |number: f64| match number / full {
        part if part > 0.0 => ((part * levels as f64).round() as u64).clamp(1, levels),
        _ => 0,
    };
    columns.iter().map(|number| number.map(height)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_numbers_are_stretched_and_many_keep_their_peaks() {
        assert_eq!(spread(&[Some(1.0), None], 4), [Some(1.0), Some(1.0), None, None]);
        assert_eq!(spread(&[Some(1.0), Some(9.0), None, Some(2.0)], 2), [Some(9.0), Some(2.0)]);
        assert_eq!(spread(&[], 2), [None, None]);
    }

    #[test]
    fn zero_is_flat_and_what_is_not_zero_is_seen() {
        assert_eq!(heights(&[Some(0.0), Some(0.001), Some(8.0), None], 8.0, 8), [Some(0), Some(1), Some(8), None]);
        assert_eq!(heights(&[Some(0.0)], 0.0, 8), [Some(0)]);
    }

    proptest! {
        #[test]
        fn the_largest_survives_any_width(
            numbers in proptest::collection::vec(proptest::option::of(0.0..1e9_f64), 0..200),
            columns in 1_usize..200,
        ) {
            let columns = spread(&numbers, columns);
            let largest = |numbers: &[Option<f64>]| numbers.iter().flatten().copied().reduce(f64::max);
            prop_assert_eq!(largest(&columns), largest(&numbers));
        }
    }
}
