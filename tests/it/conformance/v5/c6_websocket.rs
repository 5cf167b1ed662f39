//! 6: WebSocket as a network transport. What the other chapters demand is shown through it as well.

use crate::conformance::beside_websocket;
use crate::support::{
    ACCEPTED, Broker, Connect, PINGREQ, PINGRESP, REQUEST, Raw, Web, frame, publish_v5, subscribe_v5,
};

/// A client of 5.0 on a WebSocket.
#[track_caller]
fn client(broker: &Broker, id: &str) -> Web {
    let mut web = Web::open(broker.beside);
    web.send(&Connect::v5(id).bytes());
    assert_eq!(web.packet()[2..4], [0, 0]);
    web
}

#[test]
fn mqtt_6_0_0_1_packets_come_and_go_in_binary_frames_and_others_end_the_connection() {
    beside_websocket(|broker| {
        let whole = frame(0x81, &PINGREQ);
        let fragments = [frame(0x01, &PINGREQ[..1]), frame(0x80, &PINGREQ[1..])].concat();
        for text in [whole, fragments] {
            let mut web = client(broker, "web");
            web.send(&PINGREQ);
            web.expect_frame(0x82, &PINGRESP);
            web.raw.send(&text);
            web.expect_close(1003);
        }
    });
}

#[test]
fn mqtt_6_0_0_2_packets_and_frames_need_not_begin_together() {
    beside_websocket(|broker| {
        let mut web = client(broker, "web");
        web.send(&subscribe_v5(1, &[], &[("own", 0)]));
        assert_eq!(web.packet()[0], 0x90);
        let message = publish_v5(0, "own", None, &[], b"to oneself");
        let packets = [&message[..], &PINGREQ, &message].concat();
        let answers = [&message[..], &PINGRESP, &message].concat();
        for size in 1..=packets.len() {
            packets.chunks(size).for_each(|part| web.send(part));
            web.expect(&answers);
        }
    });
}

#[test]
fn mqtt_6_0_0_4_the_server_chooses_the_subprotocol_mqtt() {
    beside_websocket(|broker| {
        for offer in ["mqtt", "chat, mqtt", "mqttv3.1, mqtt", "chat\r\nSec-WebSocket-Protocol: mqtt"] {
            let mut raw = Raw::open(broker.beside);
            raw.send(REQUEST.replace("Protocol: mqtt", &format!("Protocol: {offer}")).as_bytes());
            raw.expect(ACCEPTED.as_bytes());
        }
        let mut raw = Raw::open(broker.beside);
        raw.send(REQUEST.replace("Protocol: mqtt", "Protocol: chat").as_bytes());
        let (answer, closed) = raw.rest();
        assert!(answer.starts_with(b"HTTP/1.1 400 ") && closed, "{}", String::from_utf8_lossy(&answer));
    });
}
