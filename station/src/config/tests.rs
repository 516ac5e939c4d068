//! Reading a configuration: defaults, units, environment, and every fault at once.

use std::{net::SocketAddr, time::Duration};

use proptest::prelude::*;

use super::*;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_environment_stands_over_the_file_and_the_file_over_the_default() {
    let document = Document::parse("[gateway]\nthreads = 3\n", variables(&[("WEIR_GATEWAY__LINGER", "5s")])).unwrap();
    let gateway = document.section("gateway");
    assert_eq!(gateway.value("threads", 1usize), 3);
    assert_eq!(gateway.value("linger", Duration::from_millis(200)), Duration::from_secs(5));
    assert_eq!(gateway.value("body", ByteSize::mebibytes(10)), ByteSize(10 << 20));
    let shown = document.finish(&[]).unwrap().to_string();
    assert_eq!(
        shown,
        "gateway.threads = 3\ngateway.linger = \"5s\"  # environment\ngateway.body = \"10MiB\"  # default\n"
    );
}

#[test]
fn every_fault_is_reported_at_once_with_its_place_and_what_would_be_right() {
    let text = "[gateway]\nlisten = \"nowhere\"\ntreads = 3\n[[api]]\nnam = 1\n[colector]\nx = 1\n";
    let document = Document::parse(text, variables(&[("WEIR_GATEWAY__LINGR", "1s")])).unwrap();
    let gateway = document.section("gateway");
    let fallback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    assert_eq!(gateway.value("listen", fallback), fallback);
    gateway.value("threads", 1usize);
    gateway.value("linger", Duration::from_secs(1));
    for api in document.sections("api") {
        api.required::<String>("name");
    }
    let faults = document.finish(&["collector"]).unwrap_err();
    let lines: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.path, fault.problem)).collect();
    let expected = [
        "gateway.listen: is \"nowhere\"",
        "api[0].name: missing",
        "api[0].nam: unknown key",
        "colector: unknown key",
        "gateway.treads: unknown key",
        "gateway.lingr: unknown key (from the environment: WEIR_GATEWAY__LINGR)",
    ];
    assert_eq!(lines, expected);
    assert!(faults.to_string().contains("perhaps gateway.threads"), "{faults}");
}

#[test]
fn sections_of_other_stations_are_not_faults() {
    let document =
        Document::parse("[collector]\nx = 1\n", variables(&[("WEIR_COLLECTOR__Y", "1"), ("WEIR_LOG", "debug")]));
    assert!(document.unwrap().finish(&["collector"]).is_ok());
}

#[test]
fn a_secret_is_never_shown() {
    let document = Document::parse("[s3]\nkey = \"hush\"\nother = 7\n", Vec::new()).unwrap();
    let section = document.section("s3");
    let secret = section.secret("key").unwrap();
    assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("hush", "********"));
    section.secret("other");
    let faults = document.finish(&[]).unwrap_err().to_string();
    assert!(!faults.contains('7'), "{faults}");
}

#[test]
fn a_text_that_is_no_toml_names_the_line() {
    let faults = Document::parse("[gateway]\nlisten = = 3\n", Vec::new()).unwrap_err();
    assert!(faults.to_string().starts_with("line 2: "), "{faults}");
}

proptest! {
    #[test]
    fn times_and_sizes_read_as_they_are_shown(milliseconds in 0u64..10_000_000_000, bytes in 0u64..1 << 50) {
        let time = Duration::from_millis(milliseconds);
        prop_assert_eq!(Duration::parse(time.show().trim_matches('"')), Some(time));
        prop_assert_eq!(ByteSize::parse(ByteSize(bytes).show().trim_matches('"')), Some(ByteSize(bytes)));
    }

    #[test]
    fn no_text_stops_the_reader(text in ".{0,60}") {
        let _ = Document::parse(&text, Vec::new()).map(|document| document.finish(&[]));
        let _ = (Duration::parse(&text), ByteSize::parse(&text), Vec::<u16>::parse(&text));
    }
}
