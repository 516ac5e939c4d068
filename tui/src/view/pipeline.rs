//! One line on whether the numbers can be trusted: what the pipeline stored and lost.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{theme::Theme, units};
use crate::{question::Question, state::State};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, theme: Theme, state: &State) {
    let mut spans = vec![Span::styled("pipeline", theme.heading())];
    if let (Some(ledger), Some(window)) = (state.ledger(), state.answered_window(Question::Ledger)) {
        let of_window = format!(" {}:", window.label);
        spans.push(Span::styled(of_window, theme.quiet()));
        spans.push(Span::raw(format!(" {} stored", units::count(ledger.records))));
        let losses = [
            (ledger.dropped, "dropped", theme.error()),
            (ledger.rejected, "rejected", theme.error()),
            (ledger.gaps, "gaps", theme.error()),
            (ledger.duplicate, "duplicate", theme.warning()),
        ];
        for (number, what, style) in losses {
            let style = if number == 0 { theme.quiet() } else { style };
            spans.push(Span::styled(theme.sign(" · ", " | "), theme.quiet()));
            spans.push(Span::styled(format!("{} {what}", units::count(number)), style));
        }
    } else {
        spans.push(Span::styled(" -", theme.quiet()));
    }
    frame.render_widget(Line::from(spans), area);
}
