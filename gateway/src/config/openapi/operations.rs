//! A document's paths and their operations.

use super::{
    Hints, Imported, ImportedRoute, MOST_ROUTES, extensions, integration,
    node::Node,
    security::{self, Security},
    servers,
};
use crate::{config::definitions::ApiKind, route::RouteKey};

const ANY_METHOD: &str = "x-amazon-apigateway-any-method";

/// Fields of an operation that only document it.
const DOCUMENTATION: &[&str] = &[
    "tags",
    "summary",
    "description",
    "externalDocs",
    "operationId",
    "parameters",
    "requestBody",
    "responses",
    "callbacks",
    "deprecated",
];

/// Fields of an operation that are read.
const READ: &[&str] = &[
    "isDefaultRoute",
    "security",
    "x-amazon-apigateway-integration",
    "x-amazon-apigateway-auth",
    "x-amazon-apigateway-request-validator",
];

/// Reads the whole document.
pub(super) fn read(root: &Node<'_, '_>, hints: &Hints<'_>) -> Imported {
    if !check_version(root) {
        return Imported::default();
    }
    let servers = servers::read(root, hints);
    let mut imported = extensions::read(root, hints);
    imported.disables_default_endpoint |= servers.disables_default_endpoint;
    let mut security = Security::new(root, hints);
    let Some(paths) = root.get("paths") else {
        root.fault("has no paths", "paths with their operations");
        return imported;
    };
    for (path, item) in paths.entries() {
        if path.starts_with("x-") && !path.starts_with("x-amazon-") {
            continue;
        }
        read_path(path, &item, &servers.base, hints, &mut security, &mut imported.routes);
    }
    if imported.routes.len() > MOST_ROUTES {
        paths.fault(format!("has {} operations", imported.routes.len()), format!("at most {MOST_ROUTES}"));
    }
    imported.authorizers = security.authorizers();
    imported
}

/// Whether it is a document that can be read.
fn check_version(root: &Node<'_, '_>) -> bool {
    let expected = "openapi: \"3.0.x\" or \"3.1.x\"";
    if root.get("swagger").is_some() {
        root.fault("is an OpenAPI 2 (Swagger) document", "OpenAPI 3; API Gateway exports it as exportType oas30");
        return false;
    }
    let Some(version) = root.get("openapi") else {
        root.fault("has no version", expected);
        return false;
    };
    // `openapi: 3.1` without quotes is a number in YAML.
    let text = version.value().as_str().map_or_else(|| version.value().to_string(), str::to_owned);
    let is_known = ["3.0", "3.1"]
        .iter()
        .any(|known| text.strip_prefix(known).is_some_and(|patch| patch.is_empty() || patch.starts_with('.')));
    if !is_known {
        version.fault(format!("is {text:?}"), expected);
    }
    is_known
}

fn read_path<'r, 'd>(
    path: &str,
    item: &Node<'r, 'd>,
    base: &str,
    hints: &Hints<'_>,
    security: &mut Security<'r, 'd, '_>,
    routes: &mut Vec<ImportedRoute>,
) {
    let Some(item) = item.clone().resolved() else { return };
    let methods = ["get", "put", "post", "delete", "options", "head", "patch"];
    let mut read = methods.to_vec();
    read.push(ANY_METHOD);
    let documentation = ["$ref", "summary", "description", "parameters"];
    item.refuse_others(&read, &documentation, "operations of get, put, post, delete, options, head and patch");
    for key in read {
        let Some(operation) = item.get(key) else { continue };
        let method = if key == ANY_METHOD { "ANY".to_owned() } else { key.to_ascii_uppercase() };
        let Some(key) = route_key(path, &method, &operation, base, hints.kind) else { continue };
        if let Some(route) = read_operation(key, &operation, hints, security) {
            let same = routes.iter().take(MOST_ROUTES).find(|other| other.key.means_the_same(&route.key));
            if let Some(other) = same {
                let problem = format!("means the same requests as {:?}", other.key.to_string());
                operation.fault(problem, "each route once");
            }
            routes.push(route);
        }
    }
}

/// What the operation is found by.
fn route_key(path: &str, method: &str, operation: &Node<'_, '_>, base: &str, kind: ApiKind) -> Option<RouteKey> {
    let is_marked = operation.get("isDefaultRoute").is_some_and(|value| value.boolean());
    if is_marked || matches!(path, "$default" | "/$default") {
        if kind == ApiKind::Rest {
            operation.fault("is the default route, which only HTTP APIs have", "kind = \"http\", or \"/{proxy+}\"");
        } else if method != "ANY" {
            operation.fault("is the default route, but of one method", ANY_METHOD);
        }
        return RouteKey::parse("$default").ok();
    }
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || "_-.,:{}/+".contains(character);
    if let Some(character) = path.chars().find(|character| !is_allowed(*character)) {
        operation.fault(format!("has {character:?} in its path"), "letters, digits and _ - . , : { } in paths");
        return None;
    }
    let whole = match path {
        "/" if !base.is_empty() => base.to_owned(),
        _ => format!("{base}{path}"),
    };
    match RouteKey::parse(&format!("{method} {whole}")) {
        Ok(key) => Some(key),
        Err(error) => {
            operation.fault(format!("cannot be a route: {}", error.0), "a path such as /users/{id} or /files/{proxy+}");
            None
        }
    }
}

fn read_operation<'r, 'd>(
    key: RouteKey,
    operation: &Node<'r, 'd>,
    hints: &Hints<'_>,
    security: &mut Security<'r, 'd, '_>,
) -> Option<ImportedRoute> {
    operation.refuse_others(READ, DOCUMENTATION, "an operation's fields, as docs/openapi.md lists them");
    extensions::check_validator(operation);
    let needs = security::of_operation(operation, security);
    let integration = operation.get("x-amazon-apigateway-integration");
    if integration.is_none() {
        operation.fault("has no x-amazon-apigateway-integration", "one: what answers it");
    }
    let integration = integration::read(&integration?.resolved()?, &key, hints)?;
    Some(ImportedRoute {
        key,
        place: format!("#{}", operation.pointer()),
        integration,
        auth: needs.auth,
        scopes: needs.scopes,
        needs_api_key: needs.needs_api_key,
    })
}
