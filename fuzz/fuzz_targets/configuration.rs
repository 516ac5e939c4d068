//! Whatever text is given as configuration: its faults are told, and nothing panics (I10).

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weir_station::config::Document;

fuzz_target!(|text: &str| {
    if let Ok(document) = Document::parse(text, Vec::new()) {
        let _ = weir_gateway::Config::read(&document, Path::new("data"));
        let _ = weir_collector::Config::read(&document, Path::new("data"));
        let _ = document.finish(&["query"]);
    }
});
