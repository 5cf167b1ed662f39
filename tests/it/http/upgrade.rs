//! One port for pages and for WebSockets, and who is slow, silent or too much on it.

use super::client::Http;
use super::{broker, encrypted, page};
use crate::support::{
    ACCEPTED, Broker, Connect, PINGREQ, PINGRESP, REQUEST, Raw, Transport, Web, connack, frame, publish,
    relay, until,
};

/// The answer to an upgrade, whatever the order and letters of its headers.
#[track_caller]
fn upgraded(http: &mut Http) {
    let answer = http.answer(false);
    assert_eq!(answer.status, 101, "{answer:?}");
    for line in ACCEPTED.lines().skip(1).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").expect("a header");
        assert_eq!(answer.header(&name.to_ascii_lowercase()), value, "{name}");
    }
}

/// An upgraded connection to the broker's second listener.
#[track_caller]
fn open(broker: &Broker) -> Web {
    let mut http = Http::open(broker.beside);
    http.0.send(REQUEST.as_bytes());
    upgraded(&mut http);
    Web::over(http.0)
}

#[track_caller]
fn with(part: &str, instead: &str) -> String {
    assert!(REQUEST.contains(part), "{part}");
    REQUEST.replace(part, instead)
}

#[test]
fn the_same_path_is_a_page_and_a_websocket() {
    let broker = broker(&page());
    let mut http = Http::open(broker.beside);
    let page = http.get("/", "");
    assert!(page.text().contains("<h1>A page of the broker</h1>"), "{}", page.text());
    // The connection that loaded the page becomes the WebSocket.
    http.0.send(with("/mqtt", "/").as_bytes());
    upgraded(&mut http);
    let mut web = Web::over(http.0);
    web.connect("web");
    web.subscribe("a", 1);
    let mut plain = broker.raw();
    plain.connect("plain");
    plain.send(&publish(0, "a", None, b"from tcp"));
    web.expect(&publish(0, "a", None, b"from tcp"));
}

#[test]
fn every_byte_behind_the_request_reaches_its_shard() {
    let broker = broker("");
    // A message that is larger than any buffer on the way.
    let large = publish(0, "large", None, &vec![7; 100_000]);
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("large", 0);
    let frames = [frame(0x82, &Connect::new("impatient").bytes()), frame(0x82, &large)].concat();
    let all = [REQUEST.as_bytes(), &frames].concat();
    for cut in [0, 1, 100, REQUEST.len() - 2, REQUEST.len(), REQUEST.len() + 5, all.len() - 1] {
        let mut http = Http::open(broker.beside);
        let (first, second) = all.split_at(cut);
        http.0.send(first);
        http.0.send(second);
        upgraded(&mut http);
        Web::over(http.0).expect(&connack(false, 0));
        watcher.expect(&large);
    }
}

#[test]
fn every_byte_behind_the_request_reaches_its_shard_over_tls() {
    let (broker, certificates, _folder) = encrypted(&page());
    let port = relay(broker.beside, Transport::Https, &certificates);
    let large = publish(0, "large", None, &vec![7; 100_000]);
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("large", 0);
    let frames = [frame(0x82, &Connect::new("impatient").bytes()), frame(0x82, &large)].concat();
    let mut http = Http::open(port);
    assert_eq!(http.get("/", "").status, 200);
    http.0.send(&[REQUEST.as_bytes(), &frames].concat());
    upgraded(&mut http);
    let mut web = Web::over(http.0);
    web.expect(&connack(false, 0));
    watcher.expect(&large);
    web.subscribe("back", 0);
    watcher.send(&publish(0, "back", None, &[9; 50_000]));
    web.expect(&publish(0, "back", None, &[9; 50_000]));
}

#[test]
fn upgraded_clients_of_any_core_meet() {
    let broker = Broker::beside("http", 4, "", "");
    let mut webs: Vec<Web> = (0..16).map(|_| open(&broker)).collect();
    for (number, web) in webs.iter_mut().enumerate() {
        web.connect(&format!("web{number}"));
        web.subscribe("all", 0);
    }
    let mut plain = broker.raw();
    plain.connect("plain");
    plain.send(&publish(0, "all", None, b"hello"));
    for web in &mut webs {
        web.expect(&publish(0, "all", None, b"hello"));
    }
}

