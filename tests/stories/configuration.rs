//! A configuration that cannot be is refused before anything begins: exit code 2, and every fault at once.

use std::fs;

use tempfile::TempDir;
use weir_tests::Process;

use crate::pipeline::{FREE_PORTS, WEIR};

async fn check(config: &str) -> weir_tests::Exit {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("weir.toml"), config).unwrap();
    Process::run(WEIR, directory.path(), &["check", "--config", "weir.toml"]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_at_once_with_its_place_and_what_would_be_right() {
    let exit = check(
        "[gateway]\nlisten = \"nowhere\"\nthreds = 2\n[collector]\nflush_interval = 60\n[[api]]\nname = \"a\"\n\
         [[api.route]]\nroute = \"GET users\"\nauth = \"jwt:nobody\"\nintegration = { type = \"ftp\" }\n",
    )
    .await;
    assert_eq!(exit.code, Some(2));
    for fault in [
        "weir: gateway.listen: is \"nowhere\"; expected an address and a port",
        "weir: gateway.threds: unknown key; expected perhaps gateway.threads",
        "weir: collector.flush_interval: is 60; expected a time with its unit",
        "weir: api[0].route[0].route: is \"GET users\": its path does not begin with a slash; expected a method",
        "weir: api[0].route[0].auth: names \"nobody\"",
        "weir: api[0].route[0].integration.type: is \"ftp\"; expected \"http_proxy\", \"lambda\" or \"mock\"",
    ] {
        assert!(exit.stderr.lines().any(|line| line.starts_with(fault)), "{fault} in\n{}", exit.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_resolved_configuration_masks_secrets() {
    let exit = check(
        "[[api_key]]\nid = \"k\"\nkey = \"hush-hush-hush-hush-hush\"\n[store.s3]\naccess_key_id = \"a\"\nsecret_access_key = \"hush\"\n",
    )
    .await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.contains("gateway.listen = \"127.0.0.1:8080\"  # default"), "{}", exit.stdout);
    assert!(exit.stdout.contains("store.s3.secret_access_key = \"********\""), "{}", exit.stdout);
    assert!(!exit.stdout.contains("hush"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_file_has_every_key_with_its_default() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/weir.example.toml");
    let directory = TempDir::new().unwrap();
    let with_example = Process::run(WEIR, directory.path(), &["check", "--config", example]).await.unwrap();
    assert_eq!(with_example.code, Some(0), "{}", with_example.stderr);
    let without = Process::run(WEIR, directory.path(), &["check"]).await.unwrap();
    let text = fs::read_to_string(example).unwrap();
    for line in without.stdout.lines() {
        let (key, value) = line.split_once(" = ").map_or((line, None), |(key, value)| (key, Some(value)));
        let key = key.trim_start_matches("# ").trim_end_matches(" is not set");
        let last = key.rsplit('.').next().unwrap();
        let stands = text.lines().any(|own| own.trim_start_matches("# ").starts_with(&format!("{last} = ")));
        assert!(stands, "{key} is not in weir.example.toml");
        if let Some(value) = value {
            let value = value.trim_end_matches("  # default");
            assert!(
                with_example.stdout.contains(&format!("{key} = {value}")),
                "{key} has another default than {value}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_an_unreadable_file_and_an_absent_store_are_one_clear_line_each() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let gateway = FREE_PORTS.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    let nowhere = format!(
        "{FREE_PORTS}[store]\nlocation = \"s3://bucket/x\"\n[store.s3]\nendpoint = \"http://127.0.0.1:1\"\naccess_key_id = \"a\"\nsecret_access_key = \"b\"\n"
    );
    for (config, said) in [
        (gateway, format!("weir: gateway: cannot listen on 127.0.0.1:{port}: another process already does")),
        (nowhere, "weir: collector: ".to_owned()),
    ] {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("weir.toml"), config).unwrap();
        let arguments = ["up", "--no-tui", "--config", "weir.toml", "--data", "data"];
        let exit = Process::run(WEIR, directory.path(), &arguments).await.unwrap();
        assert_eq!(exit.code, Some(2), "{}", exit.stderr);
        assert!(exit.stderr.lines().count() == 1 && exit.stderr.starts_with(&said), "{}", exit.stderr);
    }
    let directory = TempDir::new().unwrap();
    let exit = Process::run(WEIR, directory.path(), &["gateway", "--config", "absent.toml"]).await.unwrap();
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.starts_with("weir: absent.toml: cannot be read"), "{}", exit.stderr);
}
