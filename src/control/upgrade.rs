//! From HTTP to WebSocket, and on to the shards.

use super::answer::{Body, text};
use super::listener::Client;
use super::stall::Stalling;
use super::{Site, Upgraded};
use crate::transport::Peer;
use crate::transport::tls::Session;
use crate::types::any_contains;
use crate::websocket::{Accepted, Head, Refusal, forwarded_for};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;

/// Between two attempts to pass a connection on to a shard that lags behind.
const PAUSE: Duration = Duration::from_millis(1);

/// Whether a request asks to go on with WebSocket.
pub(super) fn is_asked<B>(request: &Request<B>) -> bool {
    head(request).asks_upgrade()
}

fn head<B>(request: &Request<B>) -> Head<'_> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let http_1_1 = request.version() == Version::HTTP_11;
    Head { method: request.method().as_str(), target, http_1_1, headers: headers.collect() }
}

/// Answers a request for a WebSocket, and hands the connection on once the answer is sent.
pub(super) fn upgrade(site: &Rc<Site>, client: Client, mut request: Request<Incoming>) -> Response<Body> {
    let web = &client.seat.gate().settings().web;
    let head = head(&request);
    let accepted = match Accepted::check(&head, &web.rules) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            site.refused(client.peer, &refusal);
            return refused(refusal);
        }
    };
    let trusted = |address| any_contains(&web.trusted_proxies, address);
    let behind = client.peer.ip().and_then(|peer| forwarded_for(peer, &head, trusted));
    let peer = behind.map_or(client.peer, |address| Peer::Net(SocketAddr::new(address, 0)));
    if !client.seat.gate().admits(peer.ip()) {
        site.refused(peer, &"its address is not in allow of its listener, or it is in deny");
        return text(StatusCode::FORBIDDEN, "clients of this address may not connect\n");
    }
    let client = Client { peer, ..client };
    let upgraded = hyper::upgrade::on(&mut request);
    spawn_local(hand_over(Rc::clone(site), client, upgraded));
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.clear();
    let protocol = HeaderValue::from_static(accepted.subprotocol.name());
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(HeaderName::from_static("sec-websocket-protocol"), protocol);
    if let Ok(accept) = HeaderValue::from_str(accepted.accept()) {
        headers.insert(HeaderName::from_static("sec-websocket-accept"), accept);
    }
    response
}

fn refused(refusal: Refusal) -> Response<Body> {
    let (status, _) = refusal.status();
    let mut response =
        text(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), format!("{refusal}\n"));
    for (name, value) in refusal.headers() {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    response
}

/// Waits until the connection is nobody's, and gives it to the shards.
async fn hand_over(site: Rc<Site>, client: Client, upgraded: OnUpgrade) {
    let Ok(upgraded) = upgraded.await else { return };
    let parts = match upgraded.downcast::<TokioIo<Stalling<TcpStream>>>() {
        Ok(Parts { io, read_buf, .. }) => Some((io.into_inner().into_inner(), None, read_buf)),
        Err(upgraded) => upgraded.downcast::<TokioIo<Stalling<TlsStream<TcpStream>>>>().ok().map(|parts| {
            let (stream, tls) = parts.io.into_inner().into_inner().into_inner();
            (stream, Some(Session::new(tls)), parts.read_buf)
        }),
    };
    let Some((stream, tls, input)) = parts else { return };
    let Ok(stream) = stream.into_std() else { return };
    let Client { peer, seat, user } = client;
    // The service that answered has let go of it, as it answers nothing more.
    let mut seat = seat;
    let seat = loop {
        match Arc::try_unwrap(seat) {
            Ok(seat) => break seat,
            Err(shared) => seat = shared,
        }
        sleep(PAUSE).await;
    };
    let upgraded = Upgraded { socket: OwnedFd::from(stream), peer, seat, user, tls, input: input.to_vec() };
    site.shards.borrow_mut().take(upgraded);
    while !site.shards.borrow_mut().flush() {
        sleep(PAUSE).await;
    }
}
