//! From HTTP to WebSocket, or not.

use super::broker;
use crate::support::{ACCEPTED, Broker, Connect, REQUEST, Raw, Web, connack, frame};
use std::io::Read;

/// What is answered to a request; the connection is closed after it.
#[track_caller]
fn answer(broker: &Broker, request: &str) -> String {
    let mut raw = Raw::open(broker.beside);
    raw.send(request.as_bytes());
    let mut answer = String::new();
    raw.0.read_to_string(&mut answer).expect("an answer and the end");
    answer
}

/// A request with one part of it instead of another.
#[track_caller]
fn with(part: &str, instead: &str) -> String {
    assert!(REQUEST.contains(part), "{part}");
    REQUEST.replace(part, instead)
}

#[test]
fn what_follows_the_upgrade_is_mqtt_in_frames() {
    let broker = broker("");
    let mut web = Web::open(broker.beside);
    web.connect("web");
    web.subscribe("a/+", 1);
    let mut plain = broker.raw();
    plain.connect("plain");
    plain.send(&crate::support::publish(0, "a/b", None, b"over tcp"));
    web.expect(&crate::support::publish(0, "a/b", None, b"over tcp"));
    plain.subscribe("c", 1);
    web.send(&crate::support::publish(2, "c", Some(9), b"over ws"));
    web.expect(&[0x40, 2, 0, 9]);
    plain.expect(&crate::support::publish(2, "c", Some(1), b"over ws"));
}

#[test]
fn a_request_may_come_in_pieces_and_with_frames_behind_it() {
    let broker = broker("");
    let connect = frame(0x82, &Connect::new("impatient").bytes());
    let all = [REQUEST.as_bytes(), &connect].concat();
    // All at once, cut inside the request, at its end, and inside the frame.
    for cut in [0, 1, 100, REQUEST.len() - 2, REQUEST.len(), REQUEST.len() + 5, all.len() - 1] {
        let mut raw = Raw::open(broker.beside);
        let (first, second) = all.split_at(cut);
        raw.send(first);
        raw.send(second);
        raw.expect(ACCEPTED.as_bytes());
        Web::over(raw).expect(&connack(false, 0));
    }
    let mut raw = Raw::open(broker.beside);
    all.chunks(1).for_each(|byte| raw.send(byte));
    raw.expect(ACCEPTED.as_bytes());
    Web::over(raw).expect(&connack(false, 0));
}

