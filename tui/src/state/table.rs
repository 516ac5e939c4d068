//! The table by route: its order, and the row the user stands on.

use std::cmp::Ordering;

use crate::question::Route;

/// A column, and what the table can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// The API.
    Api,
    /// Its stage.
    Stage,
    /// The route's template.
    Route,
    /// The HTTP method.
    Method,
    /// Requests per second, now.
    Rate,
    /// Requests over the window.
    Requests,
    /// Share answered with 4xx.
    Status4xx,
    /// Share answered with 5xx.
    Status5xx,
    /// Requests that a throttle or quota refused.
    Throttled,
    /// Requests refused because of who asked.
    AuthFailures,
    /// Latency.
    P50,
    /// Latency.
    P90,
    /// Latency.
    P99,
    /// Latency.
    P999,
}

/// What a column says of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// A name.
    Text(&'a str),
    /// A count.
    Count(u64),
    /// Per second.
    PerSecond(f64),
    /// A share, 0 to 1.
    Share(f64),
    /// A latency, µs; none where nothing was measured.
    Micros(Option<u64>),
}

impl Column {
    /// All, from left to right.
    pub(crate) const ALL: [Self; 14] = [
        Self::Api,
        Self::Stage,
        Self::Route,
        Self::Method,
        Self::Rate,
        Self::Requests,
        Self::Status4xx,
        Self::Status5xx,
        Self::Throttled,
        Self::AuthFailures,
        Self::P50,
        Self::P90,
        Self::P99,
        Self::P999,
    ];

    /// What it says of a row.
    pub(crate) fn of(self, row: &Route) -> Value<'_> {
        let traffic = &row.traffic;
        match self {
            Self::Api => Value::Text(&row.api),
            Self::Stage => Value::Text(&row.stage),
            Self::Route => Value::Text(&row.route),
            Self::Method => Value::Text(&row.method),
            Self::Rate => Value::PerSecond(row.rate),
            Self::Requests => Value::Count(traffic.requests),
            Self::Status4xx => Value::Share(traffic.share(traffic.status_4xx)),
            Self::Status5xx => Value::Share(traffic.share(traffic.status_5xx)),
            Self::Throttled => Value::Count(traffic.throttled),
            Self::AuthFailures => Value::Count(traffic.auth_failures),
            Self::P50 => Value::Micros(traffic.p50_us),
            Self::P90 => Value::Micros(traffic.p90_us),
            Self::P99 => Value::Micros(traffic.p99_us),
            Self::P999 => Value::Micros(traffic.p999_us),
        }
    }

    /// Names go up, numbers down: what one looks for stands first.
    fn naturally_descending(self) -> bool {
        !matches!(self, Self::Api | Self::Stage | Self::Route | Self::Method)
    }
}

/// The rows in their order.
#[derive(Debug)]
pub(crate) struct RouteTable {
    rows: Vec<Route>,
    column: Column,
    descending: bool,
    selected: Option<usize>,
}

impl Default for RouteTable {
    fn default() -> Self {
        Self { rows: Vec::new(), column: Column::Rate, descending: true, selected: None }
    }
}

impl RouteTable {
    /// The rows in their order.
    pub(crate) fn rows(&self) -> &[Route] {
        &self.rows
    }

    /// The column they are sorted by, and whether its largest stands first.
    pub(crate) fn order(&self) -> (Column, bool) {
        (self.column, self.descending)
    }

    /// The row the user stands on, if on any.
    pub(crate) fn selected(&self) -> Option<usize> {
        self.selected
    }

    /// Puts new rows in the place of the old ones. The user stays on the same route; if it is gone, at the same height.
    pub(super) fn replace(&mut self, rows: Vec<Route>) {
        self.rearrange(|table| table.rows = rows);
    }

    /// Sorts by the column so many further to the right, beginning again after the last.
    pub(super) fn sort_by_next(&mut self, columns: isize) {
        let place = Column::ALL.iter().position(|column| *column == self.column).unwrap_or(0);
        let next = place.cast_signed().saturating_add(columns).rem_euclid(Column::ALL.len().cast_signed());
        self.column = Column::ALL[next.cast_unsigned()];
        self.descending = self.column.naturally_descending();
        self.rearrange(|_| {});
    }

    /// Turns the order round.
    pub(super) fn reverse(&mut self) {
        self.descending = !self.descending;
        self.rearrange(|_| {});
    }

    /// Moves so many rows down. The first movement only steps on the table: at its top, or at its end.
    pub(super) fn step(&mut self, rows: isize) {
        let Some(last) = self.rows.len().checked_sub(1) else { return };
        let target = match self.selected {
            Some(row) => row.saturating_add_signed(rows),
            None if rows == isize::MAX => last,
            None => 0,
        };
        self.selected = Some(target.min(last));
    }

    /// Stands on no row.
    pub(super) fn unselect(&mut self) {
        self.selected = None;
    }

    fn rearrange(&mut self, change: impl FnOnce(&mut Self)) {
        let stood_on = self.selected.and_then(|row| self.rows.get(row)).cloned();
        change(self);
        let (column, descending) = (self.column, self.descending);
        self.rows.sort_by(|a, b| compare(column, descending, a, b).then_with(|| name(a).cmp(&name(b))));
        let Some(stood_on) = stood_on else { return };
        let same = self.rows.iter().position(|row| name(row) == name(&stood_on));
        self.selected = same.or(self.selected).map(|row| row.min(self.rows.len().saturating_sub(1)));
        if self.rows.is_empty() {
            self.selected = None;
        }
    }
}

fn name(row: &Route) -> (&str, &str, &str, &str) {
    (&row.api, &row.stage, &row.route, &row.method)
}

/// What was not measured stands last in both directions.
fn compare(column: Column, descending: bool, a: &Route, b: &Route) -> Ordering {
    let order = match (column.of(a), column.of(b)) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Count(a), Value::Count(b)) => a.cmp(&b),
        (Value::PerSecond(a), Value::PerSecond(b)) | (Value::Share(a), Value::Share(b)) => a.total_cmp(&b),
        (Value::Micros(Some(a)), Value::Micros(Some(b))) => a.cmp(&b),
        (Value::Micros(a), Value::Micros(b)) => return b.is_some().cmp(&a.is_some()),
        // One column has one kind of value.
        _ => Ordering::Equal,
    };
    if descending { order.reverse() } else { order }
}
