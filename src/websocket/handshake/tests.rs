//! Requests in, responses out.

use super::*;
use crate::types::{Network, any_contains};
use core::net::IpAddr;

/// The request of the standard, as an MQTT client sends it. [RFC 6455 1.2]
const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
    Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// What a server with these rules says to a request that comes at once.
fn said(request: &str, rules: &Rules) -> Result<Subprotocol, Refusal> {
    let whole = Upgrade::default().read(request.as_bytes(), rules);
    whole.map(|read| read.expect("it is whole").subprotocol)
}

/// What is said to the request with one line of it instead of another.
fn with(line: &str, instead: &str) -> Result<Subprotocol, Refusal> {
    assert!(REQUEST.contains(line), "{line}");
    said(&REQUEST.replace(line, instead), &Rules::default())
}

fn origins(origins: &[&str]) -> Rules {
    let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    Rules { origins, ..Rules::default() }
}

#[test]
fn the_request_of_the_standard_is_answered_as_there_rfc_6455_1_3() {
    let bytes = [REQUEST.as_bytes(), b"\x82\x80\0\0\0\0"].concat();
    let upgraded = Upgrade::default().read(&bytes, &Rules::default()).unwrap().unwrap();
    assert_eq!((upgraded.len, upgraded.subprotocol), (REQUEST.len(), Subprotocol::Mqtt));
    assert_eq!(upgraded.head.path(), "/mqtt");
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    assert_eq!(String::from_utf8(upgraded.response).unwrap(), expected);
}

#[test]
fn a_request_is_taken_in_pieces_of_any_length() {
    let bytes = REQUEST.as_bytes();
    for step in [1, 2, 3, 5, 100] {
        let mut upgrade = Upgrade::default();
        for end in (0..bytes.len()).step_by(step) {
            assert!(upgrade.read(&bytes[..end], &Rules::default()).unwrap().is_none(), "{end}");
        }
        assert!(upgrade.read(bytes, &Rules::default()).unwrap().is_some(), "in steps of {step}");
    }
}

#[test]
fn browsers_and_old_clients_are_understood() {
    assert_eq!(with("Connection: Upgrade", "connection: keep-alive, upgrade"), Ok(Subprotocol::Mqtt));
    assert_eq!(with("Upgrade: websocket", "Upgrade: h2c, WebSocket"), Ok(Subprotocol::Mqtt));
    assert_eq!(with("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"), Ok(Subprotocol::Mqtt));
    assert_eq!(with("/mqtt", "/"), Ok(Subprotocol::Mqtt));
    assert_eq!(with("/mqtt", "/mqtt?token=1"), Ok(Subprotocol::Mqtt));
    assert_eq!(with("Origin: http://example.com\r\n", "Content-Length: 0\r\n"), Ok(Subprotocol::Mqtt));
}

#[test]
fn mqtt_is_chosen_wherever_it_stands_mqtt_6_0_0_3_mqtt_6_0_0_4() {
    let chosen = |offered: &str| with("Sec-WebSocket-Protocol: mqtt", offered);
    assert_eq!(chosen("Sec-WebSocket-Protocol: mqttv3.1, mqtt"), Ok(Subprotocol::Mqtt));
    assert_eq!(chosen("Sec-WebSocket-Protocol: mqttv3.1,chat"), Ok(Subprotocol::MqttV31));
    assert_eq!(chosen("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: mqtt"), Ok(Subprotocol::Mqtt));
    for refused in ["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: MQTT,mqtt5", "X-Nothing: mqtt"] {
        assert_eq!(chosen(refused), Err(Refusal::Subprotocol), "{refused}");
    }
}

#[test]
fn whatever_is_wrong_is_named() {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let wrong = [
        ("GET ", "POST ", Refusal::Method, 405),
        ("HTTP/1.1", "HTTP/1.0", Refusal::HttpVersion, 400),
        ("HTTP/1.1", "HTTP/2.0", Refusal::Malformed, 400),
        ("HTTP/1.1", "", Refusal::Malformed, 400),
        ("Origin: ", "Ori gin: ", Refusal::Malformed, 400),
        ("Host: server.example.com\r\n", "", Refusal::Host, 400),
        ("Host: ", "Host: other\r\nHost: ", Refusal::Host, 400),
        ("/mqtt", "/other", Refusal::Path, 404),
        ("/mqtt", "/mqtt/", Refusal::Path, 404),
        ("Upgrade: websocket\r\n", "", Refusal::NoUpgrade, 426),
        ("Upgrade: websocket", "Upgrade: websockets", Refusal::NoUpgrade, 426),
        ("Connection: Upgrade\r\n", "", Refusal::Connection, 400),
        ("Connection: Upgrade", "Connection: close", Refusal::Connection, 400),
        ("Version: 13", "Version: 8", Refusal::Version, 426),
        ("Sec-WebSocket-Version: 13\r\n", "", Refusal::Version, 426),
        (key, "X-Key: none", Refusal::Key, 400),
        (key, "Sec-WebSocket-Key: c2hvcnQ=", Refusal::Key, 400),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", Refusal::Key, 400),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: x", Refusal::Key, 400),
        ("Host: ", "Content-Length: 5\r\nHost: ", Refusal::Body, 400),
        ("Host: ", "Transfer-Encoding: chunked\r\nHost: ", Refusal::Body, 400),
    ];
    for (line, instead, refusal, status) in wrong {
        assert_eq!(with(line, instead), Err(refusal), "{instead:?}");
        assert_eq!(refusal.status().0, status, "{instead:?}");
    }
}

