//! What is refused at the start, and how it is said.

use std::time::Instant;

use weir_station::config::Document;

use super::*;
use crate::faulty::FaultyStore;

fn bucket(endpoint: &str) -> StoreConfig {
    let s3 = S3Options {
        endpoint: Some(endpoint.to_owned()),
        access_key_id: Some("id".to_owned()),
        secret_access_key: Some(Secret::from("key".to_owned())),
        ..S3Options::default()
    };
    StoreConfig { location: "s3://bucket/prefix".to_owned(), s3 }
}

fn store(objects: FaultyStore) -> Store {
    Store { objects: Arc::new(objects), root: Url::parse("memory:///lake/").unwrap() }
}

#[tokio::test]
async fn a_store_that_overwrites_what_it_should_create_is_refused() {
    let error = store(FaultyStore::lying()).probe(&bucket("http://store")).await.unwrap_err();
    assert!(matches!(error, OpenError::NoConditionalPut { .. }), "{error}");
}

#[tokio::test]
async fn a_store_that_looks_before_it_writes_is_refused() {
    let error = store(FaultyStore::racy()).probe(&bucket("http://store")).await.unwrap_err();
    assert!(matches!(error, OpenError::RacyConditionalPut { winners: 2.., .. }), "{error}");
}

#[tokio::test]
async fn the_probe_leaves_nothing_behind() {
    let store = store(FaultyStore::default());
    store.probe(&bucket("http://store")).await.unwrap();
    assert!(store.objects.list(None).try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_named_within_seconds() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let start = Instant::now();
    let error = Store::open(&bucket(&endpoint)).await.unwrap_err().to_string();
    assert!(error.contains(&endpoint) && error.contains("s3://bucket/prefix"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(start.elapsed() <= OPEN_TIMEOUT + Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&StoreConfig::local(file.join("lake"))).await.unwrap_err();
    assert!(matches!(error, OpenError::Directory { .. }), "{error}");
}

#[tokio::test]
async fn two_names_of_one_directory_are_one_root() {
    let directory = tempfile::tempdir().unwrap();
    let other_name = directory.path().join("a b#1").join("..").join("a b#1");
    std::fs::create_dir(directory.path().join("a b#1")).unwrap();
    let one = Store::open(&StoreConfig::local(directory.path().join("a b#1"))).await.unwrap();
    let other = Store::open(&StoreConfig::local(other_name)).await.unwrap();
    assert_eq!(one.root, other.root);
}

#[test]
fn a_location_of_an_unknown_kind_is_a_fault_of_the_configuration() {
    for location in ["gs://bucket", "s3://", "s3:///prefix", ""] {
        let document = Document::parse(&format!("[lake]\nlocation = \"{location}\""), Vec::new()).unwrap();
        let _ = StoreConfig::read(&document.section("lake"), "./lake");
        let faults = document.finish(&[]).unwrap_err().to_string();
        assert!(faults.starts_with("lake.location"), "{faults}");
    }
}

#[test]
fn a_configuration_is_read_and_its_secret_is_not_shown() {
    let text = "[lake]\nlocation = \"s3://b/p\"\n[lake.s3]\nendpoint = \"http://127.0.0.1:1\"\n\
                access_key_id = \"id\"\nsecret_access_key = \"sesame\"";
    let document = Document::parse(text, Vec::new()).unwrap();
    let config = StoreConfig::read(&document.section("lake"), "./lake");
    document.finish(&[]).unwrap();
    assert_eq!(config.to_string(), "s3://b/p at http://127.0.0.1:1");
    assert!(!format!("{config:?}").contains("sesame"));
}
