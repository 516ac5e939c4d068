//! API Gateway's own examples, and a naive matcher to compare with.

use proptest::prelude::*;

use super::*;

fn router(kind: ApiKind, routes: &[&str]) -> Router<String> {
    let keys: Vec<_> = routes.iter().map(|text| RouteKey::parse(text).unwrap()).collect();
    Router::new(kind, keys.iter().map(|key| (key, Arc::new(key.to_string()))))
}

fn find(kind: ApiKind, routes: &[&str], method: &str, path: &str) -> Option<String> {
    router(kind, routes).find(method, &Target::new(path), 0).map(|found| found.to_string())
}

#[test]
fn the_examples_of_the_developer_guide_hold() {
    // "Working with routes for HTTP APIs", the table of selected routes.
    let routes = ["GET /pets/dog/1", "GET /pets/dog/{id}", "GET /pets/{proxy+}", "ANY /{proxy+}", "$default"];
    for (method, path, route) in [
        ("GET", "/pets/dog/1", "GET /pets/dog/1"),
        ("GET", "/pets/dog/2", "GET /pets/dog/{id}"),
        ("GET", "/pets/cat/1", "GET /pets/{proxy+}"),
        ("POST", "/test/5", "ANY /{proxy+}"),
        ("POST", "/pets/dog/1", "ANY /{proxy+}"),
        ("GET", "/", "$default"),
        ("GET", "/pets/", "ANY /{proxy+}"),
    ] {
        assert_eq!(find(ApiKind::Http, &routes, method, path).as_deref(), Some(route), "{method} {path}");
    }
}

#[test]
fn an_http_api_prefers_a_whole_match_to_a_greedy_one_and_a_method_to_any() {
    let routes = ["GET /a/{rest+}", "GET /{x}/{y}", "ANY /a/b/{rest+}", "ANY /m", "GET /m"];
    for (method, path, route) in [
        ("GET", "/a/b", Some("GET /{x}/{y}")),
        ("GET", "/a/b/c", Some("ANY /a/b/{rest+}")),
        ("GET", "/a/x/c", Some("GET /a/{rest+}")),
        ("POST", "/a/b", None),
        ("GET", "/m/", Some("GET /m")),
        ("HEAD", "/m", Some("ANY /m")),
        // What is left need not have a name: the integration gets it as it was written.
        ("GET", "/a//", Some("GET /a/{rest+}")),
    ] {
        assert_eq!(find(ApiKind::Http, &routes, method, path).as_deref(), route, "{method} {path}");
    }
}

#[test]
fn a_rest_api_finds_the_resource_before_the_method() {
    let routes = ["GET /users/{id}", "POST /users/me", "ANY /files/{proxy+}", "GET /a/{x}/c", "GET /a/b/d", "GET /"];
    for (method, path, route) in [
        ("GET", "/users/42", Some("GET /users/{id}")),
        // /users/me is a resource of its own, which has no GET.
        ("GET", "/users/me", None),
        ("POST", "/users/me", Some("POST /users/me")),
        ("DELETE", "/files/a/b", Some("ANY /files/{proxy+}")),
        // {proxy+} needs a segment.
        ("GET", "/files", None),
        ("GET", "/files/", None),
        ("GET", "/a/b/c", Some("GET /a/{x}/c")),
        // HEAD is not derived from GET.
        ("HEAD", "/users/42", None),
        ("GET", "/", Some("GET /")),
        ("GET", "/nope", None),
    ] {
        assert_eq!(find(ApiKind::Rest, &routes, method, path).as_deref(), route, "{method} {path}");
    }
}

/// A route as a list of segments, matched without a tree.
fn is_match(key: &RouteKey, path: &[&str]) -> bool {
    let Some(pattern) = &key.path else { return true };
    let is_greedy = matches!(pattern.last(), Some(Segment::Greedy(_)));
    let fits = if is_greedy { path.len() >= pattern.len() } else { path.len() == pattern.len() };
    fits && pattern.iter().zip(path).all(|(segment, value)| match segment {
        Segment::Literal(text) => text == value,
        Segment::Parameter(_) => !value.is_empty(),
        Segment::Greedy(_) => true,
    })
}

/// What stands first, spelt out: whole matches, literals from left to right, the longer fixed part, the own method.
fn rank(key: &RouteKey) -> (u8, Vec<(u8, String)>, u8) {
    let Some(pattern) = &key.path else { return (2, Vec::new(), 0) };
    let is_greedy = matches!(pattern.last(), Some(Segment::Greedy(_)));
    let segments = pattern.iter().map(|segment| match segment {
        Segment::Literal(text) => (0, text.clone()),
        Segment::Parameter(_) => (1, String::new()),
        Segment::Greedy(_) => (2, String::new()),
    });
    (u8::from(is_greedy), segments.collect(), u8::from(key.method.is_none()))
}

fn routes() -> impl Strategy<Value = Vec<RouteKey>> {
    let segment = prop::sample::select(vec!["a", "b", "{x}"]);
    let path = (prop::collection::vec(segment, 0..4), any::<bool>());
    let method = prop::sample::select(vec!["GET", "POST", "ANY"]);
    let route = (method, path).prop_map(|(method, (segments, is_greedy))| {
        // Each parameter has a name of its own.
        let mut path: String = segments
            .iter()
            .enumerate()
            .fold(String::new(), |path, (index, segment)| path + "/" + &segment.replace('x', &format!("x{index}")));
        if is_greedy {
            path.push_str("/{rest+}");
        }
        RouteKey::parse(&format!("{method} {}", if path.is_empty() { "/" } else { &path })).unwrap()
    });
    prop::collection::vec(route, 0..12).prop_map(|routes| {
        let mut unique: Vec<RouteKey> = Vec::new();
        for route in routes {
            if !unique.iter().any(|other| other.means_the_same(&route)) {
                unique.push(route);
            }
        }
        unique
    })
}

proptest! {
    #[test]
    fn it_finds_what_a_naive_matcher_finds(
        routes in routes(), method in prop::sample::select(vec!["GET", "POST", "PUT"]),
        path in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..5),
    ) {
        let has = |key: &&RouteKey| key.method.as_deref().is_none_or(|own| own == method);
        let text = format!("/{}", path.join("/"));
        let target = Target::new(&text);
        let matching = || routes.iter().filter(|key| is_match(key, &path));

        let http = Router::new(ApiKind::Http, routes.iter().map(|key| (key, Arc::new(key.to_string()))));
        let expected = matching().filter(has).min_by_key(|key| rank(key)).map(ToString::to_string);
        prop_assert_eq!(http.find(method, &target, 0).map(|found| found.to_string()), expected);

        let rest = Router::new(ApiKind::Rest, routes.iter().map(|key| (key, Arc::new(key.to_string()))));
        // The resource: the first path, literals before parameters before greedy ones, whatever the method.
        let resource = matching().min_by_key(|key| rank(key).1);
        let of_resource = |key: &&RouteKey| resource.is_some_and(|resource| rank(resource).1 == rank(key).1);
        let expected = matching().filter(of_resource).filter(has).min_by_key(|key| rank(key).2);
        let expected = expected.map(ToString::to_string);
        prop_assert_eq!(rest.find(method, &target, 0).map(|found| found.to_string()), expected);
    }
}
