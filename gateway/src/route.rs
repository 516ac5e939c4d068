//! Which route a path and a method mean: API Gateway's rules for HTTP APIs
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html>).
//!
//! A literal segment stands before `{parameter}`, and that before `{greedy+}`, from left to right; at the same path a
//! method's own route stands before `ANY`; `$default` comes last. A parameter is one whole segment, a greedy one is the
//! rest of the path and at least one segment. A slash at the end of the path means nothing. Segments are compared as
//! they are written: `%2F` is no slash.

use std::{cmp::Ordering, fmt};

/// What a route is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteKey {
    /// The method; `None` for `ANY`.
    pub method: Option<String>,
    /// The path's pattern; `None` for `$default`.
    pub path: Option<Vec<Segment>>,
    /// The path as it was written: `/users/{id}`, `$default`.
    pub template: String,
}

/// One segment of a path's pattern. Ordered by which is tried first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// Any one segment, by a name.
    Parameter(String),
    /// All that is left, by a name.
    Greedy(String),
}

/// A text that is no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotARoute(pub &'static str);

/// What would be a route, in words.
pub(crate) const EXPECTED: &str =
    "a method or ANY and a path, such as \"GET /users/{id}\" or \"ANY /files/{proxy+}\", or \"$default\"";

impl RouteKey {
    /// Reads `GET /users/{id}`, `ANY /files/{proxy+}` or `$default`.
    pub fn parse(text: &str) -> Result<Self, NotARoute> {
        if text == "$default" {
            return Ok(Self { method: None, path: None, template: text.to_owned() });
        }
        let (method, path) = text.split_once(' ').ok_or(NotARoute("it has no method"))?;
        let path = path.trim();
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(NotARoute("its method is not in capital letters"));
        }
        let inner = path.strip_prefix('/').ok_or(NotARoute("its path does not begin with a slash"))?;
        let segments = inner.split('/').filter(|segment| !segment.is_empty()).map(Segment::parse);
        let segments: Vec<_> = segments.collect::<Result<_, _>>()?;
        let greedy = segments.iter().position(|segment| matches!(segment, Segment::Greedy(_)));
        if greedy.is_some_and(|index| index + 1 < segments.len()) {
            return Err(NotARoute("its greedy parameter is not the last segment"));
        }
        let names: Vec<_> = segments.iter().filter_map(Segment::name).collect();
        if names.iter().enumerate().any(|(index, name)| names[..index].contains(name)) {
            return Err(NotARoute("two of its parameters have one name"));
        }
        let method = (method != "ANY").then(|| method.to_owned());
        Ok(Self { method, path: Some(segments), template: path.to_owned() })
    }

    /// Whether two routes would answer the same requests.
    pub fn means_the_same(&self, other: &Self) -> bool {
        self.method == other.method && self.precedence(other) == Ordering::Equal
    }

    /// Which of two routes is tried first. Equal for routes that differ in the names of their parameters only.
    pub fn precedence(&self, other: &Self) -> Ordering {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(text) => (0, text.clone()),
            Segment::Parameter(_) => (1, String::new()),
            Segment::Greedy(_) => (2, String::new()),
        };
        match (&self.path, &other.path) {
            (Some(path), Some(others)) => path.iter().map(rank).cmp(others.iter().map(rank)),
            (path, others) => path.is_none().cmp(&others.is_none()),
        }
        .then(self.method.is_none().cmp(&other.method.is_none()))
    }

    /// The values of the parameters, if the route means this path and method.
    pub fn matches<'p>(
        &self,
        method: &str,
        path: &[&'p str],
        rest: impl Fn(usize) -> &'p str,
    ) -> Option<Parameters<'_, 'p>> {
        if self.method.as_deref().is_some_and(|own| own != method) {
            return None;
        }
        let mut parameters = Vec::new();
        let Some(pattern) = &self.path else { return Some(parameters) };
        for (index, segment) in pattern.iter().enumerate() {
            let value = *path.get(index)?;
            match segment {
                Segment::Literal(text) if text == value => {}
                Segment::Literal(_) => return None,
                Segment::Parameter(name) => parameters.push((name.as_str(), value)),
                Segment::Greedy(name) => {
                    parameters.push((name.as_str(), rest(index)));
                    return Some(parameters);
                }
            }
        }
        (pattern.len() == path.len()).then_some(parameters)
    }
}

/// Names and values of a path's parameters.
pub(crate) type Parameters<'r, 'p> = Vec<(&'r str, &'p str)>;

impl Segment {
    fn parse(text: &str) -> Result<Self, NotARoute> {
        let Some(inner) = text.strip_prefix('{') else {
            if text.contains(['{', '}']) {
                return Err(NotARoute("a parameter is not a whole segment"));
            }
            return Ok(Self::Literal(text.to_owned()));
        };
        let name = inner.strip_suffix('}').ok_or(NotARoute("a parameter is not a whole segment"))?;
        let (name, is_greedy) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(NotARoute("a parameter has no name of letters, digits, - _ . :"));
        }
        Ok(if is_greedy { Self::Greedy(name.to_owned()) } else { Self::Parameter(name.to_owned()) })
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Parameter(name) | Self::Greedy(name) => Some(name),
        }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            None => f.write_str(&self.template),
            Some(_) => write!(f, "{} {}", self.method.as_deref().unwrap_or("ANY"), self.template),
        }
    }
}

