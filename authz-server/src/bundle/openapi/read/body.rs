//! What an operation takes and gives: request bodies and responses.

use super::{Reading, keys};
use crate::bundle::openapi::model::{RequestBody, Response};
use crate::bundle::problem::Problem;
use crate::bundle::yaml::{Node, Span};
use std::sync::Arc;

impl<'d> Reading<'d> {
    /// A request body that is no reference.
    pub(super) fn request_body(&mut self, node: &'d Node) -> Option<Arc<RequestBody>> {
        if let Some(known) = self.known.bodies.get(&node.at) {
            return known.clone();
        }
        let body = self.new_request_body(node).map(Arc::new);
        self.known.bodies.insert(node.at, body.clone());
        body
    }

    fn new_request_body(&mut self, node: &'d Node) -> Option<RequestBody> {
        let fields = self.object(node, &keys::REQUEST_BODY)?;
        let required = self.flag(fields, "required");
        let Some(content) = fields.find("content") else {
            let place = self.place(Span::start_of(fields.at));
            let problem = Problem::new(place, "the request body has no media types");
            self.push(problem.help("name each accepted type under `content`: `application/json`"));
            return None;
        };
        Some(RequestBody { required, media: self.content_of_request(content)? })
    }

    /// A response that is no reference.
    pub(super) fn response(&mut self, node: &'d Node) -> Option<Arc<Response>> {
        if let Some(known) = self.known.responses.get(&node.at) {
            return known.clone();
        }
        let response = self.object(node, &keys::RESPONSE).map(|fields| {
            let headers = self.headers(fields);
            let media = fields.find("content").map(|node| self.content_of_response(node)).unwrap_or_default();
            Arc::new(Response { headers, media })
        });
        self.known.responses.insert(node.at, response.clone());
        response
    }
}