#[test]
fn what_is_wrong_with_an_upgrade_is_answered_and_logged() {
    let broker = broker(&format!("{}origins = [\"http://example.com\"]", page()));
    for (request, status, why) in [
        (with("/mqtt", "/page.js"), 404, "no MQTT at this path"),
        (with("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400, "Sec-WebSocket-Key"),
        (with("Version: 13", "Version: 8"), 426, "Sec-WebSocket-Version"),
        (with("Protocol: mqtt", "Protocol: chat"), 400, "[MQTT-6.0.0-3]"),
        (with("http://example.com", "http://example.org"), 403, "this origin"),
    ] {
        let mut http = Http::open(broker.beside);
        http.0.send(request.as_bytes());
        let answer = http.answer(true);
        assert_eq!(answer.status, status, "{request}");
        assert!(answer.text().contains(why), "{}", answer.text());
        until(why, || broker.log().contains(answer.text().trim()));
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), "13");
        }
    }
    open(&broker).connect("good");
}

#[test]
fn a_trusted_proxy_says_for_whom_it_connects() {
    let broker = broker("trusted_proxies = [\"127.0.0.1\"]\ndeny = [\"203.0.113.0/24\"]");
    let behind = |address: &str| with("Origin:", &format!("X-Forwarded-For: {address}\r\nOrigin:"));
    let mut http = Http::open(broker.beside);
    http.0.send(behind("198.51.100.7").as_bytes());
    upgraded(&mut http);
    Web::over(http.0).connect("proxied");
    until("it is logged", || broker.log().contains("198.51.100.7"));
    let mut http = Http::open(broker.beside);
    http.0.send(behind("203.0.113.9").as_bytes());
    assert_eq!(http.answer(true).status, 403);
}

#[test]
fn nobody_of_a_denied_network_is_served() {
    let broker = broker("deny = [\"127.0.0.0/8\"]");
    let mut raw = Raw::open(broker.beside);
    raw.expect_closed();
    until("it is logged", || broker.log().contains("in deny"));
}

#[test]
fn a_listener_takes_as_many_connections_as_it_was_told() {
    let broker = broker("connections_max = 2");
    let (mut first, mut second) = (open(&broker), Http::open(broker.beside));
    first.connect("first");
    assert_eq!(second.get("/", "").status, 404);
    Raw::open(broker.beside).expect_closed();
    until("it is logged", || broker.log().contains("connections_max"));
    // A place is free again when its connection ends, whether it was a WebSocket or not.
    drop((first, second));
    until("a place is free", || {
        let mut http = Http::open(broker.beside);
        http.ask("GET", "/", "");
        let (bytes, _) =
            { http.0.0.shutdown(std::net::Shutdown::Write).map(|()| http.0.rest()).unwrap_or_default() };
        bytes.starts_with(b"HTTP/1.1 404")
    });
}

#[test]
fn requests_may_follow_each_other_without_waiting_for_answers() {
    let broker = broker(&page());
    let mut http = Http::open(broker.beside);
    for target in ["/page.js", "/nothing", "/page.css", "/"] {
        http.ask("GET", target, "");
    }
    let statuses: Vec<u16> = (0..4).map(|_| http.answer(true).status).collect();
    assert_eq!(statuses, [200, 404, 200, 200]);
    // The last one of several may be the upgrade.
    http.ask("GET", "/page.js", "");
    http.0.send(REQUEST.as_bytes());
    assert_eq!(http.answer(true).status, 200);
    upgraded(&mut http);
    Web::over(http.0).connect("pipelined");
}

#[test]
fn what_is_not_http_or_too_long_is_refused() {
    let broker = broker(&page());
    for (bytes, answer) in [
        (Connect::new("lost").bytes(), "HTTP/1.1 400 "),
        (b"\x16\x03\x01\x02\x00\x01".to_vec(), "HTTP/1.1 400 "),
        (b"HELLO\r\n\r\n".to_vec(), "HTTP/1.1 400 "),
        (format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(64 << 10)).into_bytes(), "HTTP/1.1 431 "),
        (format!("GET /{} HTTP/1.1\r\n", "x".repeat(64 << 10)).into_bytes(), "HTTP/1.1 4"),
    ] {
        let mut raw = Raw::open(broker.beside);
        // It may be refused before it is sent.
        let _ = std::io::Write::write_all(&mut raw.0, &bytes);
        let (got, closed) = raw.rest();
        let got = String::from_utf8_lossy(&got);
        assert!(closed && (got.starts_with(answer) || got.is_empty()), "{got}");
    }
    broker.serves();
}