#[test]
fn a_refusal_says_what_would_be_right() {
    let text = |refusal: Refusal| String::from_utf8(refusal.response()).unwrap();
    let expected = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Connection: Upgrade, close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 49\r\n\r\n\
        Sec-WebSocket-Version is not 13 [RFC 6455 4.2.1]\n";
    assert_eq!(text(Refusal::Version), expected);
    assert!(text(Refusal::Method).contains("\r\nAllow: GET\r\nConnection: close\r\n"));
    assert!(text(Refusal::NotHttp(0x10)).is_empty());
    for refusal in [Refusal::Origin, Refusal::Path, Refusal::TooLong, Refusal::Subprotocol] {
        let (status, phrase) = refusal.status();
        let response = text(refusal);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} {phrase}\r\n")), "{response}");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{response}");
        assert_eq!(body, format!("{refusal}\n"));
    }
}

#[test]
fn other_protocols_are_recognized_by_their_first_byte() {
    let refused = |byte: u8| Upgrade::default().read(&[byte], &Rules::default()).unwrap_err();
    assert_eq!(refused(0x10), Refusal::NotHttp(0x10));
    assert!(refused(0x10).to_string().starts_with("MQTT without WebSocket"));
    assert!(refused(0x16).to_string().starts_with("TLS where none is spoken"));
    assert_eq!(refused(b'\n').to_string(), "not HTTP: first byte 0x0a");
}

#[test]
fn a_head_beyond_the_bounds_is_refused_before_it_ends() {
    let long = |len: usize| {
        let filler = "x".repeat(len - REQUEST.len() - "X-Filler: \r\n".len());
        REQUEST.replace("Host: ", &format!("X-Filler: {filler}\r\nHost: "))
    };
    let longest = long(HEAD_BYTES_MAX);
    assert_eq!(longest.len(), HEAD_BYTES_MAX);
    assert!(said(&longest, &Rules::default()).is_ok());
    assert_eq!(said(&long(HEAD_BYTES_MAX + 1), &Rules::default()), Err(Refusal::TooLong));
    let mut upgrade = Upgrade::default();
    for end in 0..HEAD_BYTES_MAX {
        assert!(upgrade.read(&b"G".repeat(end), &Rules::default()).unwrap().is_none());
    }
    assert_eq!(upgrade.read(&b"G".repeat(HEAD_BYTES_MAX), &Rules::default()).unwrap_err(), Refusal::TooLong);

    let many = |count: usize| REQUEST.replace("Host: ", &format!("{}Host: ", "A: b\r\n".repeat(count - 7)));
    assert!(said(&many(HEADERS_MAX), &Rules::default()).is_ok());
    assert_eq!(said(&many(HEADERS_MAX + 1), &Rules::default()), Err(Refusal::TooManyHeaders));
    assert_eq!(Refusal::TooManyHeaders.status().0, 431);
}

#[test]
fn paths_are_those_that_were_set_or_any() {
    let any = Rules { paths: vec![], ..Rules::default() };
    assert!(said(&REQUEST.replace("/mqtt", "/whatever/it/is?x"), &any).is_ok());
    let one = Rules { paths: vec!["/ws".to_owned()], ..Rules::default() };
    assert!(said(&REQUEST.replace("/mqtt", "/ws?x"), &one).is_ok());
    assert_eq!(said(REQUEST, &one), Err(Refusal::Path));
}

#[test]
fn pages_of_other_origins_may_not_connect() {
    let from = |origin: &str, rules: &Rules| {
        said(&REQUEST.replace("http://example.com", origin), rules) == Ok(Subprotocol::Mqtt)
    };
    let exact = origins(&["https://example.org", "http://localhost:8080"]);
    for (origin, may) in [
        ("https://example.org", true),
        ("HTTPS://Example.ORG", true),
        ("http://localhost:8080", true),
        ("http://example.org", false),
        ("https://example.org:8443", false),
        ("https://example.org.evil.net", false),
        ("https://a.example.org", false),
        ("http://localhost", false),
        ("null", false),
        ("", false),
    ] {
        assert_eq!(from(origin, &exact), may, "{origin}");
    }
    let below = origins(&["https://*.example.org"]);
    for (origin, may) in [
        ("https://a.example.org", true),
        ("https://a-1.b.EXAMPLE.org", true),
        ("https://example.org", false),
        ("https://.example.org", false),
        ("https://notexample.org", false),
        ("http://a.example.org", false),
        ("https://a.example.org:8443", false),
        ("https://evil.net/.example.org", false),
        ("https://evil.net#.example.org", false),
        ("https://äexample.org", false),
    ] {
        assert_eq!(from(origin, &below), may, "{origin}");
    }
    assert!(from("null", &origins(&["null"])));
    assert!(from("anything", &Rules::default()));
    // Who is no browser sends none, and a second one is no way around.
    let without = REQUEST.replace("Origin: http://example.com\r\n", "");
    assert!(said(&without, &exact).is_ok());
    let twice = REQUEST
        .replace("Origin: http://example.com", "Origin: https://example.org\r\nOrigin: http://evil.net");
    assert_eq!(said(&twice, &exact), Err(Refusal::Origin));
}

