//! Documents as the configuration names them.

use std::{fs, path::Path};

use weir_station::config::{Document, Resolved};

use super::{HTTP, REST};
use crate::config::{
    Config,
    definitions::{ApiDefinition, Auth, Definitions},
    integration::Integration,
};

/// Reads a directory's `weir.toml`; every fault in a line.
fn read(files: &[(&str, &str)]) -> Result<(Definitions, Resolved), String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let document = Document::load(Some(&directory.path().join("weir.toml"))).unwrap();
    let config = Config::read(&document, Path::new("data"));
    let files: Vec<_> = config.definitions.files.iter().map(|file| file.starts_with(directory.path())).collect();
    assert!(files.iter().all(|is_within| *is_within));
    let resolved = document.finish(&[]).map_err(|faults| faults.to_string())?;
    Ok((config.definitions, resolved))
}

fn api<'d>(definitions: &'d Definitions, name: &str) -> &'d ApiDefinition {
    definitions.apis.iter().find(|api| api.name == name).unwrap()
}

const SHOP: &str = r#"
openapi: 3.0.3
paths:
  /users/{id}:
    get:
      security: [{oidc: [read]}]
      x-amazon-apigateway-integration:
        {type: http_proxy, uri: "https://${stageVariables.host}/{id}", tlsConfig: {serverNameToVerify: users}}
  /fine:
    get:
      x-amazon-apigateway-integration:
        {type: http_proxy, uri: "https://h/", timeoutInMillis: 100}
components:
  securitySchemes:
    oidc:
      type: oauth2
      x-amazon-apigateway-authorizer:
        {type: jwt, jwtConfiguration: {issuer: "https://id.example.com", audience: [a]}}
x-amazon-apigateway-cors: {allowOrigins: ["*"]}
"#;

#[test]
fn an_api_of_a_document_has_all_but_its_routes_from_the_file_that_names_it() {
    let toml = r#"
api_files = ["apis/shop.toml"]
[[api]]
name = "other"
[[api.route]]
route = "$default"
integration = { type = "mock" }
"#;
    let shop = r#"
[[api]]
name = "shop"
openapi = "apis/shop.yaml"
integration = { timeout = "3s", tls = { server_name = "all" } }
[[api.stage]]
name = "prod"
variables = { host = "users.internal" }
"#;
    let files = [("weir.toml", toml), ("apis/shop.toml", shop), ("apis/shop.yaml", SHOP)];
    let (definitions, resolved) = read(&files).unwrap();
    let shop = api(&definitions, "shop");
    let keys: Vec<_> = shop.routes.iter().map(|route| route.key.to_string()).collect();
    assert_eq!(keys, ["GET /fine", "GET /users/{id}"]);
    assert_eq!(shop.routes[1].auth, Auth::Jwt("shop/oidc".to_owned()));
    assert_eq!(
        (&definitions.jwt_authorizers[0].name[..], &shop.routes[1].scopes[..]),
        ("shop/oidc", &["read".to_owned()][..])
    );
    let proxies = shop.routes.iter().map(|route| match &route.integration {
        Integration::HttpProxy(proxy) => (proxy.timeout.as_millis(), proxy.tls.server_name.as_deref().unwrap()),
        other => panic!("{other:?}"),
    });
    assert_eq!(proxies.collect::<Vec<_>>(), [(100, "all"), (3_000, "users")]);
    assert_eq!(shop.cors.as_ref().unwrap().allow_origins, ["*"]);
    assert_eq!(definitions.files.len(), 2);
    let shown = resolved.to_string();
    assert!(shown.contains("apis/shop.toml: api[0].openapi = \"apis/shop.yaml\"\n"), "{shown}");
}

#[test]
fn faults_are_told_with_the_file_that_they_are_in() {
    let toml = "api_files = [\"a.toml\", \"none.toml\", \"a.toml\", \"bad.toml\"]\n[[api]]\nname = \"x\"\nopenapi = \"gone\"\n";
    let file = "[gateway]\nthreads = 1\n[[api]]\nname = \"shop\"\nopenapi = \"shop.yaml\"\nopenapy = 1\nbasepath = \"some\"\n\
                [[api.route]]\nroute = \"GET /\"\nintegration = { type = \"mock\" }\n[api.cors]\n";
    let files = [("weir.toml", toml), ("a.toml", file), ("bad.toml", "x = \n"), ("shop.yaml", SHOP)];
    let faults = read(&files).unwrap_err();
    for fault in [
        "none.toml: cannot be read",
        "a.toml: is included twice",
        "bad.toml: line 1",
        "a.toml: gateway: unknown key",
        "a.toml: api[0].openapy: unknown key; expected perhaps a.toml: api[0].openapi",
        "a.toml: api[0].basepath: is \"some\"",
        "a.toml: api[0].route: stands beside openapi",
        "a.toml: api[0].cors: stands beside that of the OpenAPI document",
        "a.toml: api[0].openapi: shop.yaml#/paths/~1users~1{id}/get: its integration's uri has no host",
        "api[0].openapi: gone cannot be read",
    ] {
        assert!(faults.lines().any(|line| line.starts_with(fault)), "no {fault} in\n{faults}");
    }
}

#[test]
fn a_document_that_disables_the_default_endpoint_is_reached_by_domains_alone() {
    let toml = "[[api]]\nname = \"shop\"\nopenapi = \"shop.yaml\"\n[[api.stage]]\nname = \"$default\"\nvariables = { host = \"h\" }\n";
    let extension =
        "servers: [{url: /, x-amazon-apigateway-endpoint-configuration: {disableExecuteApiEndpoint: true}}]\n";
    let (definitions, _) = read(&[("weir.toml", toml), ("shop.yaml", &format!("{SHOP}{extension}"))]).unwrap();
    assert_eq!(api(&definitions, "shop").base, None);
    let (definitions, _) = read(&[("weir.toml", toml), ("shop.yaml", SHOP)]).unwrap();
    assert_eq!(api(&definitions, "shop").base, Some(vec!["shop".to_owned()]));
}

#[test]
fn exported_documents_bring_mappings_functions_and_authorizers() {
    let http = "[[api]]\nname = \"shop\"\nopenapi = \"shop.yaml\"\n";
    let (definitions, _) = read(&[("weir.toml", http), ("shop.yaml", HTTP)]).unwrap();
    let mapped = definitions.apis[0]
        .routes
        .iter()
        .filter(|route| matches!(&route.integration, Integration::HttpProxy(proxy) if !proxy.mapping.is_empty()));
    assert!(mapped.count() > 0);
    let rest =
        format!("{http}kind = \"rest\"\n[[api.stage]]\nname = \"prod\"\nvariables = {{ function = \"orders\" }}\n");
    let (definitions, _) = read(&[("weir.toml", &rest), ("shop.yaml", REST)]).unwrap();
    assert!(definitions.lambda_authorizers.iter().any(|own| own.name == "shop/custom"));
    assert!(definitions.apis[0].routes.iter().any(|route| matches!(&route.integration, Integration::Lambda(_))));
}