#[test]
fn who_says_nothing_or_half_is_closed_and_costs_others_nothing() {
    let broker = broker(&page());
    let silent: Vec<Raw> = (0..100).map(|_| Raw::open(broker.beside)).collect();
    let half = (0..100).map(|_| {
        let mut raw = Raw::open(broker.beside);
        raw.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
        raw
    });
    let half: Vec<Raw> = half.collect();
    let mut idle = Http::open(broker.beside);
    assert_eq!(idle.get("/", "").status, 200);
    let mut web = open(&broker);
    web.connect("web");
    broker.serves();
    let mut slow: Vec<Raw> = silent.into_iter().chain(half).chain([idle.0]).collect();
    for raw in &mut slow {
        let (bytes, closed) = raw.rest();
        assert!(closed && (bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 408 ")), "{bytes:?}");
    }
    // A WebSocket may be silent for longer.
    web.send(&PINGREQ);
    web.expect(&PINGRESP);
}

/// A connection that a load balancer opened for this client, which says nothing.
fn behind_proxy(broker: &Broker, client: &str) -> Http {
    let mut http = Http::open(broker.beside);
    http.0.send(format!("PROXY TCP4 {client} 198.51.100.1 1000 80\r\n").as_bytes());
    http
}

/// Whether a client behind a load balancer is answered, and not closed at once.
fn is_served(broker: &Broker, client: &str) -> bool {
    let mut raw = Raw::open(broker.beside);
    let request = "GET / HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n";
    raw.send(format!("PROXY TCP4 {client} 198.51.100.1 1000 80\r\n{request}").as_bytes());
    raw.rest().0.starts_with(b"HTTP/1.1 200 ")
}

/// As many connections as one address may have without a WebSocket.
const SHARE: usize = 256;

#[test]
fn an_address_that_has_its_share_of_connections_gets_no_more_and_others_are_served() {
    let broker = broker(&format!("{}proxy_protocol_from = [\"127.0.0.1\"]\n", page()));
    let served = |mut http: Http| {
        assert_eq!(http.get("/", "").status, 200);
        http
    };
    let mut greedy: Vec<Http> = (0..SHARE).map(|_| served(behind_proxy(&broker, "192.0.2.1"))).collect();
    behind_proxy(&broker, "192.0.2.1").0.expect_closed();
    let said = "HTTP: 256 other connections of its address have not become WebSockets";
    let named = |line: &str| line.contains(said) && line.contains("peer=192.0.2.1:1000");
    until("it is logged", || broker.log().lines().any(named));
    served(behind_proxy(&broker, "192.0.2.2"));
    // A WebSocket is none of them any more.
    let mut http = greedy.pop().expect("some");
    http.0.send(REQUEST.as_bytes());
    upgraded(&mut http);
    Web::over(http.0).connect("web");
    // It is one request at a time then, until the others have gone.
    until("there is room", || is_served(&broker, "192.0.2.1"));
    drop(greedy);
    until("they have gone", || {
        let all: Vec<Http> = (0..10).map(|_| behind_proxy(&broker, "192.0.2.1")).collect();
        is_served(&broker, "192.0.2.1") && all.len() == 10
    });
}

#[test]
fn a_trusted_proxy_may_have_as_many_connections_as_there_are() {
    let broker = broker(&format!("{}trusted_proxies = [\"127.0.0.1\"]\n", page()));
    let mut all: Vec<Http> = (0..SHARE + 10).map(|_| Http::open(broker.beside)).collect();
    for http in &mut all {
        assert_eq!(http.get("/", "").status, 200);
    }
}

#[test]
fn a_handshake_that_does_not_go_on_is_given_up() {
    let (broker, ..) = encrypted("handshake_timeout_ms = 500\nhandshakes_max = 2\n");
    let mut silent: Vec<Raw> = (0..4).map(|_| Raw::open(broker.beside)).collect();
    silent[0].send(&[0x16, 3, 1, 2, 0, 1]);
    for raw in &mut silent {
        raw.expect_closed();
    }
    until("it is logged", || broker.log().contains("not done in time: TLS handshake"));
    broker.serves();
}

#[test]
fn a_websocket_outlives_what_served_the_page() {
    let broker = broker("");
    let mut web = open(&broker);
    web.connect("web");
    web.subscribe("a", 0);
    for _ in 0..50 {
        drop(Http::open(broker.beside));
    }
    web.send(&publish(0, "a", None, b"still"));
    web.expect(&publish(0, "a", None, b"still"));
    broker.stop();
}
