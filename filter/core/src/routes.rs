//! Finds the operation of a path: a tree of segments, in which a literal goes before a parameter.
//!
//! INVARIANT: a match compares bytes; a segment that only a decoding or case-folding reader takes for a literal matches
//! nothing in the literal's place. The work of one match is bounded whatever the contract holds.

use crate::limits::ROUTE_STEPS_MAX;
use crate::method::Method;
use crate::path::folded;

/// One part of a path template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    Literal(Box<str>),
    /// Any segment that is not empty. The name is the contract's.
    Parameter(Box<str>),
}

/// What a path and a method lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteMatch {
    Operation(OperationIndex),
    /// The path is known, the method on it is not.
    MethodNotDeclared,
    Unknown,
}

/// An operation's place in its contract. It means nothing without the contract's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationIndex(pub u32);

/// The routes of one service.
#[derive(Debug, Clone)]
pub struct Routes {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// Sorted by segment.
    literals: Vec<(Box<str>, usize)>,
    /// Sorted: the literals as they are after decoding, in lower case.
    folded_literals: Vec<Box<[u8]>>,
    parameter: Option<usize>,
    operations: Vec<(Method, OperationIndex)>,
}

/// Two operations that the same request would reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteTaken {
    pub by: OperationIndex,
}

impl Default for Routes {
    fn default() -> Self {
        Routes { nodes: vec![Node::default()] }
    }
}

impl Routes {
    pub fn insert(
        &mut self,
        method: Method,
        template: &[Segment],
        operation: OperationIndex,
    ) -> Result<(), RouteTaken> {
        let mut at = 0;
        for segment in template {
            at = match segment {
                Segment::Literal(text) => self.literal_child(at, text),
                Segment::Parameter(_) => self.parameter_child(at),
            };
        }
        let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
        if let Some((_, by)) = node.operations.iter().find(|(taken, _)| *taken == method) {
            return Err(RouteTaken { by: *by });
        }
        node.operations.push((method, operation));
        Ok(())
    }

    pub fn find<'a>(&self, method: Method, segments: impl Iterator<Item = &'a str> + Clone) -> RouteMatch {
        let mut steps = ROUTE_STEPS_MAX;
        match self.walk(0, segments, &mut steps) {
            None => RouteMatch::Unknown,
            Some(node) => match node.operations.iter().find(|(known, _)| *known == method) {
                Some((_, operation)) => RouteMatch::Operation(*operation),
                None => RouteMatch::MethodNotDeclared,
            },
        }
    }

    /// The first node, literals before parameters, that ends a template. Its depth is bounded by the path's.
    fn walk<'a>(
        &self,
        at: usize,
        mut segments: impl Iterator<Item = &'a str> + Clone,
        steps: &mut usize,
    ) -> Option<&Node> {
        *steps = steps.checked_sub(1)?;
        let node = self.nodes.get(at)?;
        let Some(segment) = segments.next() else {
            return (!node.operations.is_empty()).then_some(node);
        };
        let literal = node.literals.binary_search_by(|(text, _)| text.as_ref().cmp(segment)).ok();
        if let Some((_, child)) = literal.and_then(|found| node.literals.get(found))
            && let Some(found) = self.walk(*child, segments.clone(), steps)
        {
            return Some(found);
        }
        if literal.is_none() && node.resembles_literal(segment) {
            // `/{id}` must not take what the service takes for `/orders:cancel`: `/orders%3Acancel`, `/Orders:cancel`. With
            // no step left, no branch further up takes it either.
            *steps = 0;
            return None;
        }
        match node.parameter {
            Some(child) if !segment.is_empty() => self.walk(child, segments, steps),
            _ => None,
        }
    }

    fn literal_child(&mut self, at: usize, text: &str) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        match node.literals.binary_search_by(|(known, _)| known.as_ref().cmp(text)) {
            Ok(found) => node.literals.get(found).map_or(at, |(_, child)| *child),
            Err(place) => {
                node.literals.insert(place, (text.into(), new));
                let text: Box<[u8]> = folded(text).collect();
                if let Err(place) = node.folded_literals.binary_search(&text) {
                    node.folded_literals.insert(place, text);
                }
                self.nodes.push(Node::default());
                new
            }
        }
    }

    fn parameter_child(&mut self, at: usize) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        match node.parameter {
            Some(child) => child,
            None => {
                node.parameter = Some(new);
                self.nodes.push(Node::default());
                new
            }
        }
    }
}

