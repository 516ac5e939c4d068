//! Whatever text is given as configuration: its faults are told, and nothing panics (I10).

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_collector::Config;
use weir_station::config::Document;

fuzz_target!(|text: &str| {
    if let Ok(document) = Document::parse(text, Vec::new()) {
        let _ = Config::read(&document, std::path::Path::new("data"));
        let _ = document.finish(&["gateway", "query", "api"]);
    }
});