#[test]
fn whatever_is_wrong_with_a_request_is_answered_and_logged() {
    let broker = broker("origins = [\"http://example.com\", \"https://*.example.org\"]");
    let refused = [
        ("POST", with("GET", "POST"), "405 Method Not Allowed", "opens with GET"),
        ("1.0", with("HTTP/1.1", "HTTP/1.0"), "400 Bad Request", "opens with HTTP/1.1"),
        ("no host", with("Host: server.example.com\r\n", ""), "400 Bad Request", "not exactly one Host"),
        ("path", with("/mqtt", "/elsewhere"), "404 Not Found", "no MQTT at this path"),
        ("page", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "426 Upgrade Required", "only WebSocket"),
        ("key", with("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), "400 Bad Request", "Sec-WebSocket-Key"),
        ("version", with("Version: 13", "Version: 8"), "426 Upgrade Required", "Sec-WebSocket-Version"),
        ("protocol", with("Protocol: mqtt", "Protocol: chat"), "400 Bad Request", "[MQTT-6.0.0-3]"),
        ("origin", with("http://example.com", "http://example.org"), "403 Forbidden", "this origin"),
        ("no HTTP", "HELLO\r\n\r\n".to_owned(), "400 Bad Request", "not a well-formed"),
    ];
    for (what, request, status, why) in refused {
        let answer = answer(&broker, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{what}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains("close\r\nContent-Type: text/plain"), "{what}: {head}");
        assert!(body.contains(why), "{what}: {body}");
        crate::support::until(what, || broker.log().contains(&format!("WebSocket: {}", body.trim())));
    }
    assert!(
        answer(&broker, &with("Version: 13", "Version: 8")).contains("\r\nSec-WebSocket-Version: 13\r\n")
    );
    for origin in ["https://page.example.org", "http://EXAMPLE.com"] {
        let mut raw = Raw::open(broker.beside);
        raw.send(with("http://example.com", origin).as_bytes());
        raw.expect(ACCEPTED.as_bytes());
    }
    broker.serves();
}

#[test]
fn the_old_subprotocol_is_taken_where_it_is_the_only_one() {
    let broker = broker("");
    let mut raw = Raw::open(broker.beside);
    raw.send(with("Protocol: mqtt", "Protocol: chat, mqttv3.1").as_bytes());
    raw.expect(ACCEPTED.replace("mqtt\r\n", "mqttv3.1\r\n").as_bytes());
    Web::over(raw).connect("old");
}

#[test]
fn a_listener_has_the_paths_that_were_set() {
    let broker = broker("paths = [\"/broker\"]");
    assert!(answer(&broker, REQUEST).starts_with("HTTP/1.1 404 "));
    let mut raw = Raw::open(broker.beside);
    raw.send(with("/mqtt", "/broker?who=me").as_bytes());
    raw.expect(ACCEPTED.as_bytes());
    drop(broker);

    let anywhere = super::broker("paths = []");
    let mut raw = Raw::open(anywhere.beside);
    raw.send(with("/mqtt", "/any/path").as_bytes());
    raw.expect(ACCEPTED.as_bytes());
}

#[test]
fn a_head_of_more_than_8_kib_is_refused_before_it_ends() {
    let broker = broker("");
    let endless = format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(8 << 10));
    let answer = answer(&broker, &endless);
    assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
}

#[test]
fn a_client_without_websocket_is_told_in_the_log_which_listener_is_for_it() {
    let broker = broker("");
    let mut raw = Raw::open(broker.beside);
    raw.send(&Connect::new("plain").bytes());
    raw.expect_closed();
    crate::support::until("it is logged", || broker.log().contains("MQTT without WebSocket; use a tcp://"));
    let mut raw = Raw::open(broker.beside);
    raw.send(&[0x16, 3, 1]);
    raw.expect_closed();
    crate::support::until("it is logged", || broker.log().contains("use a wss:// or https:// listener"));
}

#[test]
fn who_is_slow_with_request_or_connect_is_closed_and_others_are_served() {
    let broker = Broker::beside("ws", 2, "[limits]\nconnect_timeout_ms = 500", "");
    let half = &REQUEST.as_bytes()[..100];
    let mut slow: Vec<Raw> = (0..20).map(|_| Raw::open(broker.beside)).collect();
    slow.iter_mut().step_by(2).for_each(|raw| raw.send(half));
    let mut upgraded = Web::open(broker.beside);
    broker.serves();
    slow.iter_mut().for_each(Raw::expect_closed);
    upgraded.expect_close(1008);
    assert!(broker.log().contains("no whole CONNECT within [limits] connect_timeout_ms"));
}

#[test]
fn a_trusted_proxy_tells_for_whom_it_connects() {
    let broker = broker("trusted_proxies = [\"127.0.0.0/8\"]\ndeny = [\"192.0.2.0/24\"]");
    let forwarded = |value: &str| with("Host: ", &format!("X-Forwarded-For: {value}\r\nHost: "));
    let mut raw = Raw::open(broker.beside);
    raw.send(forwarded("203.0.113.1, 198.51.100.7, 127.0.0.9").as_bytes());
    raw.expect(ACCEPTED.as_bytes());
    Web::over(raw).connect("behind-a-proxy");
    crate::support::until("its address is logged", || {
        let log = broker.log();
        let mut lines = log.lines().filter(|line| line.contains("behind-a-proxy"));
        lines.any(|line| line.contains("peer=198.51.100.7"))
    });
    // Those who are kept out stay out behind a proxy.
    let mut raw = Raw::open(broker.beside);
    raw.send(forwarded("192.0.2.4").as_bytes());
    let (rest, closed) = raw.rest();
    assert!(closed, "{}", String::from_utf8_lossy(&rest));
    crate::support::until("it is logged", || broker.log().contains("is not in allow"));
}

#[test]
fn nobody_else_is_believed_for_whom_it_connects() {
    let broker = broker("");
    let mut raw = Raw::open(broker.beside);
    raw.send(with("Host: ", "X-Forwarded-For: 198.51.100.7\r\nHost: ").as_bytes());
    raw.expect(ACCEPTED.as_bytes());
    Web::over(raw).connect("pretender");
    crate::support::until("it is logged", || broker.log().contains("pretender"));
    assert!(!broker.log().contains("198.51.100.7"));
}