impl Node {
    fn resembles_literal(&self, segment: &str) -> bool {
        self.folded_literals.binary_search_by(|known| known.iter().copied().cmp(folded(segment))).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{OperationIndex, RouteMatch, RouteTaken, Routes, Segment};
    use crate::method::Method;
    use crate::testing::universal_test;

    fn template(text: &str) -> Vec<Segment> {
        let part = |part: &str| match part.strip_prefix('{') {
            Some(name) => Segment::Parameter(name.trim_end_matches('}').into()),
            None => Segment::Literal(part.into()),
        };
        text.split('/').skip(1).map(part).collect()
    }

    fn routes(templates: &[(Method, &str)]) -> Routes {
        let mut routes = Routes::default();
        for (index, (method, path)) in templates.iter().enumerate() {
            routes.insert(*method, &template(path), OperationIndex(index as u32)).unwrap();
        }
        routes
    }

    universal_test! {
        fn literals_go_before_parameters_and_parameters_are_never_empty() {
            use Method::{Delete, Get, Post};
            let routes = routes(&[
                (Get, "/"), (Get, "/orders"), (Get, "/orders/{id}"), (Get, "/orders/mine"), (Delete, "/orders/{id}"),
                (Get, "/a/{x}/c"), (Get, "/a/b/d"), (Get, "/dir/"),
            ]);
            let check = |method, path: &str, expected| {
                assert_eq!(routes.find(method, path.split('/').skip(1)), expected, "{path}");
            };
            let found = |index| RouteMatch::Operation(OperationIndex(index));
            check(Get, "/", found(0));
            check(Get, "/orders", found(1));
            check(Get, "/orders/7", found(2));
            check(Get, "/orders/mine", found(3));
            check(Delete, "/orders/7", found(4));
            check(Delete, "/orders/mine", RouteMatch::MethodNotDeclared);
            check(Post, "/orders", RouteMatch::MethodNotDeclared);
            check(Get, "/orders/", RouteMatch::Unknown);
            check(Get, "/Orders", RouteMatch::Unknown);
            check(Get, "/orders/7/x", RouteMatch::Unknown);
            check(Get, "/a/b/c", found(5));
            check(Get, "/a/b/d", found(6));
            check(Get, "/a", RouteMatch::Unknown);
            check(Get, "/dir/", found(7));
            check(Get, "/dir", RouteMatch::Unknown);
        }
    }

    universal_test! {
        fn a_second_spelling_of_a_literal_is_no_parameter() {
            use Method::Get;
            let routes = routes(&[
                (Get, "/v1/{id}"), (Get, "/v1/orders:cancel"), (Get, "/v1/Caf%C3%A9"), (Get, "/{kind}/{id}"), (Get, "/admin/{id}"), (Get, "/admin/x/y"), (Get, "/{kind}/x/z"),
            ]);
            let check = |path: &str, expected| {
                assert_eq!(routes.find(Get, path.split('/').skip(1)), expected, "{path}");
            };
            let found = |index| RouteMatch::Operation(OperationIndex(index));
            check("/v1/orders:cancel", found(1));
            for path in ["/v1/orders%3Acancel", "/v1/orders%3acancel", "/v1/Orders:cancel", "/v1/ORDERS%3ACANCEL"] {
                check(path, RouteMatch::Unknown);
            }
            check("/v1/Caf%C3%A9", found(2));
            for path in ["/v1/Caf%c3%a9", "/v1/caf%C3%A9"] {
                check(path, RouteMatch::Unknown);
            }
            check("/admin/7", found(4));
            check("/Admin/7", RouteMatch::Unknown);
            for (path, index) in [("/v1/user%40shop", 0), ("/v1/orders:cancel2", 0), ("/v1/o-1", 0), ("/Orders/7", 3)] {
                check(path, found(index));
            }
            check("/admin/x/z", found(6));
        }
    }

    universal_test! {
        fn the_same_route_twice_is_named() {
            let mut routes = routes(&[(Method::Get, "/orders/{id}")]);
            let taken = routes.insert(Method::Get, &template("/orders/{other}"), OperationIndex(9));
            assert_eq!(taken, Err(RouteTaken { by: OperationIndex(0) }));
        }
    }

    universal_test! {
        fn a_contract_that_branches_everywhere_does_bounded_work() {
            let mut table = Routes::default();
            for bits in 0..4096_u32 {
                let path: Vec<_> = (0..12)
                    .map(|bit| if bits >> bit & 1 == 1 { Segment::Parameter("p".into()) } else { Segment::Literal("a".into()) })
                    .chain([Segment::Literal("end".into())])
                    .collect();
                table.insert(Method::Get, &path, OperationIndex(bits)).unwrap();
            }
            let path = "/a".repeat(12);
            assert_eq!(table.find(Method::Get, path.split('/').skip(1)), RouteMatch::Unknown);
        }
    }
}
