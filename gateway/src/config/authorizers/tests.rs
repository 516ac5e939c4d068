//! What of an authorizer's configuration is taken, and what the operator is told of the rest.

use weir_station::config::Document;

use super::*;

/// What a reader makes of a section `[a]`, and the faults that it notes.
fn read<T>(text: &str, reader: fn(&Section) -> Option<T>) -> (Option<T>, Vec<String>) {
    let document = Document::parse(&format!("[a]\n{text}"), Vec::new()).unwrap();
    let read = reader(&document.section("a"));
    let faults = document.finish(&[]).err().map(|faults| faults.to_string());
    (read, faults.iter().flat_map(|text| text.lines()).map(str::to_owned).collect())
}

#[test]
fn a_jwt_authorizer_needs_little_and_says_where_its_keys_are() {
    let least = "name = \"a\"\nissuer = \"https://issuer.example\"\naudience = [\"shop\"]\n";
    let (own, faults) = read(least, read_jwt);
    let own = own.unwrap();
    assert_eq!((own.jwks, own.leeway, faults), (JwksSource::Discovery, Duration::ZERO, Vec::new()));
    assert_eq!(own.identity_source, [IdentitySource::Header(http::header::AUTHORIZATION)]);
    let more = "jwks = \"/etc/keys\"\nleeway = \"5s\"\nca = \"/etc/ca.pem\"\n\
                identity_source = [\"$request.header.X-Token\", \"$request.querystring.access_token\"]\n";
    let (own, faults) = read(&format!("{least}{more}"), read_jwt);
    let own = own.unwrap();
    assert_eq!(
        (own.jwks, own.leeway, faults),
        (JwksSource::File("/etc/keys".into()), Duration::from_secs(5), Vec::new())
    );
    assert_eq!(own.identity_source[1], IdentitySource::Query("access_token".into()));
}

#[test]
fn what_is_wrong_with_an_authorizer_is_told_with_what_would_be_right() {
    let rest = "name = \"a\"\nissuer = \"https://issuer.example\"\n";
    for (text, reason) in [
        (format!("{rest}audience = []"), "1 to 50 audiences"),
        (rest.to_owned(), "audience"),
        ("name = \"a\"\nissuer = \"me\"\naudience = [\"b\"]".to_owned(), "its keys cannot be found"),
        (format!("{rest}audience = [\"b\"]\nleeway = \"1h\""), "at most \"5m\""),
        (format!("{rest}audience = [\"b\"]\nidentity_source = [\"authorization\"]"), "$request.header.NAME"),
        (format!("{rest}audience = [\"b\"]\nidentity_source = []"), "is empty"),
        (format!("{rest}audience = [\"b\"]\nheader = \"x-token\""), "header"),
    ] {
        let (_, faults) = read(&text, read_jwt);
        assert!(faults.iter().any(|fault| fault.contains(reason)), "{reason}: {faults:?}");
    }
    for (text, reason) in [
        ("name = \"a\"\nuser_pools = []", "at least one user pool"),
        ("name = \"a\"\nuser_pools = [\"pool\"]", "eu-central-1_AbCdEf"),
        ("name = \"a\"\nuser_pools = [\"eu-central-1_a\"]\naudience_pattern = \"(\"", "a regular expression"),
        (
            "name = \"a\"\nuser_pools = [\"eu-central-1_a\"]\naudience_pattern = \"(.{1,99}){99}\"",
            "a regular expression",
        ),
    ] {
        let (_, faults) = read(text, read_cognito);
        assert!(faults.iter().any(|fault| fault.contains(reason)), "{reason}: {faults:?}");
    }
}

#[test]
fn a_user_pool_is_named_by_its_id_its_arn_or_its_issuer() {
    let issuer = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC";
    for text in [
        "eu-central-1_AbC",
        "arn:aws:cognito-idp:eu-central-1:123456789012:userpool/eu-central-1_AbC",
        issuer,
        "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC/",
    ] {
        let pool = UserPool::parse(text).unwrap();
        assert_eq!(pool.issuer, issuer, "{text}");
        assert_eq!(pool.jwks, JwksSource::Url(format!("{issuer}/.well-known/jwks.json")));
    }
    let china = UserPool::parse("cn-north-1_a").unwrap();
    assert_eq!(china.issuer, "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_a");
    for text in ["", "pool", "_a", "eu_", "eu-central-1_a/b", "evil.example/x_a", "https://", "arn:aws:x"] {
        assert_eq!(UserPool::parse(text), None, "{text}");
    }
}
