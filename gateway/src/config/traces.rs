//! Which traces are kept: read in `[gateway.telemetry]`, of an API and of a route.

use weir_station::config::Section;

use super::definitions::TraceDefinition;

/// Reads the table `traces` of an API or a route.
pub(super) fn read_traces(section: &Section) -> TraceDefinition {
    let ratio = section.optional::<f64>("ratio");
    if let Some(ratio) = ratio.filter(|ratio| !(0.0..=1.0).contains(ratio)) {
        section.fault("ratio", format!("is {ratio}"), "a share from 0.0 to 1.0");
    }
    TraceDefinition { ratio, slow: section.optional("slow") }
}
