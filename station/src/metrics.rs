//! Self metrics as Prometheus text, exposition format 0.0.4:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write;

/// Content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics under construction.
#[derive(Debug, Default)]
pub struct Text {
    page: String,
    last: String,
}

impl Text {
    /// An empty page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A number that only grows; its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.sample("counter", name, help, &[], value);
    }

    /// One series of a counter that has labels. Series of one name stand together.
    pub fn counter_with(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: u64) {
        self.sample("counter", name, help, labels, value);
    }

    /// A number that rises and falls.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.sample("gauge", name, help, &[], value);
    }

    /// One series of a gauge that has labels. Series of one name stand together.
    pub fn gauge_with(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: u64) {
        self.sample("gauge", name, help, labels, value);
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.page
    }

    fn sample(&mut self, kind: &str, name: &str, help: &str, labels: &[(&str, &str)], value: u64) {
        if self.last != name {
            self.last = name.to_owned();
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = write!(self.page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
        let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        // Writing to a String cannot fail.
        let _ = writeln!(self.page, "{name}{labels} {value}");
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_prometheus_text() {
        let mut text = Text::new();
        text.counter_with("weir_requests_total", "Requests.", &[("outcome", "ok")], 2);
        text.counter_with("weir_requests_total", "Requests.", &[("outcome", "a\"b")], 1);
        text.gauge("weir_queue", "Queue.", 0);
        let expected = concat!(
            "# HELP weir_requests_total Requests.\n# TYPE weir_requests_total counter\n",
            "weir_requests_total{outcome=\"ok\"} 2\nweir_requests_total{outcome=\"a\\\"b\"} 1\n",
            "# HELP weir_queue Queue.\n# TYPE weir_queue gauge\nweir_queue 0\n",
        );
        assert_eq!(text.finish(), expected);
    }
}
