//! Chapters 3.15, 4.12 and 4.13: AUTH, enhanced authentication, and what errors lead to.

use crate::conformance::{on_each_layout, with_settings};
use crate::support::{
    Answer, Broker, Connect, PINGREQ, PINGRESP, Properties, Raw, Scram, packet, property, publish_v5,
    subscribe_v5, user,
};

const METHOD: &str = "SCRAM-SHA-256";

/// Runs an exchange on brokers that know "user" with the password "pencil", and "other".
fn with_users(test: impl Fn(&Broker) + Sync) {
    with_settings(&[user("user", "pencil"), user("other", "pen")].concat(), test);
}

/// Method and data.
fn said(method: &str, data: &[u8]) -> Vec<u8> {
    [property::data(property::AUTH_METHOD, method), property::data(property::AUTH_DATA, data)].concat()
}

/// AUTH of a client.
fn auth(reason: u8, properties: &[u8]) -> Vec<u8> {
    packet(0xf0, &[&[reason, u8::try_from(properties.len()).expect("short")], properties])
}

/// The data of an AUTH of the broker, with this reason; it names the method.
#[track_caller]
fn heard(raw: &mut Raw, reason: u8) -> Vec<u8> {
    let packet = raw.packet();
    assert_eq!((packet[0], packet[2]), (0xf0, reason), "{packet:02x?}");
    // The length of the packet, and of the properties, is a byte as long as this fits.
    let properties = Properties::within(&packet[3..]);
    assert_eq!(properties.string(property::AUTH_METHOD).as_deref(), Some(METHOD));
    assert!(!properties.has(property::REASON_STRING) && !properties.has(property::USER));
    data_of(&properties)
}

fn data_of(properties: &Properties) -> Vec<u8> {
    properties.all(property::AUTH_DATA).next().expect("data")[2..].to_vec()
}

/// A client that has sent its CONNECT and was challenged; with its answer, which is right if the password is.
fn challenged(broker: &Broker, id: &str, name: &str, password: &str) -> (Raw, Scram, Vec<u8>) {
    let mut scram = Scram::new(name, password);
    let mut raw = broker.raw();
    let properties = &said(METHOD, &scram.first());
    raw.send(&Connect { properties, ..Connect::v5(id) }.bytes());
    let challenge = heard(&mut raw, 0x18);
    let answer = scram.answer(&challenge);
    (raw, scram, answer)
}

/// A client that has proved to be "user", and what CONNACK said.
fn authenticated(broker: &Broker, id: &str) -> (Raw, Scram, Answer) {
    let (mut raw, scram, answer) = challenged(broker, id, "user", "pencil");
    raw.send(&auth(0x18, &said(METHOD, &answer)));
    let answer = Answer::of(&raw.packet());
    assert_eq!(answer.reason, 0, "{answer:?}");
    (raw, scram, answer)
}

/// The connection ends with a CONNACK that refuses for this reason.
#[track_caller]
fn expect_refusal(raw: &mut Raw, reason: u8) {
    let packet = raw.packet();
    assert_eq!((packet[0], &packet[2..4]), (0x20, &[0, reason][..]), "{packet:02x?}");
    raw.expect_closed();
}

#[test]
fn mqtt_3_1_2_30_before_connack_only_auth_and_disconnect_may_come() {
    with_users(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("#", 0);
        let packets = [
            PINGREQ.to_vec(),
            publish_v5(1, "early", None, &[], b"x"),
            subscribe_v5(1, &[], &[("t", 0)]),
            Connect::v5("client").bytes(),
        ];
        for packet in packets {
            let (mut raw, _, answer) = challenged(broker, "client", "user", "pencil");
            raw.send(&[packet, auth(0x18, &said(METHOD, &answer))].concat());
            expect_refusal(&mut raw, 0x82);
        }
        broker.v5("client").nothing_before_mark(&mut watcher, "mark");
        // A client may change its mind.
        let (mut raw, _, _) = challenged(broker, "client", "user", "pencil");
        raw.send(&[0xe0, 0]);
        raw.expect_closed();
    });
}