/// The segments of a path, and where each begins in it.
pub(crate) fn segments(path: &str) -> Vec<&str> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() { Vec::new() } else { inner.split('/').collect() }
}

/// The part of `path` that begins with its segment `segments[index]`; `segments` must be parts of `path`.
pub(crate) fn rest_of<'p>(path: &'p str, segments: &[&'p str], index: usize) -> &'p str {
    let before: usize = segments[..index].iter().map(|segment| segment.len() + 1).sum();
    let inner = path.strip_prefix('/').unwrap_or(path);
    inner.get(before..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(routes: &[&str], method: &str, path: &str) -> Option<String> {
        let mut keys: Vec<_> = routes.iter().map(|text| RouteKey::parse(text).unwrap()).collect();
        keys.sort_by(RouteKey::precedence);
        let parts = segments(path);
        keys.iter()
            .find(|key| key.matches(method, &parts, |index| rest_of(path, &parts, index)).is_some())
            .map(ToString::to_string)
    }

    #[test]
    fn priorities_are_those_of_the_developer_guide() {
        let routes = ["GET /pets/dog/1", "GET /pets/dog/{id}", "GET /pets/{proxy+}", "ANY /{proxy+}", "$default"];
        for (method, path, expected) in [
            ("GET", "/pets/dog/1", "GET /pets/dog/1"),
            ("GET", "/pets/dog/2", "GET /pets/dog/{id}"),
            ("GET", "/pets/cat/1", "GET /pets/{proxy+}"),
            ("POST", "/test/5", "ANY /{proxy+}"),
            ("POST", "/pets/dog/1", "ANY /{proxy+}"),
            ("GET", "/", "$default"),
            ("GET", "/pets/dog/1/", "GET /pets/dog/1"),
        ] {
            assert_eq!(find(&routes, method, path).as_deref(), Some(expected), "{method} {path}");
        }
        assert_eq!(find(&["GET /a", "GET /{x}/b"], "GET", "/a/b").as_deref(), Some("GET /{x}/b"));
        assert_eq!(find(&["GET /a"], "POST", "/a"), None);
        assert_eq!(find(&["GET /{proxy+}"], "GET", "/"), None);
    }

    #[test]
    fn parameters_have_the_values_of_their_segments() {
        let key = RouteKey::parse("GET /users/{id}/{proxy+}").unwrap();
        let path = "/users/a%2Fb/c//d";
        let parts = segments(path);
        let parameters = key.matches("GET", &parts, |index| rest_of(path, &parts, index)).unwrap();
        assert_eq!(parameters, [("id", "a%2Fb"), ("proxy", "c//d")]);
    }

    #[test]
    fn what_is_no_route_is_told_why() {
        for (text, why) in [
            ("/users", "it has no method"),
            ("get /users", "its method is not in capital letters"),
            ("GET users", "its path does not begin with a slash"),
            ("GET /{a+}/b", "its greedy parameter is not the last segment"),
            ("GET /x{a}", "a parameter is not a whole segment"),
            ("GET /{a", "a parameter is not a whole segment"),
            ("GET /{}", "a parameter has no name of letters, digits, - _ . :"),
            ("GET /{a}/{a}", "two of its parameters have one name"),
        ] {
            assert_eq!(RouteKey::parse(text), Err(NotARoute(why)), "{text}");
        }
    }

    fn pattern() -> impl Strategy<Value = String> {
        let segment = prop_oneof![3 => "[ab]", 1 => Just("{p}".to_owned())];
        (prop::sample::select(&["GET", "ANY"]), prop::collection::vec(segment, 0..3), any::<bool>()).prop_map(
            |(method, mut segments, greedy)| {
                for (index, segment) in segments.iter_mut().enumerate().filter(|(_, segment)| *segment == "{p}") {
                    *segment = format!("{{p{index}}}");
                }
                if greedy {
                    segments.push("{rest+}".to_owned());
                }
                format!("{method} /{}", segments.join("/"))
            },
        )
    }

    proptest! {
        #[test]
        fn a_found_route_matches_and_no_route_before_it_does(
            routes in prop::collection::vec(pattern(), 1..8), path in prop::collection::vec("[abc]", 0..4), get in any::<bool>(),
        ) {
            let routes: Vec<_> = routes.iter().map(String::as_str).collect();
            let (method, path) = (if get { "GET" } else { "POST" }, format!("/{}", path.join("/")));
            // The oracle: a pattern as a regular language, spelt out segment by segment.
            let matches = |route: &str| {
                let (own, pattern) = route.split_once(' ').unwrap();
                let (pattern, path) = (segments(pattern), segments(&path));
                (own == "ANY" || own == method)
                    && if pattern.last() == Some(&"{rest+}") { path.len() >= pattern.len() } else { path.len() == pattern.len() }
                    && pattern.iter().zip(&path).all(|(pattern, value)| pattern.starts_with('{') || pattern == value)
            };
            let found = find(&routes, method, &path);
            prop_assert_eq!(found.is_some(), routes.iter().any(|route| matches(route)));
            if let Some(found) = found {
                prop_assert!(matches(&found));
            }
        }
    }
}
