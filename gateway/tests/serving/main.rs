//! The gateway as a process before real servers: what it serves, to whom, and how it takes a changed configuration.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails where it breaks off")]

mod callers;
mod domains;
mod proxy;
mod reload;
mod script;
mod setting;
mod streams;

use std::time::Duration;

use setting::{Server, Setting, until};

/// A route to a server, in an API of its own.
fn route(name: &str, route: &str, integration: &str, more: &str) -> String {
    format!("[[api]]\nname = \"{name}\"\n{more}\n[[api.route]]\nroute = \"{route}\"\nintegration = {integration}\n")
}

fn proxy(uri: &str) -> String {
    format!("{{ type = \"http_proxy\", uri = \"{uri}\" }}")
}

/// An API "a" of which each record is kept as a line: everything below a path goes to this server.
fn recorded(server: std::net::SocketAddr, more: &str) -> String {
    let log = format!("{more}\n[api.access_log]\nto = \"RECORDS\"\nformat = \"weir\"");
    route("a", "ANY /{p+}", &proxy(&format!("http://{server}/{{p}}")), &log)
}

#[tokio::test]
async fn parameters_query_and_stage_variables_make_the_uri_and_headers_say_who_asked() {
    let server = Server::start().await;
    let stage = format!("[[api.stage]]\nname = \"prod\"\nvariables = {{ host = \"{}\" }}", server.address);
    let api = route("shop", "GET /items/{id}", &proxy("http://${stageVariables.host}/v1/{id}"), &stage);
    let setting = Setting::start(&api).await;
    let answer = setting
        .send("GET /shop/prod/items/a%2Fb?q=1 HTTP/1.1\r\nhost: h\r\nx-forwarded-for: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\nconnection: close, x-hop\r\nx-hop: 1\r\nte: trailers\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = server.seen();
    let seen = seen[0].to_ascii_lowercase();
    assert!(seen.starts_with("get /v1/a%2fb?q=1 http/1.1\r\n"), "{seen}");
    for header in [
        format!("host: {}", server.address),
        "x-forwarded-for: 127.0.0.1".into(),
        "x-forwarded-host: h".into(),
        "x-forwarded-proto: http".into(),
        "x-amzn-trace-id: root=1-".into(),
        "traceparent: 00-".into(),
    ] {
        assert!(seen.contains(&format!("\r\n{header}")), "{header} in {seen}");
    }
    for header in ["x-hop", "\r\nte:", "forwarded: for", "6.6.6.6", "connection:"] {
        assert!(!seen.contains(header), "{header} in {seen}");
    }
}

#[tokio::test]
async fn a_mapping_changes_what_goes_up_and_what_comes_back() {
    let server = Server::start().await;
    let request = r#"{ "overwrite:path" = "/v2/$request.path.id", "overwrite:querystring.who" = "$request.body.user", "append:header.x-stage" = "$context.stage", "overwrite:header.x-user" = "$context.authorizer.claims.sub" }"#;
    let response = r#"[{ status = 200, map = { "overwrite:statuscode" = "202", "append:header.x-says" = "said: $response.body" } }]"#;
    let uri = format!("http://{}/v1", server.address);
    let integration =
        format!("{{ type = \"http_proxy\", uri = \"{uri}\", request = {request}, response = {response} }}");
    let setting = Setting::start(&route("shop", "POST /items/{id}", &integration, "")).await;
    let answer = setting
        .send("POST /shop/items/a%2Fb?who=me&q=1 HTTP/1.1\r\nhost: h\r\nx-user: root\r\nconnection: close\r\ncontent-length: 14\r\n\r\n{\"user\":\"a b\"}")
        .await;
    assert!(answer.starts_with("HTTP/1.1 202") && answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(answer.contains("\r\nx-says: said: ok\r\n"), "{answer}");
    let seen = server.seen();
    assert!(seen[0].starts_with("POST /v2/a%2Fb?q=1&who=a%20b HTTP/1.1\r\n"), "{}", seen[0]);
    assert!(seen[0].contains("\r\nx-stage: $default\r\n") && !seen[0].contains("x-user"), "{}", seen[0]);
}

#[tokio::test]
async fn an_unknown_route_is_told_as_its_kind_of_api_tells_it() {
    let mock = "{ type = \"mock\" }";
    let rest = route("rest", "GET /a", mock, "kind = \"rest\"\n[[api.stage]]\nname = \"s\"");
    let clear = route("clear", "GET /a", mock, "kind = \"rest\"\nunknown_route = \"404\"\n[[api.stage]]\nname = \"s\"");
    let setting = Setting::start(&[rest, clear, route("http", "GET /a", mock, "")].concat()).await;
    for (path, status, body) in [
        ("/rest/s/b", "403", "Missing Authentication Token"),
        ("/clear/s/b", "404", "Not Found"),
        ("/http/b", "404", "Not Found"),
        ("/nowhere", "404", "Not Found"),
        ("/http/%2e%2e/a", "400", "Bad Request"),
    ] {
        let answer = setting.get(path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.ends_with(&format!("{{\"message\":\"{body}\"}}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn of_a_services_servers_one_that_refuses_is_passed_over_and_nothing_is_sent_twice() {
    let (first, second) = (Server::start().await, Server::start().await);
    let (gone, _kept) = Server::closed();
    let service =
        format!("[[service]]\nname = \"s\"\nendpoints = [\"{gone}\", \"{}\", \"{}\"]\n", first.address, second.address);
    let setting = Setting::start(&(service + &route("a", "ANY /{p+}", &proxy("http://s/{p}"), ""))).await;
    for index in 0..40 {
        let answer = setting.get(&format!("/a/{index}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let (first, second) = (first.seen(), second.seen());
    assert_eq!(first.len() + second.len(), 40);
    assert!(!first.is_empty() && !second.is_empty());
}

#[tokio::test]
async fn a_server_that_breaks_off_after_it_was_asked_is_not_asked_again() {
    let server = Server::rude().await;
    let api = route(
        "a",
        "GET /x",
        &proxy(&format!("http://{}/", server.address)),
        "kind = \"rest\"\n[[api.stage]]\nname = \"s\"",
    );
    let setting = Setting::start(&api).await;
    let answer = setting.get("/a/s/x").await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.ends_with("{\"message\":\"Network error communicating with endpoint\"}"), "{answer}");
    assert_eq!(server.seen().len(), 1);
    until(|| async { setting.metrics().await.contains("outcome=\"integration_reset\"} 1") }).await;
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let server = Server::start().await;
    let setting =
        Setting::start(&route("a", "GET /events", &proxy(&format!("http://{}/events", server.address)), "")).await;
    let mut stream = setting.open("GET /a/events HTTP/1.1\r\nhost: h\r\n\r\n").await;
    // The server sends the second event only when it is told that the first was seen here.
    stream.until("data: first").await;
    server.go_on();
    stream.until("data: second").await;
}

#[tokio::test]
async fn a_websocket_is_a_tunnel_and_one_request() {
    let server = Server::start().await;
    let setting = Setting::start(&route("a", "GET /ws", &proxy(&format!("http://{}/ws", server.address)), "")).await;
    let ask = "GET /a/ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
               sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    let mut stream = setting.open(ask).await;
    stream.until("HTTP/1.1 101").await;
    for text in ["first frame", "second frame"] {
        stream.send(text).await;
        stream.until(text).await;
    }
    drop(stream);
    until(|| async { setting.metrics().await.contains("weir_gateway_requests_total{outcome=\"ok\"} 1") }).await;
    // Without being asked to, no server makes a tunnel of a connection.
    let plain = setting.send("GET /a/ws HTTP/1.1\r\nhost: h\r\nconnection: close\r\nupgrade: h2c\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 200"), "{plain}");
}

#[tokio::test]
async fn a_changed_configuration_is_taken_whole_or_not_at_all_and_ends_no_connection() {
    let api = |body: &str| route("a", "GET /x", &format!("{{ type = \"mock\", body = \"{body}\" }}"), "");
    let setting = Setting::start(&api("one")).await;
    let mut stream = setting.open("GET /a/x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    stream.until("one").await;
    setting.write(&api("two"));
    until(|| async { setting.get("/a/x").await.ends_with("two") }).await;
    stream.send("GET /a/x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    stream.until("two").await;
    setting.write(&api("three").replace("GET /x", "get x"));
    until(|| async { setting.log().contains("configuration not taken") }).await;
    assert!(setting.log().contains("its method is not in capital letters"), "{}", setting.log());
    assert!(setting.get("/a/x").await.ends_with("two"));
    setting.write(&api("four"));
    setting.hang_up();
    until(|| async { setting.get("/a/x").await.ends_with("four") }).await;
}

#[tokio::test]
async fn a_quota_survives_a_kill_and_the_limit_that_refused_is_told() {
    let plan = "[[api_key]]\nid = \"k\"\nkey = \"0123456789-0123456789\"\n[[usage_plan]]\nname = \"p\"\nkeys = [\"k\"]\n\
                quota = { limit = 3, period = \"month\" }\nstages = [{ api = \"a\", stage = \"$default\" }]\n";
    let api = format!("{}api_key_required = true\n{plan}", route("a", "GET /x", "{ type = \"mock\" }", ""));
    let ask = "GET /a/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-api-key: 0123456789-0123456789\r\n\r\n";
    let mut setting = Setting::start(&api).await;
    assert!(setting.get("/a/x").await.starts_with("HTTP/1.1 403"));
    for _ in 0..2 {
        assert!(setting.send(ask).await.starts_with("HTTP/1.1 200"));
    }
    setting.kill_and_start().await;
    assert!(setting.send(ask).await.starts_with("HTTP/1.1 200"));
    let answer = setting.send(ask).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.ends_with("{\"message\":\"Limit Exceeded\"}"), "{answer}");
    for header in ["\r\nretry-after: ", "\r\nratelimit: \"quota\";r=0;t=", "x-amzn-errortype: LimitExceededException"] {
        assert!(answer.contains(header), "{header} in {answer}");
    }
}

#[tokio::test]
async fn the_access_log_has_its_format_and_the_admin_address_masks_secrets() {
    let log = "[api.access_log]\nto = \"LOG\"\nformat = '{\"id\":\"$context.requestId\",\"status\":$context.status,\"key\":\"$context.routeKey\"}'";
    let key = "[[api_key]]\nid = \"k\"\nkey = \"0123456789-0123456789\"\n";
    let setting = Setting::start(&(route("a", "GET /x", "{ type = \"mock\" }", log) + key)).await;
    assert!(setting.get("/a/x").await.starts_with("HTTP/1.1 200"));
    until(|| async { setting.file("LOG").contains("\"status\":200,\"key\":\"GET /x\"}\n") }).await;
    let shown = setting.admin("/config").await;
    assert!(shown.contains("api_key[0].key = \"********\"") && !shown.contains("0123456789-"), "{shown}");
    assert!(setting.admin("/ready").await.ends_with("ready\n"));
}

#[tokio::test]
async fn a_signer_whom_the_api_keeps_back_stands_in_no_log() {
    let private = "[api.privacy]\nprincipal = \"none\"\n[api.access_log]\nto = \"LOG\"\nformat = \"$context.requestId $context.identity.userArn $context.error.message $context.status\"\n";
    let api =
        route("a", "GET /x", "{ type = \"mock\" }", &format!("kind = \"rest\"\n{private}[[api.stage]]\nname = \"s\""));
    let setting = Setting::signed(&format!("{api}auth = \"iam\"\n"), "Deny").await;
    let denied = setting.signed_get("/a/s/x");
    assert!(denied.contains("User: arn:aws:iam::000000000000:user/alice is not authorized"), "{denied}");
    until(|| async { setting.file("LOG").ends_with(" - - 403\n") }).await;
    setting.allow();
    until(|| async { setting.signed_get("/a/s/x").is_empty() }).await;
}

#[tokio::test]
async fn cross_origin_requests_are_answered_as_configured() {
    let cors = "[api.cors]\nallow_origins = [\"https://a.example\"]\nallow_methods = [\"GET\"]";
    let api = route("a", "GET /x", "{ type = \"mock\", headers = [\"access-control-allow-origin: *\"] }", cors);
    let setting = Setting::start(&api).await;
    let preflight = "OPTIONS /a/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\norigin: https://a.example\r\naccess-control-request-method: GET\r\n\r\n";
    let answer = setting.send(preflight).await;
    assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("access-control-allow-methods: GET"), "{answer}");
    let stranger = "GET /a/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\norigin: https://b.example\r\n\r\n";
    let answer = setting.send(stranger).await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("allow-origin"), "{answer}");
}

#[tokio::test]
async fn an_integration_that_is_late_is_given_up() {
    let server = Server::silent().await;
    let uri = format!("{{ type = \"http_proxy\", uri = \"http://{}/\", timeout = \"50ms\" }}", server.address);
    let setting = Setting::start(&route("a", "GET /x", &uri, "")).await;
    let begun = std::time::Instant::now();
    let answer = setting.get("/a/x").await;
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.ends_with("{\"message\":\"Service Unavailable\"}"),
        "{answer}"
    );
}
