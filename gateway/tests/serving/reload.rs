//! Files that change while the gateway serves, and its end.

use super::{
    proxy, route,
    setting::{Server, Setting, until},
};

#[tokio::test]
async fn what_is_under_way_ends_as_it_began() {
    let server = Server::start().await;
    let events = route("a", "GET /events", &proxy(&format!("http://{}/events", server.address)), "");
    let setting = Setting::start(&events).await;
    let mut stream = setting.open("GET /a/events HTTP/1.1\r\nhost: h\r\n\r\n").await;
    stream.until("data: first").await;
    setting.write(&route("b", "GET /x", "{ type = \"mock\", body = \"new\" }", ""));
    until(|| async { setting.get("/b/x").await.ends_with("new") }).await;
    assert!(setting.get("/a/events").await.starts_with("HTTP/1.1 404"));
    server.go_on();
    stream.until("data: second").await;
}

#[tokio::test]
async fn buckets_keep_their_level_and_keys_come_and_go_with_their_file() {
    let api = |body: &str| {
        let mock = format!("{{ type = \"mock\", body = \"{body}\" }}");
        let key = route("k", "GET /x", &mock, "") + "api_key_required = true\n";
        let bucket = route("a", "GET /x", &mock, "") + "throttle = { rate = 0.001, burst = 2 }\n";
        format!("[gateway]\nkeys_file = \"keys.csv\"\n{key}{bucket}")
    };
    let keys = "key,name,enabled\n0123456789-0123456789,one,true\n";
    let ask = "GET /k/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-api-key: 0123456789-0123456789\r\n\r\n";
    let setting = Setting::with_files(&[("keys.csv", keys)], &api("old")).await;
    assert!(setting.get("/a/x").await.starts_with("HTTP/1.1 200"));
    assert!(setting.get("/a/x").await.starts_with("HTTP/1.1 200"));
    assert!(setting.send(ask).await.ends_with("old"));
    setting.write(&api("new"));
    until(|| async { setting.send(ask).await.ends_with("new") }).await;
    let answer = setting.get("/a/x").await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("\r\nretry-after: "), "{answer}");
    setting.put("keys.csv", "key,name,enabled\n0123456789-0123456789,one,false\n");
    until(|| async { setting.send(ask).await.starts_with("HTTP/1.1 403") }).await;
    setting.put("keys.csv", "no such column\n1\n");
    until(|| async { setting.log().contains("configuration not taken") }).await;
    assert!(setting.send(ask).await.starts_with("HTTP/1.1 403"));
    setting.put("keys.csv", keys);
    until(|| async { setting.send(ask).await.ends_with("new") }).await;
}

#[tokio::test]
async fn a_file_that_a_faulty_configuration_names_for_the_first_time_is_followed_too() {
    let api = |body: &str| route("k", "GET /x", &format!("{{ type = \"mock\", body = \"{body}\" }}"), "");
    let setting = Setting::with_files(&[("keys.csv", "no such column\n1\n")], &api("old")).await;
    setting.write(&format!("[gateway]\nkeys_file = \"keys.csv\"\n{}", api("new")));
    until(|| async { setting.log().contains("configuration not taken") }).await;
    assert!(setting.get("/k/x").await.ends_with("old"));
    setting.put("keys.csv", "key,name,enabled\n0123456789-0123456789,one,true\n");
    until(|| async { setting.get("/k/x").await.ends_with("new") }).await;
}

#[tokio::test]
async fn a_gateway_that_is_to_end_says_that_it_is_not_ready_and_serves_for_the_delay() {
    let api = route("a", "GET /x", "{ type = \"mock\", body = \"here\" }", "");
    let setting = Setting::start(&format!("[gateway]\ndrain_delay = \"1h\"\n{api}")).await;
    assert!(setting.admin("/ready").await.starts_with("HTTP/1.1 200"));
    setting.signal("-TERM");
    until(|| async { setting.admin("/ready").await.starts_with("HTTP/1.1 503") }).await;
    assert!(setting.admin("/health").await.starts_with("HTTP/1.1 200"));
    assert!(setting.get("/a/x").await.ends_with("here"));
}