#[test]
fn mqtt_3_15_1_1_auth_with_other_flags_ends_the_connection() {
    with_users(|broker| {
        for flags in [1, 2, 4, 8, 15] {
            let (mut raw, _, answer) = challenged(broker, "client", "user", "pencil");
            let mut bytes = auth(0x18, &said(METHOD, &answer));
            bytes[0] |= flags;
            raw.send(&bytes);
            expect_refusal(&mut raw, 0x81);
            let (mut raw, scram, _) = authenticated(broker, "client");
            let mut bytes = auth(0x19, &said(METHOD, &scram.first()));
            bytes[0] |= flags;
            raw.send(&bytes);
            raw.expect_goodbye(0x81);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_15_2_1_auth_has_a_reason_of_its_table() {
    with_users(|broker| {
        for reason in [0x01, 0x04, 0x17, 0x1a, 0x80, 0x87, 0x8c, 0xff] {
            let (mut raw, _, _) = authenticated(broker, "client");
            raw.send(&auth(reason, &said(METHOD, b"")));
            raw.expect_goodbye(0x81);
        }
        // Only servers say that authentication has succeeded.
        let (mut raw, _, answer) = challenged(broker, "client", "user", "pencil");
        raw.send(&auth(0, &said(METHOD, &answer)));
        expect_refusal(&mut raw, 0x82);
        let (mut raw, _, _) = authenticated(broker, "client");
        raw.send(&auth(0, &said(METHOD, b"")));
        raw.expect_goodbye(0x82);
    });
}

#[test]
fn mqtt_4_12_0_1_a_method_that_is_not_supported_ends_the_connection() {
    let refuses = |broker: &Broker, method: &str| {
        let properties = &said(method, b"n,,n=user,r=nonce");
        broker.refuses(&Connect { properties, ..Connect::v5("client") }.bytes(), 0x8c);
    };
    with_users(|broker| {
        for method in ["", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", "PLAIN"] {
            refuses(broker, method);
        }
        authenticated(broker, "client").0.lives();
    });
    // Where there are no users there is no method.
    on_each_layout(|broker| refuses(broker, METHOD));
}

#[test]
fn mqtt_4_12_0_2_auth_that_asks_for_more_says_so() {
    with_users(|broker| {
        for id in ["one", "two", "three"] {
            // The helper shows that the challenge has 0x18; so has the one of re-authentication.
            let (mut raw, scram, _) = authenticated(broker, id);
            raw.send(&auth(0x19, &said(METHOD, &scram.first())));
            assert!(heard(&mut raw, 0x18).starts_with(b"r="));
        }
    });
}

#[test]
fn mqtt_4_12_0_3_auth_that_gives_more_has_to_say_so() {
    with_users(|broker| {
        for reason in [0x00, 0x19] {
            let (mut raw, _, answer) = challenged(broker, "client", "user", "pencil");
            raw.send(&auth(reason, &said(METHOD, &answer)));
            expect_refusal(&mut raw, 0x82);
        }
        let (mut raw, _, answer) = challenged(broker, "client", "user", "pencil");
        raw.send(&auth(0x18, &said(METHOD, &answer)));
        assert_eq!(Answer::of(&raw.packet()).reason, 0);
        // Later there is nothing to continue.
        raw.send(&auth(0x18, &said(METHOD, &answer)));
        raw.expect_goodbye(0x82);
    });
}

#[test]
fn mqtt_4_12_0_4_failed_authentication_ends_the_connection() {
    with_users(|broker| {
        for (name, password) in [("user", "wrong"), ("user", ""), ("user", "pen"), ("nobody", "pencil")] {
            let (mut raw, _, answer) = challenged(broker, "client", name, password);
            raw.send(&auth(0x18, &said(METHOD, &answer)));
            expect_refusal(&mut raw, 0x87);
        }
        // Nor does it help to answer with something else, or to begin with it.
        let (mut raw, _, _) = challenged(broker, "client", "user", "pencil");
        raw.send(&auth(0x18, &said(METHOD, b"c=biws")));
        expect_refusal(&mut raw, 0x87);
        let properties = &said(METHOD, b"no SCRAM");
        broker.refuses(&Connect { properties, ..Connect::v5("client") }.bytes(), 0x87);
        // Who is refused has done nothing: neither taken over nor begun a session.
        let mut client = broker.kept_v5("client", false);
        let (mut raw, _, answer) = challenged(broker, "client", "user", "wrong");
        client.lives();
        raw.send(&auth(0x18, &said(METHOD, &answer)));
        expect_refusal(&mut raw, 0x87);
        client.lives();
    });
}

#[test]
fn mqtt_4_12_0_5_all_of_the_exchange_names_the_method_of_connect() {
    with_users(|broker| {
        for id in ["one", "two", "three", "four"] {
            let (_, scram, answer) = authenticated(broker, id);
            assert_eq!(answer.properties.string(property::AUTH_METHOD).as_deref(), Some(METHOD));
            assert!(scram.proved_by(&data_of(&answer.properties)), "the broker knows the user as well");
        }
        // The client's as well.
        for properties in [said("SCRAM-SHA-1", b"x"), vec![]] {
            let (mut raw, _, _) = challenged(broker, "client", "user", "pencil");
            raw.send(&auth(0x18, &properties));
            expect_refusal(&mut raw, 0x82);
        }
    });
}

#[test]
fn mqtt_4_12_0_6_who_names_no_method_gets_no_auth_and_no_method() {
    with_users(|broker| {
        let connect = Connect { username: Some("user"), password: Some(b"pencil"), ..Connect::v5("client") };
        for connect in [Connect::v5("client"), connect] {
            let mut raw = broker.raw();
            raw.send(&connect.bytes());
            let packet = raw.packet();
            assert_eq!(packet[0], 0x20);
            let properties = Answer::of(&packet).properties;
            assert!(!properties.has(property::AUTH_METHOD) && !properties.has(property::AUTH_DATA));
        }
    });
}

#[test]
fn mqtt_4_12_0_7_auth_from_a_client_that_named_no_method_ends_the_connection() {
    with_users(|broker| {
        for reason in [0x18, 0x19, 0x00] {
            broker.disconnects("client", &auth(reason, &said(METHOD, b"n,,n=user,r=nonce")), 0x82);
        }
        broker.disconnects("client", &[0xf0, 0], 0x82);
        broker.serves();
    });
}

#[test]
fn mqtt_4_12_1_1_re_authentication_keeps_to_the_method() {
    with_users(|broker| {
        for id in ["one", "two", "three"] {
            let (mut raw, mut scram, _) = authenticated(broker, id);
            raw.subscribe_v5(id, 0);
            for _ in 0..2 {
                raw.send(&auth(0x19, &said(METHOD, &scram.first())));
                let challenge = heard(&mut raw, 0x18);
                // Everything else goes on meanwhile.
                raw.echoes(id);
                let answer = scram.answer(&challenge);
                raw.send(&auth(0x18, &said(METHOD, &answer)));
                assert!(scram.proved_by(&heard(&mut raw, 0x00)));
                raw.echoes(id);
            }
            raw.send(&auth(0x19, &said("SCRAM-SHA-1", &scram.first())));
            raw.expect_goodbye(0x82);
        }
    });
}

#[test]
fn mqtt_4_12_1_2_failed_re_authentication_ends_the_connection() {
    with_users(|broker| {
        for (name, password) in [("user", "wrong"), ("nobody", "pencil"), ("other", "pen")] {
            let (mut raw, _, _) = authenticated(broker, "client");
            let mut scram = Scram::new(name, password);
            raw.send(&auth(0x19, &said(METHOD, &scram.first())));
            let challenge = heard(&mut raw, 0x18);
            let answer = scram.answer(&challenge);
            raw.send(&auth(0x18, &said(METHOD, &answer)));
            raw.expect_goodbye(0x87);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_4_13_1_1_malformed_packets_and_protocol_errors_end_the_connection() {
    on_each_layout(|broker| {
        let mut bystander = broker.v5("bystander");
        bystander.subscribe_v5("t", 1);
        let errors: [(Vec<u8>, u8); 12] = [
            (vec![0x00, 0], 0x81),
            (vec![0xc0, 0xff, 0xff, 0xff, 0xff], 0x81),
            (vec![0x40, 1, 0], 0x81),
            (vec![0x36, 5, 0, 1, b't', 0, 1], 0x81),
            (vec![0x82, 3, 0, 1, 0], 0x82),
            (vec![0xa2, 3, 0, 1, 0], 0x82),
            (vec![0x20, 3, 0, 0, 0], 0x82),
            (vec![0x90, 4, 0, 1, 0, 0], 0x82),
            (vec![0xb0, 4, 0, 1, 0, 0], 0x82),
            (vec![0xd0, 0], 0x82),
            (Connect::v5("again").bytes(), 0x82),
            (publish_v5(0, "t", None, &property::byte(property::PAYLOAD_FORMAT, 2), b""), 0x82),
        ];
        for (bytes, reason) in errors {
            broker.disconnects("client", &bytes, reason);
            // It has no consequences for others.
            bystander.lives();
        }
        broker.v5("publisher").publishes(0, "t", &[], b"x");
        bystander.expect(&publish_v5(2, "t", Some(1), &[], b"x"));
    });
}

#[test]
fn mqtt_4_13_2_1_a_reason_of_0x80_and_above_ends_the_connection_told_or_not() {
    on_each_layout(|broker| {
        // Told in CONNACK, told in DISCONNECT.
        let will = Some(("#", "", 0, false));
        broker.refuses(&Connect { will, ..Connect::v5("client") }.bytes(), 0x90);
        broker.disconnects("client", &[0xd0, 0], 0x82);
        // A client that takes no packet of five bytes is not told.
        let properties = &property::four(property::MAXIMUM_PACKET_SIZE, 4);
        let mut raw = broker.raw();
        raw.send(&Connect { properties, ..Connect::v5("client") }.bytes());
        raw.expect_closed();
        // The client's reasons are as good. Those of acknowledgements end nothing.
        for reason in [0x80, 0x81, 0x93, 0x98] {
            let mut client = broker.v5("client");
            client.send(&[0xe0, 1, reason]);
            client.expect_closed();
        }
        let mut client = broker.v5("client");
        client.subscribe_v5("t", 1);
        client.publishes_to_itself_and_refuses();
        client.send(&PINGREQ);
        client.expect(&PINGRESP);
    });
}

impl Raw {
    /// A message that comes back and is refused with PUBACK.
    #[track_caller]
    fn publishes_to_itself_and_refuses(&mut self) {
        self.send(&publish_v5(0, "t", None, &[], b"of QoS 0"));
        self.expect(&publish_v5(0, "t", None, &[], b"of QoS 0"));
        self.send(&publish_v5(2, "t", Some(1), &[], b"x"));
        let mut got = [self.packet(), self.packet()];
        got.sort();
        assert_eq!(got, [publish_v5(2, "t", Some(1), &[], b"x"), vec![0x40, 2, 0, 1]]);
        self.send(&[0x40, 3, 0, 1, 0x83]);
    }
}
