//! What a route is found by: a method and a path's pattern, as API Gateway writes them. [`crate::router`] finds it.

use std::{cmp::Ordering, fmt};

use crate::target::Target;

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

    /// The names and values of the parameters in a path that the route means, whose own segments begin at `from`.
    pub(crate) fn parameters<'k, 't>(&'k self, target: &Target<'t>, from: usize) -> Parameters<'k, 't> {
        let pattern = self.path.iter().flatten().enumerate();
        let value = |index: usize| target.segments().get(from + index).copied().unwrap_or_default();
        let parameters = pattern.filter_map(|(index, segment)| match segment {
            Segment::Literal(_) => None,
            Segment::Parameter(name) => Some((name.as_str(), value(index))),
            Segment::Greedy(name) => Some((name.as_str(), target.rest(from + index))),
        });
        parameters.collect()
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

    /// The name of a parameter.
    pub(crate) fn name(&self) -> Option<&str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_values_that_stand_in_the_path() {
        let key = RouteKey::parse("GET /users/{id}/files/{rest+}").unwrap();
        let target = Target::new("/shop/prod/users/a%2Fb/files/x//y/");
        assert_eq!(key.parameters(&target, 2), [("id", "a%2Fb"), ("rest", "x//y")]);
        assert_eq!(RouteKey::parse("$default").unwrap().parameters(&target, 0), []);
    }

    #[test]
    fn a_text_that_is_no_route_is_told_why() {
        for (text, why) in [
            ("/users", "it has no method"),
            ("get /users", "its method is not in capital letters"),
            ("GET users", "its path does not begin with a slash"),
            ("GET /{a+}/b", "its greedy parameter is not the last segment"),
            ("GET /{a}/{a}", "two of its parameters have one name"),
            ("GET /x{a}", "a parameter is not a whole segment"),
            ("GET /{}", "a parameter has no name of letters, digits, - _ . :"),
        ] {
            assert_eq!(RouteKey::parse(text), Err(NotARoute(why)), "{text}");
        }
    }

    #[test]
    fn routes_that_differ_in_the_names_of_their_parameters_mean_the_same() {
        let same = |a, b| RouteKey::parse(a).unwrap().means_the_same(&RouteKey::parse(b).unwrap());
        assert!(same("GET /a/{x}", "GET /a/{y}") && same("ANY /{x+}", "ANY /{y+}"));
        assert!(!same("GET /a/{x}", "ANY /a/{x}") && !same("GET /a/{x}", "GET /a/{x+}"));
    }
}
