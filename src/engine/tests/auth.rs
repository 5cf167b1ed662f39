//! Enhanced authentication with SCRAM-SHA-256.

use super::*;
use crate::codec::{Auth, Disconnect, Properties, PropertiesBuf, Property, ReasonCode, Will};
use crate::sasl::{SCRAM_SHA_256, Verifier, client_final};

const CLIENT_FIRST: &str = "n,,n=user,r=client";
const WAITS: Span = Span::from_secs(10);

/// An engine that knows two users with the password `pencil`.
fn guarded() -> Bench {
    let mut users = Users::default();
    for name in ["user", "other"] {
        users.add(name, Verifier::derive("pencil", b"salt", 4_096).unwrap()).unwrap();
    }
    let limits = Limits { connect_timeout: WAITS, ..Limits::default() };
    let setup = Setup { users: Arc::new(users), ..Setup::new(ShardId(0), 1, limits, HashSeed(1)) };
    Bench { engine: Engine::new(setup), fx: Recorder::default(), now: Now(0) }
}

fn bytes(packet: Packet<'_>) -> Vec<u8> {
    let mut out = BytesMut::new();
    packet.encode(Version::V5, &mut out);
    out.to_vec()
}

fn credentials(method: &str, data: &[u8]) -> PropertiesBuf {
    let mut properties = PropertiesBuf::default();
    properties.push(Property::AuthenticationMethod(method));
    properties.push(Property::AuthenticationData(data));
    properties
}

/// CONNECT of 5.0 with a will on `gone`.
fn connect_v5(properties: Properties<'_>) -> Vec<u8> {
    bytes(Packet::Connect(Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 0,
        properties,
        client_id: "c",
        will: Some(Will {
            topic: "gone",
            payload: b"c",
            qos: QoS::AtMostOnce,
            retain: false,
            properties: Properties::EMPTY,
        }),
        username: None,
        password: None,
    }))
}

fn hello(client_first: &str) -> Vec<u8> {
    connect_v5(credentials(SCRAM_SHA_256, client_first.as_bytes()).as_properties())
}

fn auth(reason: ReasonCode, method: &str, data: &str) -> Vec<u8> {
    let properties = credentials(method, data.as_bytes());
    bytes(Packet::Auth(Auth { reason, properties: properties.as_properties() }))
}

/// The reason and the authentication data of the one packet that was sent.
#[track_caller]
fn said(sent: &[u8]) -> (&'static str, u8, Vec<u8>) {
    let Ok(Split::Whole { frame, len }) = split(sent, 1 << 20) else { panic!("a packet: {sent:?}") };
    assert_eq!(len, sent.len(), "one packet");
    let packet = decode(frame, Version::V5).unwrap();
    let properties = packet.properties();
    let data = properties.authentication_data().unwrap_or_default().to_vec();
    let (name, reason) = match packet {
        Packet::Auth(auth) => ("AUTH", auth.reason as u8),
        Packet::ConnAck(connack) => ("CONNACK", connack.code),
        Packet::Disconnect(disconnect) => ("DISCONNECT", disconnect.reason as u8),
        other => panic!("{other:?}"),
    };
    if name == "AUTH" || reason == 0 {
        assert_eq!(properties.authentication_method(), Some(SCRAM_SHA_256), "[MQTT-4.12.0-5]");
    }
    (name, reason, data)
}

/// Connects as a user; what the last answer said.
fn log_in(bench: &mut Bench, slot: u32, client_first: &str, password: &str) -> (&'static str, u8, Vec<u8>) {
    let (name, reason, challenge) = said(&bench.send(slot, &hello(client_first)));
    assert_eq!((name, reason), ("AUTH", 0x18));
    let answer = client_final(client_first, &challenge, password);
    said(&bench.send(slot, &auth(ReasonCode::ContinueAuthentication, SCRAM_SHA_256, &answer)))
}

/// Proves anew who a client is; what the last answer said.
fn again(bench: &mut Bench, slot: u32, client_first: &str, password: &str) -> (&'static str, u8, Vec<u8>) {
    let begun = bench.send(slot, &auth(ReasonCode::ReAuthenticate, SCRAM_SHA_256, client_first));
    let (name, reason, challenge) = said(&begun);
    assert_eq!((name, reason), ("AUTH", 0x18));
    let answer = client_final(client_first, &challenge, password);
    said(&bench.send(slot, &auth(ReasonCode::ContinueAuthentication, SCRAM_SHA_256, &answer)))
}

#[test]
fn a_client_that_proves_who_it_is_is_let_in_and_told_who_the_server_is() {
    let mut bench = guarded();
    let (name, reason, proof) = log_in(&mut bench, 0, CLIENT_FIRST, "pencil");
    assert_eq!((name, reason), ("CONNACK", 0));
    assert!(proof.starts_with(b"v="));
    assert_eq!(bench.engine.report().connected, 1);
    assert_eq!(bench.send(0, &[0xc0, 0]), [0xd0, 0]);
}

