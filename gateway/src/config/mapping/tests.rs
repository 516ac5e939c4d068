use super::*;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(target, value)| ((*target).to_owned(), (*value).to_owned())).collect()
}

fn of_request(kind: ApiKind, target: &str, value: &str) -> Result<Mapping, Vec<String>> {
    Mapping::parse(kind, &pairs(&[(target, value)]), &[])
}

fn of_response(kind: ApiKind, status: &str, target: &str, value: &str) -> Result<Mapping, Vec<String>> {
    Mapping::parse(kind, &[], &[(status.to_owned(), pairs(&[(target, value)]))])
}

#[test]
fn each_documented_form_is_taken() {
    for (target, value) in [
        ("append:header.x", "text"),
        ("overwrite:header.x", "$request.header.y"),
        ("remove:header.x", ""),
        ("remove:header.x", "''"),
        ("append:querystring.a", "$request.querystring.b"),
        ("overwrite:querystring.a", "$request.body.a[0]['b c'].d"),
        ("overwrite:querystring.a", "$request.body"),
        ("remove:querystring.a", ""),
        ("overwrite:path", "/v2/$request.path.id"),
        ("overwrite:path", "$request.path"),
        ("overwrite:path", "/${request.path.id}x/${$stageVariables.v}"),
        ("append:header.x", "$context.requestId costs $5 $"),
        ("append:header.x", "$context.authorizer.claims.sub"),
        ("append:header.x", "$context.identity.sourceIp"),
        ("overwrite:header.host", "inner"),
    ] {
        of_request(ApiKind::Http, target, value).unwrap_or_else(|problem| panic!("{target} {value}: {problem:?}"));
    }
    for (target, value) in [
        ("integration.request.header.X", "'text'"),
        ("integration.request.header.authorization", "method.request.header.y"),
        ("integration.request.header.x", "method.request.multivalueheader.y"),
        ("integration.request.querystring.x", "method.request.querystring.y"),
        ("integration.request.querystring.x", "method.request.multivaluequerystring.y"),
        ("integration.request.path.x", "method.request.path.y"),
        ("integration.request.header.x", "method.request.body"),
        ("integration.request.header.x", "method.request.body.a[0]"),
        ("integration.request.header.x", "stageVariables.a"),
        ("integration.request.header.x", "context.identity.sourceIp"),
        ("integration.request.header.x", "context.requestId"),
    ] {
        of_request(ApiKind::Rest, target, value).unwrap_or_else(|problem| panic!("{target} {value}: {problem:?}"));
    }
    for (kind, target, value) in [
        (ApiKind::Http, "append:header.x", "$response.header.y"),
        (ApiKind::Http, "overwrite:header.x", "$response.body.a of $context.requestId"),
        (ApiKind::Http, "overwrite:statuscode", "503"),
        (ApiKind::Http, "overwrite:statuscode", "$response.header.y"),
        (ApiKind::Http, "remove:header.x", ""),
        (ApiKind::Rest, "method.response.header.X", "integration.response.header.Y"),
        (ApiKind::Rest, "method.response.header.X", "integration.response.multivalueheader.Y"),
        (ApiKind::Rest, "method.response.header.X", "integration.response.body.a"),
    ] {
        of_response(kind, "500", target, value).unwrap_or_else(|problem| panic!("{target} {value}: {problem:?}"));
    }
}

