//! Draws the state. Keeps nothing between frames, decides nothing.

mod gauges;
mod help;
mod pipeline;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod theme;
mod units;

use std::time::Instant;

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};
use url::Url;

use self::theme::Theme;
use crate::{appearance::Appearance, state::State};

/// Below this nothing useful fits.
const LEAST_WIDTH: u16 = 60;
const LEAST_HEIGHT: u16 = 16;
/// From this height on the sparklines are three rows tall.
const TALL: u16 = 40;

/// Draws frames for one server and one terminal.
#[derive(Debug)]
pub(crate) struct View {
    server: String,
    theme: Theme,
}

impl View {
    /// Shows `url` without the credentials it may bear.
    pub(crate) fn new(url: &Url, appearance: Appearance) -> Self {
        let server = url.origin().ascii_serialization();
        Self { server, theme: Theme::new(appearance) }
    }

    /// Draws a frame.
    pub(crate) fn draw(&self, frame: &mut Frame<'_>, state: &State, now: Instant) {
        let area = frame.area();
        if area.width < LEAST_WIDTH || area.height < LEAST_HEIGHT {
            return too_small(frame, area);
        }
        let theme = self.theme;
        let trouble = status::trouble(theme, state, &self.server);
        let trouble_height = u16::from(trouble.is_some()) * 2;
        let bar_height = if area.height >= TALL { 3 } else { 1 };
        let rows = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(gauges::height(bar_height)),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(trouble_height),
            Constraint::Length(1),
        ]);
        let [header, _, gauges_area, pipeline_area, _, table_area, trouble_area, footer] = rows.areas(area);
        status::draw_header(frame, header, theme, state, &self.server, now);
        gauges::draw(frame, gauges_area, theme, state, bar_height);
        pipeline::draw(frame, pipeline_area, theme, state);
        table::draw(frame, table_area, theme, state);
        if let Some(trouble) = trouble {
            frame.render_widget(trouble.wrap(Wrap { trim: true }), trouble_area);
        }
        status::draw_footer(frame, footer, theme);
        if state.help() {
            help::draw(frame, area, theme);
        }
    }
}

fn too_small(frame: &mut Frame<'_>, area: Rect) {
    let text = format!(
        "The terminal is too small: {}x{}, and {LEAST_WIDTH}x{LEAST_HEIGHT} is needed. Make it larger, or press q to quit.",
        area.width, area.height
    );
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

/// Two lines of text on one row, one at each end; the right one stands when they do not both fit.
fn draw_ends(frame: &mut Frame<'_>, area: Rect, left: Line<'_>, right: Line<'_>) {
    let right_width = u16::try_from(right.width()).unwrap_or(u16::MAX).min(area.width);
    let columns = Layout::horizontal([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(right_width)]);
    let [left_area, _, right_area] = columns.areas(area);
    frame.render_widget(left, left_area);
    frame.render_widget(right.alignment(Alignment::Right), right_area);
}

/// The text, cut to so many columns with a sign that it was.
fn fit(text: &str, columns: usize, ellipsis: &str) -> String {
    if Span::raw(text).width() <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    let room = columns.saturating_sub(Span::raw(ellipsis).width());
    for character in text.chars() {
        cut.push(character);
        if Span::raw(cut.as_str()).width() > room {
            cut.pop();
            break;
        }
    }
    cut + ellipsis
}
