//! The base path that a document's servers have, and what API Gateway's extensions say of them.

use super::{BasePath, Hints, node::Node};

/// What the servers say.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// What stands before every path: `/a/b`, or nothing.
    pub base: String,
    /// Whether domains alone lead to the API.
    pub disables_default_endpoint: bool,
}

/// Reads `servers`: the first one's base path, and the extensions of all.
pub(super) fn read(root: &Node<'_, '_>, hints: &Hints<'_>) -> Servers {
    let mut servers = Servers::default();
    let Some(list) = root.get("servers") else { return servers };
    for (index, server) in list.items().into_iter().enumerate() {
        let extension = "x-amazon-apigateway-endpoint-configuration";
        server.refuse_others(&["url", "variables", extension], &["description", "name"], "url and variables");
        if let Some(endpoint) = server.get(extension) {
            servers.disables_default_endpoint |= read_endpoint(&endpoint);
        }
        if index == 0 && hints.basepath != BasePath::Ignore {
            servers.base = base_path(&server, hints.basepath);
        }
    }
    servers
}

/// Reads the endpoint's configuration: whether it disables the default endpoint.
pub(super) fn read_endpoint(endpoint: &Node<'_, '_>) -> bool {
    endpoint.refuse_others(
        &["disableExecuteApiEndpoint", "vpcEndpointIds", "types", "ipAddressType"],
        &[],
        "disableExecuteApiEndpoint",
    );
    if let Some(ids) = endpoint.get("vpcEndpointIds") {
        let problem = "asks for VPC endpoints, which only AWS has";
        ids.fault(problem, "none; gateway.listen says where the gateway can be reached");
    }
    for kind in endpoint.get("types").iter().flat_map(Node::items) {
        if !kind.text().is_none_or(|kind| matches!(kind, "REGIONAL" | "EDGE")) {
            let expected = "REGIONAL or EDGE; gateway.listen says where the gateway can be reached";
            kind.fault(format!("is {}", kind.value()), expected);
        }
    }
    endpoint.get("disableExecuteApiEndpoint").is_some_and(|value| value.boolean())
}

/// The base path: the variable `basePath`, or else the path of the URL.
fn base_path(server: &Node<'_, '_>, mode: BasePath) -> String {
    let variables = server.get("variables");
    let default = |name: &str| {
        let variable = variables.as_ref()?.get(name)?;
        variable.get("default")?.text().map(str::to_owned)
    };
    let path = default("basePath").or_else(|| {
        let url = server.get("url")?;
        let mut text = url.text()?.to_owned();
        for (name, variable) in variables.iter().flat_map(Node::entries) {
            let value = variable.get("default").and_then(|value| value.text()).unwrap_or_default();
            text = text.replace(&format!("{{{name}}}"), value);
        }
        let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest.trim_start_matches(|c| c != '/'));
        Some(rest.to_owned())
    });
    let path = path.unwrap_or_default();
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let skipped = usize::from(mode == BasePath::Split);
    segments.skip(skipped).map(|segment| format!("/{segment}")).collect()
}
