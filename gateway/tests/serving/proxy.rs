//! What goes to the servers behind the gateway, what comes back, and what the records say of it.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
};

use super::{
    proxy, recorded, route,
    script::{Act, Scripted},
    setting::{Server, Setting, until},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_header_that_any_connection_line_names_stays_behind() {
    let server = Scripted::start(|_| {
        Act::Answer("HTTP/1.1 200 OK\r\nconnection: x-one\r\nconnection: keep-alive, x-two\r\nx-one: 1\r\nx-two: 2\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\nx-three: 3\r\ncontent-length: 2\r\n\r\nok".into())
    })
    .await;
    let setting = Setting::start(&recorded(server.address, "")).await;
    let answer = setting
        .send("GET /a/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\nconnection: x-one\r\nconnection: x-two\r\nx-one: 1\r\nx-two: 2\r\nx-three: 3\r\nproxy-authorization: Basic\r\n\r\n")
        .await;
    for head in [&server.seen()[0], &answer] {
        assert!(head.contains("\r\nx-three: 3\r\n"), "{head}");
        for header in ["x-one", "x-two", "keep-alive", "proxy-auth"] {
            assert!(!head.contains(header), "{header} in {head}");
        }
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_forwards_is_continued_line_by_line() {
    let server = Scripted::start(|_| Act::Answer(OK.into())).await;
    let setting =
        Setting::start(&format!("[gateway]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{}", recorded(server.address, "")))
            .await;
    let answer = setting
        .send("GET /a/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-for: 203.0.113.9, 127.0.0.7\r\nx-forwarded-proto: https\r\nx-forwarded-host: shop.example\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let head = &server.seen()[0];
    for header in [
        "x-forwarded-for: 6.6.6.6, 203.0.113.9, 127.0.0.7, 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: shop.example",
    ] {
        assert!(head.contains(&format!("\r\n{header}\r\n")), "{header} in {head}");
    }
    assert_eq!(head.matches("x-forwarded-for").count(), 1, "{head}");
    assert_eq!(setting.records(1).await[0]["client_address"], "203.0.113.9");
}

#[tokio::test]
async fn a_connection_that_the_server_closes_while_idle_is_closed_although_nobody_asks_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setting = Setting::start(&recorded(listener.local_addr().unwrap(), "")).await;
    let answered = Notify::new();
    let server = async {
        let mut stream = listener.accept().await.unwrap().0;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        answered.notified().await;
        stream.shutdown().await.unwrap();
        stream.read_buf(&mut head).await.unwrap()
    };
    let client = async {
        assert!(setting.get("/a/x").await.ends_with("ok"));
        answered.notify_one();
    };
    let ((), rest) = tokio::join!(client, server);
    assert_eq!(rest, 0);
}

#[tokio::test]
async fn connections_that_the_server_closes_while_idle_cost_no_request() {
    let server = Scripted::start(|_| Act::AnswerAndClose(OK.into())).await;
    let setting = Setting::start(&recorded(server.address, "")).await;
    for index in 0..20_usize {
        let answer = setting.get(&format!("/a/{index}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        until(|| async { server.closed() > index }).await;
    }
    assert_eq!(server.seen().len(), 20);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_the_clients_fault_and_no_servers() {
    let silent = |_: &str| Act::Silence;
    let (first, second) = (Scripted::start(silent).await, Scripted::start(silent).await);
    let log = "[api.access_log]\nto = \"RECORDS\"\nformat = \"weir\"";
    let service = format!(
        "[gateway]\nbody_limit = \"1KiB\"\n[[service]]\nname = \"s\"\nendpoints = [\"{}\", \"{}\"]\nfailures = 1\n",
        first.address, second.address
    );
    let setting = Setting::start(&(service + &route("a", "ANY /{p+}", &proxy("http://s/{p}"), log))).await;
    let body = format!("800\r\n{}\r\n0\r\n\r\n", "x".repeat(0x800));
    for _ in 0..4 {
        let head = "POST /a/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = setting.send(&format!("{head}{body}")).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    let declared =
        setting.send("POST /a/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 2000\r\n\r\n").await;
    assert!(declared.starts_with("HTTP/1.1 413"), "{declared}");
    let records = setting.records(5).await;
    assert!(records.iter().all(|record| record["outcome"] == "request_too_large"), "{records:?}");
    assert!(!setting.log().contains("server left out"), "{}", setting.log());
}

#[tokio::test]
async fn a_connection_on_which_an_upload_still_goes_on_serves_nobody_else() {
    // It answers a POST before its body has come, as servers do that do not want it.
    let server = Scripted::start(|_| Act::Answer(OK.into())).await;
    let integration =
        format!("{{ type = \"http_proxy\", uri = \"http://{}/{{p}}\", timeout = \"1s\" }}", server.address);
    let setting = Setting::start(&route("a", "ANY /{p+}", &integration, "")).await;
    for _ in 0..4 {
        let mut upload = setting.open("POST /a/x HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n1").await;
        upload.until("\r\n\r\nok").await;
        for _ in 0..4 {
            let answer = setting.get("/a/y").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_leave_the_connection_usable() {
    let server = Scripted::start(|head| {
        Act::Answer(match head.split(' ').nth(1).unwrap() {
            "/none" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
            "/same" => "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\ncontent-length: 7\r\n\r\n".into(),
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".into(),
        })
    })
    .await;
    let setting = Setting::start(&recorded(server.address, "")).await;
    let mut stream = setting.open("").await;
    for (line, status) in [("GET /a/none", "204"), ("GET /a/same", "304"), ("HEAD /a/x", "200"), ("GET /a/none", "204")]
    {
        stream.send(&format!("{line} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        let answer = stream.until("\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(answer.contains("content-length: 1000"), status == "200", "{answer}");
    }
    for record in setting.records(4).await {
        assert_eq!((&record["outcome"], &record["response_bytes"]), (&"ok".into(), &0.into()), "{record}");
    }
}

#[tokio::test]
async fn a_rest_api_remaps_headers_that_are_its_own_and_both_kinds_tell_the_requests_id() {
    let server = Scripted::start(|_| {
        Act::Answer("HTTP/1.1 401 No\r\nserver: nginx\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\nwww-authenticate: Basic\r\ncontent-length: 0\r\n\r\n".into())
    })
    .await;
    let rest = route(
        "r",
        "GET /x",
        &proxy(&format!("http://{}/", server.address)),
        "kind = \"rest\"\n[[api.stage]]\nname = \"s\"\n",
    );
    let setting = Setting::start(&(rest + &recorded(server.address, ""))).await;
    let answer = setting.get("/r/s/x").await;
    for header in [
        "x-amzn-remapped-server: nginx",
        "x-amzn-remapped-date: Thu, 01 Jan 1970",
        "x-amzn-remapped-www-authenticate: Basic",
        "x-amzn-requestid: ",
        "x-amz-apigw-id: ",
    ] {
        assert!(answer.contains(&format!("\r\n{header}")), "{header} in {answer}");
    }
    assert!(!answer.contains("\r\nserver:") && !answer.contains("\r\nwww-authenticate:"), "{answer}");
    let answer = setting.get("/a/x").await;
    assert!(answer.contains("\r\nwww-authenticate: Basic"), "{answer}");
    let record = setting.records(1).await.remove(0);
    let id = record["request_id"].as_str().unwrap();
    assert!(answer.contains(&format!("\r\napigw-requestid: {id}\r\n")), "{id} in {answer}");
    assert_eq!((&record["integration_status"], &record["status"]), (&401.into(), &401.into()));
}

// curl is waited for, while the server answers on another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_signers_request_goes_up_without_its_signature_and_the_phases_sum_to_the_latency() {
    let server = Scripted::start(|_| Act::Answer(OK.into())).await;
    let setting = Setting::signed(&format!("{}auth = \"iam\"\n", recorded(server.address, "")), "Allow").await;
    let answer = setting.signed_get("/a/x");
    assert_eq!(answer, "ok", "{:?}", setting.records(1).await);
    assert!(!server.seen()[0].contains("\r\nauthorization:"), "{}", server.seen()[0]);
    let unsigned = setting.get("/a/x").await;
    assert!(unsigned.starts_with("HTTP/1.1 403") && server.seen().len() == 1, "{unsigned}");
    let records = setting.records(2).await;
    let record = &records[0];
    assert_eq!(record["principal"], "arn:aws:iam::000000000000:user/alice", "{record}");
    let us = |name: &str| record[name].as_u64().unwrap_or_else(|| panic!("{name} in {record}"));
    assert_eq!(us("authorizer_latency_us") + us("integration_latency_us") + us("gateway_latency_us"), us("latency_us"));
    assert_eq!(records[1]["outcome"], "missing_authentication_token", "{}", records[1]);
}

#[tokio::test]
async fn a_server_that_fails_is_left_out_for_a_while_and_comes_back() {
    let (well, (gone, _kept)) = (Server::start().await, Server::closed());
    let service = format!(
        "[[service]]\nname = \"s\"\nendpoints = [\"{gone}\", \"{}\"]\nfailures = 2\nejection = \"100ms\"\n",
        well.address
    );
    let setting = Setting::start(&(service + &route("a", "ANY /{p+}", &proxy("http://s/{p}"), ""))).await;
    let left_out = || setting.log().matches("server left out").count();
    // Every thread keeps its own counts: more than one of them for each has come back by the fifth time.
    until(|| async {
        assert!(setting.get("/a/x").await.starts_with("HTTP/1.1 200"));
        left_out() >= 5
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_late_or_not_there_is_told_as_each_kind_of_api_tells_it() {
    let (silent, (gone, _kept)) = (Scripted::start(|_| Act::Silence).await, Server::closed());
    let rest = "kind = \"rest\"\n[[api.stage]]\nname = \"s\"\n";
    let late = format!("{{ type = \"http_proxy\", uri = \"http://{}/\", timeout = \"50ms\" }}", silent.address);
    let absent = proxy(&format!("http://{gone}/"));
    let setting = Setting::start(
        &[
            route("late", "GET /x", &late, ""),
            route("late-rest", "GET /x", &late, rest),
            route("absent", "GET /x", &absent, ""),
            route("absent-rest", "GET /x", &absent, rest),
        ]
        .concat(),
    )
    .await;
    for (path, status, message) in [
        ("/late/x", "503", "Service Unavailable"),
        ("/late-rest/s/x", "504", "Endpoint request timed out"),
        ("/absent/x", "503", "Service Unavailable"),
        ("/absent-rest/s/x", "504", "Network error communicating with endpoint"),
    ] {
        let answer = setting.get(path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(message), "{path}: {answer}");
    }
    assert_eq!(silent.seen().len(), 2);
    let metrics = setting.metrics().await;
    for outcome in ["integration_timeout", "integration_failure"] {
        assert!(metrics.contains(&format!("outcome=\"{outcome}\"}} 2\n")), "{metrics}");
    }
}

#[tokio::test]
async fn what_is_too_long_or_no_path_is_refused_and_counted_by_its_name() {
    let setting = Setting::start(&route("a", "GET /x", "{ type = \"mock\" }", "")).await;
    for (ask, status) in [
        (format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "x".repeat(9_000)), "414"),
        (format!("GET /a/x HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "x".repeat(11_000)), "431"),
        ("GET /a/../x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".into(), "400"),
    ] {
        let answer = setting.send(&ask).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    for outcome in ["uri_too_long", "headers_too_large", "bad_request"] {
        until(|| async { setting.metrics().await.contains(&format!("outcome=\"{outcome}\"}} 1\n")) }).await;
    }
}
