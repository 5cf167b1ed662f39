//! What a request is answered.

use super::listener::Client;
use super::{Site, bundle, files, upgrade};
use crate::transport::settings::HttpSettings;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::io;
use std::rc::Rc;
use tracing::debug;

/// A body of whatever origin.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Browsers are not to guess what a file is by its content.
const NO_SNIFF: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));

/// Answers a request.
pub(super) async fn answer(site: &Rc<Site>, client: Client, request: Request<Incoming>) -> Response<Body> {
    let (peer, method, path) = (client.peer, request.method().clone(), request.uri().path().to_owned());
    let settings = client.seat.gate().settings();
    let mut response = if upgrade::is_asked(&request) {
        upgrade::upgrade(site, client, request)
    } else if method != Method::GET && method != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        refused
    } else {
        let HttpSettings { static_dir, bundle } = &settings.http;
        match static_dir {
            _ if *bundle && path == bundle::PATH => {
                bundle::answer(site, static_dir.as_deref(), &request).await
            }
            Some(folder) => files::answer(folder, &request).await,
            None => not_found(),
        }
    };
    let (name, value) = NO_SNIFF;
    response.headers_mut().insert(name, value);
    debug!(%peer, %method, path, status = response.status().as_u16(), "HTTP");
    response
}

/// A short answer for people.
pub(super) fn text(status: StatusCode, words: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(words.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

pub(super) fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "not found\n")
}
