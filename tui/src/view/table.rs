//! The table by api, stage, route and method.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    text::{Line, Span, Text},
    widgets::{Cell, Paragraph, Row, Table, Wrap},
};

use super::{draw_ends, fit, theme::Theme, units};
use crate::{
    question::{Question, Route},
    state::{Column, Link, State, Value},
};

/// What a route needs to be told from another.
const LEAST_ROUTE_WIDTH: u16 = 16;
const MOST_NAME_WIDTH: u16 = 16;
/// Numbers have six characters, headings with the sign of the order up to seven.
const NUMBER_WIDTH: u16 = 7;

/// Columns in the order in which they find room.
const BY_WEIGHT: [Column; 10] = [
    Column::Rate,
    Column::Status5xx,
    Column::P99,
    Column::Throttled,
    Column::P50,
    Column::AuthFailures,
    Column::P90,
    Column::P999,
    Column::Requests,
    Column::Status4xx,
];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, theme: Theme, state: &State) {
    let [title, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    draw_title(frame, title, theme, state);
    let rows = state.routes().rows();
    if rows.is_empty() {
        let text = Paragraph::new(nothing(state)).style(theme.quiet()).wrap(Wrap { trim: true });
        return frame.render_widget(text, body);
    }
    let columns = columns(rows, body.width);
    let (sorted_by, descending) = state.routes().order();
    let headings = columns.iter().map(|(column, width)| {
        let mut text = heading(*column).to_owned();
        if *column == sorted_by {
            text.push_str(arrow(theme, descending));
        }
        cell(fit(&text, usize::from(*width), ""), *column)
    });
    let height = usize::from(body.height.saturating_sub(1));
    let first = first_row(state.routes().selected(), rows.len(), height);
    let lines = rows.iter().enumerate().skip(first).take(height).map(|(place, row)| {
        let cells = columns.iter().map(|(column, width)| cell(text(theme, *column, row, *width), *column));
        let line = Row::new(cells);
        if state.routes().selected() == Some(place) { line.style(theme.selected()) } else { line }
    });
    let widths = columns.iter().map(|(_, width)| Constraint::Length(*width));
    let table = Table::new(lines, widths).header(Row::new(headings).style(theme.heading())).column_spacing(1);
    frame.render_widget(table, body);
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, theme: Theme, state: &State) {
    let window = state.answered_window(Question::Routes).unwrap_or(state.asked().window);
    let (sorted_by, descending) = state.routes().order();
    let rows = state.routes().rows().len();
    let place = match state.routes().selected() {
        Some(row) => format!("{} of {rows}", row + 1),
        None => rows.to_string(),
    };
    let left = Line::from(vec![
        Span::styled("routes", theme.heading()),
        Span::styled(format!(" {place}, last {}; REQ/S is now", window.label), theme.quiet()),
    ]);
    let right = format!("by {}{}", heading(sorted_by), arrow(theme, descending));
    draw_ends(frame, area, left, Line::styled(right, theme.quiet()));
}

fn nothing(state: &State) -> String {
    match state.answered_window(Question::Routes) {
        Some(window) => format!("No requests in the last {}.", window.label),
        None if state.link() == Link::Connecting => "Waiting for the first answer.".to_owned(),
        None => "No data yet.".to_owned(),
    }
}

/// The columns that fit, from left to right, with their widths.
fn columns(rows: &[Route], width: u16) -> Vec<(Column, u16)> {
    let widest = |column: Column| {
        let width_of = |text: &str| u16::try_from(Span::raw(text).width()).unwrap_or(u16::MAX);
        let names = rows.iter().map(|row| match column.of(row) {
            Value::Text(text) => width_of(text),
            _ => 0,
        });
        names.max().unwrap_or(0).clamp(width_of(heading(column)) + 1, MOST_NAME_WIDTH)
    };
    let (api, stage, method) = (widest(Column::Api), widest(Column::Stage), widest(Column::Method));
    let for_numbers = width.saturating_sub(api + 1 + stage + 1 + LEAST_ROUTE_WIDTH + 1 + method);
    let numbers = usize::from(for_numbers / (NUMBER_WIDTH + 1)).min(BY_WEIGHT.len());
    let shown = &BY_WEIGHT[..numbers];
    let used = u16::try_from(shown.len()).unwrap_or(0) * (NUMBER_WIDTH + 1);
    let route = width.saturating_sub(api + 1 + stage + 1 + method + 1 + used);
    let width_of = |column| match column {
        Column::Api => Some(api),
        Column::Stage => Some(stage),
        Column::Route => Some(route),
        Column::Method => Some(method),
        number => shown.contains(&number).then_some(NUMBER_WIDTH),
    };
    Column::ALL.into_iter().filter_map(|column| width_of(column).map(|width| (column, width))).collect()
}

/// The first row to draw, so that the one the user stands on is in the middle where it can be.
fn first_row(selected: Option<usize>, rows: usize, height: usize) -> usize {
    selected.unwrap_or(0).saturating_sub(height / 2).min(rows.saturating_sub(height))
}

fn heading(column: Column) -> &'static str {
    match column {
        Column::Api => "API",
        Column::Stage => "STAGE",
        Column::Route => "ROUTE",
        Column::Method => "METHOD",
        Column::Rate => "REQ/S",
        Column::Requests => "REQS",
        Column::Status4xx => "4XX",
        Column::Status5xx => "5XX",
        Column::Throttled => "THROTT",
        Column::AuthFailures => "AUTH",
        Column::P50 => "P50",
        Column::P90 => "P90",
        Column::P99 => "P99",
        Column::P999 => "P999",
    }
}

fn arrow(theme: Theme, descending: bool) -> &'static str {
    if descending { theme.sign("▼", "v") } else { theme.sign("▲", "^") }
}

fn text(theme: Theme, column: Column, row: &Route, width: u16) -> String {
    match column.of(row) {
        Value::Text(text) => fit(text, width.into(), theme.sign("…", "~")),
        Value::Count(number) => units::count(number),
        Value::PerSecond(number) => units::rate(number),
        Value::Share(number) => units::share(number),
        Value::Micros(us) => us.map_or_else(|| "-".to_owned(), |us| units::latency(us as f64, theme.unicode())),
    }
}

fn cell(text: String, column: Column) -> Cell<'static> {
    let is_name = matches!(column, Column::Api | Column::Stage | Column::Route | Column::Method);
    Cell::new(Text::raw(text).alignment(if is_name { Alignment::Left } else { Alignment::Right }))
}