#[test]
fn what_means_nothing_is_refused_and_told_why() {
    for (target, value, why) in [
        ("set:header.x", "a", "append:, overwrite: or remove:"),
        ("append:path", "/a", "overwrite:path"),
        ("overwrite:header.a b", "a", "no name of a header"),
        ("overwrite:querystring.", "a", "is none"),
        ("overwrite:header.x", "$reqest.header.x", "is none"),
        ("overwrite:header.x", "${request.header.x", "without \"}\""),
        ("overwrite:header.x", "$response.header.x", "$response.header.x is none"),
        ("overwrite:header.x", "$context.nothing", "$context.nothing is none"),
        ("overwrite:header.x", "$request.body..a", "recursive descent"),
        ("overwrite:header.x", "$request.body.a[?(@.b)]", "filter"),
        ("overwrite:header.x", "a\r\nb: c", "no header can carry"),
        ("overwrite:path", "v2", "no path"),
        ("overwrite:path", "/a/../b", "dot segment"),
        ("remove:header.x", "a", "what is removed has none"),
        ("append:header.host", "a", "one host"),
        ("remove:header.host", "", "one host"),
        ("integration.request.header.x", "'a'", "is none"),
    ] {
        let problems = of_request(ApiKind::Http, target, value).unwrap_err().join("; ");
        assert!(problems.contains(why) && problems.contains(target), "{target} {value}: {problems}");
    }
    for (target, value, why) in [
        ("append:header.x", "a", "integration.request."),
        ("integration.request.header.x", "text", "in single quotes"),
        ("integration.request.header.x", "$request.header.x", "in single quotes"),
        ("integration.request.header.x", "integration.response.header.x", "in single quotes"),
        ("integration.request.body.x", "'a'", "is none"),
    ] {
        let problems = of_request(ApiKind::Rest, target, value).unwrap_err().join("; ");
        assert!(problems.contains(why), "{target} {value}: {problems}");
    }
    for (status, target, value, why) in [
        ("default", "append:header.x", "a", "no status"),
        ("101", "append:header.x", "a", "no status"),
        ("500", "overwrite:statuscode", "700", "no status"),
        ("500", "append:statuscode", "500", "overwrite:statuscode"),
        ("500", "append:header.x", "$request.header.x", "$response.header.x"),
        ("500", "append:querystring.x", "a", "is none"),
    ] {
        let problems = of_response(ApiKind::Http, status, target, value).unwrap_err().join("; ");
        assert!(problems.contains(why), "{status} {target} {value}: {problems}");
    }
}

#[test]
fn no_mapping_touches_what_the_gateway_itself_says() {
    for name in "access-control-allow-origin apigw-x Authorization Connection content-encoding content-length \
                 content-location forwarded keep-alive origin proxy-authenticate proxy-authorization te trailers trailer \
                 transfer-encoding upgrade x-amz-a x-amzn-trace-id x-forwarded-for x-forwarded-anything via"
        .split_whitespace()
    {
        for verb in ["append", "overwrite", "remove"] {
            let value = if verb == "remove" { "" } else { "a" };
            let target = format!("{verb}:header.{name}");
            assert!(of_request(ApiKind::Http, &target, value).is_err(), "{target}");
            assert!(of_response(ApiKind::Http, "200", &target, value).is_err(), "{target}");
        }
    }
    for name in "content-length transfer-encoding X-Amzn-Trace-Id X-Amzn-Apigateway-Api-Id connection te upgrade \
                 expect proxy-authenticate"
        .split_whitespace()
    {
        let target = format!("integration.request.header.{name}");
        assert!(of_request(ApiKind::Rest, &target, "'a'").is_err(), "{target}");
    }
}

#[test]
fn parameters_that_the_route_does_not_have_are_found() {
    let mapping = of_request(ApiKind::Http, "append:header.x", "$request.path.id and ${request.path.no}").unwrap();
    assert_eq!(mapping.unknown_parameter(&["id"]), Some("no"));
    assert_eq!(mapping.unknown_parameter(&["id", "no"]), None);
    let mapping = of_request(ApiKind::Rest, "integration.request.path.x", "method.request.header.y").unwrap();
    assert_eq!(mapping.path_parameters().collect::<Vec<_>>(), ["x"]);
    assert!(Mapping::default().is_empty() && !mapping.is_empty());
}

proptest::proptest! {
    #[test]
    fn no_text_stops_it(target in "(append|overwrite|remove|)[:.a-z]{0,12}", value in "[$\\{\\}.a-z\\[\\]'é]{0,24}") {
        for kind in [ApiKind::Http, ApiKind::Rest] {
            let _ = of_request(kind, &target, &value);
            let _ = of_response(kind, "200", &target, &value);
            for side in [Side::Request, Side::Response] {
                let _ = Expression::parse(&value, kind, side);
            }
        }
    }
}