#[test]
fn a_client_that_cannot_is_refused_and_had_no_session() {
    for (first, password) in [(CLIENT_FIRST, "pen"), ("n,,n=nobody,r=client", "pencil")] {
        let mut bench = guarded();
        let (name, reason, _) = log_in(&mut bench, 0, first, password);
        assert_eq!((name, reason), ("CONNACK", 0x87));
        assert_eq!(bench.fx.closed, [(0, CloseReason::Refused)]);
        let report = bench.engine.report();
        assert_eq!((report.sessions, report.counters.wills), (0, 0));
        assert_eq!(bench.send(0, &[0xc0, 0]), b"", "nothing is heard after that");
    }
}

#[test]
fn only_scram_is_known_and_only_where_there_are_users_mqtt_4_12_0_1() {
    let unknown = connect_v5(credentials("GS2-KRB5", b"x").as_properties());
    let mut bench = guarded();
    assert_eq!(said(&bench.send(0, &unknown)).1, 0x8c);
    assert_eq!(said(&Bench::single().send(0, &hello(CLIENT_FIRST))).1, 0x8c);
    let mut bench = guarded();
    let nothing = connect_v5(
        {
            let mut method = PropertiesBuf::default();
            method.push(Property::AuthenticationMethod(SCRAM_SHA_256));
            method
        }
        .as_properties(),
    );
    assert_eq!(said(&bench.send(0, &nothing)).1, 0x87);
}

#[test]
fn nothing_but_auth_and_disconnect_is_heard_from_a_client_that_authenticates_mqtt_3_1_2_30() {
    let strays = [
        (vec![0xc0, 0], 0x82),
        (auth(ReasonCode::ReAuthenticate, SCRAM_SHA_256, "x"), 0x82),
        (auth(ReasonCode::ContinueAuthentication, "PLAIN", "x"), 0x82),
        (auth(ReasonCode::ContinueAuthentication, SCRAM_SHA_256, "x"), 0x87),
        (vec![0xf1, 0], 0x81),
    ];
    for (stray, refused) in strays {
        let mut bench = guarded();
        bench.send(0, &hello(CLIENT_FIRST));
        let (name, reason, _) = said(&bench.send(0, &stray));
        assert_eq!((name, reason), ("CONNACK", refused), "{stray:02x?}");
        assert_eq!(bench.fx.closed, [(0, CloseReason::Refused)]);
    }
    let mut bench = guarded();
    bench.send(0, &hello(CLIENT_FIRST));
    let goodbye =
        bytes(Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY }));
    assert_eq!(bench.send(0, &goodbye), b"");
    assert_eq!(bench.fx.closed, [(0, CloseReason::Goodbye)]);
}

#[test]
fn a_client_that_takes_too_long_or_leaves_is_forgotten() {
    let mut bench = guarded();
    bench.send(0, &hello(CLIENT_FIRST));
    bench.send(1, &hello(CLIENT_FIRST));
    bench.lost(1);
    bench.wait(WAITS);
    assert_eq!(bench.fx.closed, [(0, CloseReason::Refused)]);
    assert_eq!(said(&bench.taken(0)).1, 0x87);
    assert_eq!((bench.taken(1), bench.engine.next_deadline()), (vec![], None));
}

#[test]
fn a_client_proves_anew_who_it_is_as_often_as_it_likes_mqtt_4_12_1() {
    let mut bench = guarded();
    log_in(&mut bench, 0, CLIENT_FIRST, "pencil");
    for _ in 0..2 {
        let (name, reason, proof) = again(&mut bench, 0, CLIENT_FIRST, "pencil");
        assert_eq!((name, reason), ("AUTH", 0));
        assert!(proof.starts_with(b"v="));
    }
    // Other packets go on meanwhile.
    bench.send(0, &auth(ReasonCode::ReAuthenticate, SCRAM_SHA_256, CLIENT_FIRST));
    assert_eq!(bench.send(0, &[0xc0, 0]), [0xd0, 0]);
    assert!(bench.fx.closed.is_empty());
}

#[test]
fn who_fails_to_prove_it_anew_is_disconnected_and_its_will_published_mqtt_4_12_1_2() {
    let failures: [(&str, &str); 2] = [(CLIENT_FIRST, "pen"), ("n,,n=other,r=client", "pencil")];
    for (first, password) in failures {
        let mut bench = guarded();
        log_in(&mut bench, 0, CLIENT_FIRST, "pencil");
        let (name, reason, _) = again(&mut bench, 0, first, password);
        assert_eq!((name, reason), ("DISCONNECT", 0x87), "{first}");
        assert_eq!(bench.engine.report().counters.wills, 1);
    }
    let strays = [
        auth(ReasonCode::ReAuthenticate, "PLAIN", "x"),
        auth(ReasonCode::ContinueAuthentication, SCRAM_SHA_256, "x"),
        auth(ReasonCode::Success, SCRAM_SHA_256, "x"),
        vec![0xf0, 0],
    ];
    for stray in strays {
        let mut bench = guarded();
        log_in(&mut bench, 0, CLIENT_FIRST, "pencil");
        let (name, reason, _) = said(&bench.send(0, &stray));
        assert_eq!((name, reason), ("DISCONNECT", 0x82), "{stray:02x?}");
    }
}

#[test]
fn clients_that_authenticate_are_told_that_the_broker_stops() {
    let mut bench = guarded();
    bench.send(0, &hello(CLIENT_FIRST));
    bench.engine.shut_down(bench.now, &mut bench.fx);
    assert_eq!(said(&bench.taken(0)), ("CONNACK", 0x88, vec![]));
}
