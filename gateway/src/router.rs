//! Which of a stage's routes a path and a method mean.
//!
//! HTTP APIs (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html>): a route that
//! matches the whole path stands before one with a greedy parameter, and that before `$default`; literals stand before
//! parameters, and at the same path a method's own route before `ANY`. A route of another method is passed over.
//!
//! REST APIs: first the resource is found, whatever the method: at each level a literal stands before a parameter, and
//! that before a greedy one. Then the resource must have the method, or `ANY`.
//!
//! In both a parameter is one segment that is not empty, a greedy one is the rest of the path, at least one segment; a
//! slash at the end of the path means nothing; segments are compared as [`crate::target`] gives them: `%2F` is no slash.
//!
//! What always holds: the time to find a route grows with the length of the path, not with the number of routes; where
//! both a literal and a parameter go on, each node of the tree is looked at once at most.

use std::sync::Arc;

use crate::{
    config::definitions::ApiKind,
    route::{RouteKey, Segment},
    target::Target,
};

/// The routes of a stage, by segment.
#[derive(Debug)]
pub(crate) struct Router<R> {
    kind: ApiKind,
    root: Node<R>,
    default: Option<Arc<R>>,
}

#[derive(Debug)]
struct Node<R> {
    /// Sorted by the segment.
    literals: Vec<(String, Node<R>)>,
    parameter: Option<Box<Node<R>>>,
    /// Routes that end here.
    here: Methods<R>,
    /// Routes that end with a greedy parameter after this.
    greedy: Methods<R>,
}

/// The routes of one path, by method.
#[derive(Debug)]
struct Methods<R> {
    own: Vec<(String, Arc<R>)>,
    any: Option<Arc<R>>,
}

impl<R> Default for Node<R> {
    fn default() -> Self {
        Self { literals: Vec::new(), parameter: None, here: Methods::default(), greedy: Methods::default() }
    }
}

impl<R> Default for Methods<R> {
    fn default() -> Self {
        Self { own: Vec::new(), any: None }
    }
}

impl<R> Methods<R> {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.any.is_none()
    }

    fn of(&self, method: &str) -> Option<&Arc<R>> {
        self.own.iter().find_map(|(own, route)| (own == method).then_some(route)).or(self.any.as_ref())
    }

    fn put(&mut self, method: Option<&str>, route: Arc<R>) {
        match method {
            Some(method) => self.own.push((method.to_owned(), route)),
            None => self.any = Some(route),
        }
    }
}

impl<R> Router<R> {
    /// A router over these routes, none of which means the same as another.
    pub(crate) fn new<'k>(kind: ApiKind, routes: impl IntoIterator<Item = (&'k RouteKey, Arc<R>)>) -> Self {
        let (mut root, mut default) = (Node::default(), None);
        for (key, route) in routes {
            match &key.path {
                None => default = Some(route),
                Some(path) => root.put(path, key.method.as_deref(), route),
            }
        }
        Self { kind, root, default }
    }

    /// The route that a path (its segments from `from` on) and a method mean.
    pub(crate) fn find(&self, method: &str, target: &Target<'_>, from: usize) -> Option<&Arc<R>> {
        let path = &target.segments()[from..];
        match self.kind {
            ApiKind::Http => {
                let found = self.root.full(path, method).or_else(|| self.root.with_greedy(path, method));
                found.or(self.default.as_ref())
            }
            ApiKind::Rest => self.root.resource(path)?.of(method),
        }
    }
}

impl<R> Node<R> {
    fn put(&mut self, path: &[Segment], method: Option<&str>, route: Arc<R>) {
        match path.split_first() {
            None => self.here.put(method, route),
            Some((Segment::Greedy(_), _)) => self.greedy.put(method, route),
            Some((Segment::Parameter(_), rest)) => {
                self.parameter.get_or_insert_default().put(rest, method, route);
            }
            Some((Segment::Literal(text), rest)) => {
                let at = self.literals.binary_search_by(|(own, _)| own.as_str().cmp(text));
                let at = at.unwrap_or_else(|at| {
                    self.literals.insert(at, (text.clone(), Self::default()));
                    at
                });
                self.literals[at].1.put(rest, method, route);
            }
        }
    }

    fn literal(&self, segment: &str) -> Option<&Self> {
        let at = self.literals.binary_search_by(|(own, _)| own.as_str().cmp(segment)).ok()?;
        Some(&self.literals[at].1)
    }

    /// Where a segment goes on, the likelier one first.
    fn next(&self, segment: &str) -> impl Iterator<Item = &Self> {
        let parameter = self.parameter.as_deref().filter(|_| !segment.is_empty());
        self.literal(segment).into_iter().chain(parameter)
    }

    /// A route that has the whole path and the method.
    fn full(&self, path: &[&str], method: &str) -> Option<&Arc<R>> {
        match path.split_first() {
            None => self.here.of(method),
            Some((segment, rest)) => self.next(segment).find_map(|node| node.full(rest, method)),
        }
    }

    /// The route with the longest fixed part before its greedy parameter.
    fn with_greedy(&self, path: &[&str], method: &str) -> Option<&Arc<R>> {
        let (segment, rest) = path.split_first()?;
        let deeper = self.next(segment).find_map(|node| node.with_greedy(rest, method));
        deeper.or_else(|| self.greedy.of(method))
    }

    /// The resource that a path means, which has at least one method.
    fn resource(&self, path: &[&str]) -> Option<&Methods<R>> {
        let Some((segment, rest)) = path.split_first() else {
            return Some(&self.here).filter(|here| !here.is_empty());
        };
        let deeper = self.next(segment).find_map(|node| node.resource(rest));
        deeper.or_else(|| Some(&self.greedy).filter(|greedy| !greedy.is_empty()))
    }
}

#[cfg(test)]
mod tests;
