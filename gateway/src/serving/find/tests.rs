//! Hosts, base paths, stages: the tables of sections 9.2 and 9.5.

use std::path::Path;

use weir_station::config::Document;

use super::*;
use crate::config::{Config, OTHER_SECTIONS};

const SERVED: &str = r#"
[[api]]
name = "shop"
[[api.stage]]
name = "prod"
[[api.stage]]
name = "$default"
[[api.route]]
route = "GET /users/{id}"
integration = { type = "mock" }
[[api.route]]
route = "GET /prod/x"
integration = { type = "mock" }

[[api]]
name = "all"
path = "/"
kind = "rest"
[[api.stage]]
name = "live"
[[api.route]]
route = "ANY /{proxy+}"
integration = { type = "mock" }

[[api]]
name = "hidden"
path = "off"
[[api.route]]
route = "$default"
integration = { type = "mock" }

[[domain]]
name = "api.example.com"
[[domain.mapping]]
path = "v1"
api = "shop"
stage = "prod"
[[domain.mapping]]
path = "v1/hidden"
api = "hidden"

[[domain]]
name = "*.example.com"
[[domain.mapping]]
api = "hidden"
"#;

fn serving() -> Serving {
    let document = Document::parse(SERVED, Vec::new()).unwrap();
    let config = Config::read(&document, Path::new("data"));
    document.finish(OTHER_SECTIONS).unwrap();
    Serving::new(&config, None).unwrap()
}

/// `api stage route`, as far as found, and what stands before the routes.
fn find(serving: &Serving, host: &str, path: &str) -> (String, usize, Option<String>, bool) {
    let found = serving.find(Some(host), "GET", &Target::new(path));
    let place = &found.place;
    let names = [
        place.api().map(|api| api.name.clone()),
        place.stage().map(|stage| stage.name.clone()),
        place.route().map(|route| route.key.template.clone()),
    ];
    (
        names.into_iter().flatten().collect::<Vec<_>>().join(" "),
        found.below,
        found.base_path.map(|base| base.to_string()),
        found.is_unmapped,
    )
}

#[test]
fn the_default_endpoint_has_the_api_in_the_path_and_then_the_stage() {
    let serving = serving();
    for (path, place, below) in [
        ("/shop/users/1", "shop $default /users/{id}", 1),
        ("/shop/prod/users/1", "shop prod /users/{id}", 2),
        ("/shop/prod/prod/x", "shop prod /prod/x", 2),
        // The stage is looked for first: prod is one, and has no route /x.
        ("/shop/prod/x", "shop prod", 2),
        ("/shop/$default/users/1", "shop $default", 1),
        ("/live/a/b", "all live /{proxy+}", 1),
        ("/dead/a/b", "all", 0),
        ("/shopping", "all", 0),
    ] {
        assert_eq!(find(&serving, "127.0.0.1:8080", path), (place.to_owned(), below, None, false), "{path}");
    }
}

#[test]
fn a_domain_decides_by_its_longest_base_path_alone() {
    let serving = serving();
    let base = |text: &str| Some(text.to_owned());
    for (host, path, place, below, base) in [
        ("api.example.com", "/v1/users/1", "shop prod /users/{id}", 1, base("v1")),
        ("API.Example.Com:443", "/v1/users/1", "shop prod /users/{id}", 1, base("v1")),
        ("api.example.com.", "/v1/hidden/x", "hidden $default $default", 2, base("v1/hidden")),
        ("api.example.com", "/v1/hiddenx", "shop prod", 1, base("v1")),
        ("api.example.com", "/v10", "", 0, None),
        ("api.example.com", "/shop/users/1", "", 0, None),
        ("other.example.com", "/any/thing", "hidden $default $default", 0, base("")),
        ("a.b.example.com", "/", "hidden $default $default", 0, base("")),
        ("example.com", "/shop/users/1", "shop $default /users/{id}", 1, None),
    ] {
        let is_unmapped = place.is_empty();
        assert_eq!(find(&serving, host, path), (place.to_owned(), below, base, is_unmapped), "{host} {path}");
    }
}