#[test]
fn origins_are_read_and_shown() {
    for text in
        ["https://example.org", "https://*.example.org", "http://[::1]:8080", "capacitor://localhost", "null"]
    {
        assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "example.org",
        "https://",
        "https://*.",
        "https://example.org/",
        "https://*",
        "https://a.*.org",
        "://a",
    ] {
        assert_eq!(text.parse::<Origin>(), Err(BadOrigin), "{text}");
    }
}

#[test]
fn a_trusted_proxy_tells_who_is_behind_it_and_nobody_else() {
    let proxies: Vec<Network> = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).to_vec();
    let behind = |peer: &str, headers: &str| {
        let request = REQUEST.replace("Host: ", &format!("{headers}Host: "));
        let head = Head::parse(request.as_bytes()).unwrap();
        let trusted = |address: IpAddr| any_contains(&proxies, address);
        forwarded_for(peer.parse().unwrap(), &head, trusted).map(|address| address.to_string())
    };
    let told = |peer: &str, value: &str| behind(peer, &format!("X-Forwarded-For: {value}\r\n"));
    let some = |address: &str| Some(address.to_owned());
    assert_eq!(told("10.0.0.1", "198.51.100.7"), some("198.51.100.7"));
    // What stands left of a stranger is the stranger's invention.
    assert_eq!(told("10.0.0.1", "192.0.2.1, 198.51.100.7"), some("198.51.100.7"));
    assert_eq!(told("10.0.0.1", "192.0.2.1, 198.51.100.7 , 10.0.0.2,fd00::3"), some("198.51.100.7"));
    assert_eq!(told("198.51.100.9", "192.0.2.1"), None, "not from a proxy of ours");
    assert_eq!(behind("10.0.0.1", ""), None);
    assert_eq!(told("10.0.0.1", ""), None);
    assert_eq!(told("10.0.0.1", "10.0.0.3, 10.0.0.2"), some("10.0.0.3"), "proxies only");
    assert_eq!(told("10.0.0.1", "192.0.2.1, unknown, 10.0.0.2"), some("10.0.0.2"));
    assert_eq!(told("10.0.0.1", "unknown"), None);
    // Lines are one list.
    let lines = "X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 198.51.100.7, 10.0.0.2\r\n";
    assert_eq!(behind("10.0.0.1", lines), some("198.51.100.7"));
    for (written, address) in [
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
    ] {
        assert_eq!(told("fd00::1", written), some(address), "{written}");
    }
    assert_eq!(told("::ffff:10.0.0.1", "198.51.100.7"), some("198.51.100.7"), "of a dual-stack socket");
}

#[test]
fn a_client_gets_its_upgrade_from_our_server_and_believes_no_other() {
    for subprotocol in [Subprotocol::Mqtt, Subprotocol::MqttV31] {
        let ask = Ask::new(*b"0123456789abcdef");
        let request = ask.request("localhost:8080", "/mqtt", subprotocol);
        let upgraded = Upgrade::default().read(&request, &Rules::default()).unwrap().unwrap();
        assert_eq!((upgraded.len, upgraded.subprotocol), (request.len(), subprotocol));
        let answer = [&upgraded.response[..], b"\x82\0"].concat();
        for end in 0..upgraded.response.len() {
            assert_eq!(ask.answer(&answer[..end], subprotocol), Ok(None));
        }
        assert_eq!(ask.answer(&answer, subprotocol), Ok(Some(upgraded.response.len())));
        assert_eq!(Ask::new([0; 16]).answer(&answer, subprotocol), Err(NotUpgraded::NotOurs));
    }
}

#[test]
fn a_client_is_told_why_it_gets_no_upgrade() {
    let ask = Ask::new([7; 16]);
    let answer = |bytes: &[u8]| ask.answer(bytes, Subprotocol::Mqtt);
    let refused = NotUpgraded::Refused(404, "Not Found".to_owned());
    assert_eq!(answer(&Refusal::Path.response()), Err(refused));
    assert_eq!(answer(b"MQTT\r\n\r\n"), Err(NotUpgraded::Malformed));
    assert_eq!(answer(&[b'H'; HEAD_BYTES_MAX]), Err(NotUpgraded::Malformed));
    let request = ask.request("localhost", "/", Subprotocol::MqttV31);
    let other = Upgrade::default().read(&request, &Rules::default()).unwrap().unwrap().response;
    assert_eq!(answer(&other), Err(NotUpgraded::Subprotocol("mqttv3.1".to_owned(), "mqtt")));
}
