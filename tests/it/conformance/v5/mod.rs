//! MQTT 5.0: a test for each statement of `v5.txt` that binds a server.

mod c1_5_data;
mod c2_format;
mod c3_10_unsubscribe;
mod c3_14_disconnect;
mod c3_1_connect;
mod c3_1_payload;
mod c3_1_properties;
mod c3_1_will;
mod c3_2_connack;
mod c3_3_actions;
mod c3_3_properties;
mod c3_3_publish;
mod c3_4_acks;
mod c3_8_subscribe;
mod c4_12_auth;
mod c4_1_state;
mod c4_3_qos;
mod c4_4_delivery;
mod c4_7_topics;
mod c4_8_shared;
mod c6_websocket;

use crate::conformance::on_each_layout;
use crate::support::{Connect, Properties, property};

/// Shows that the answer to `sent` explains itself, as long as that fits the client's Maximum Packet Size and as the
/// client does not decline. `bare` is the answer without that; the explanation stands after `head` bytes, in place of a
/// length of 0 if there is one.
fn explains(sent: &[u8], bare: &[u8], head: usize) {
    on_each_layout(|broker| {
        let answer = |properties: &[u8]| {
            let (mut client, _) = broker.greeted(&Connect { properties, ..Connect::v5("client") });
            client.send(sent);
            let answer = client.packet();
            client.lives();
            answer
        };
        let within = |bytes: usize| {
            let bytes = u32::try_from(bytes).expect("small");
            answer(&property::four(property::MAXIMUM_PACKET_SIZE, bytes))
        };
        let explained = answer(&[]);
        let rest = bare.get(head + 1..).unwrap_or_default();
        assert_eq!(
            (&explained[2..head], explained.ends_with(rest)),
            (&bare[2..head], true),
            "{explained:02x?}"
        );
        let properties = Properties::within(&explained[head..explained.len() - rest.len()]);
        let reason = properties.string(property::REASON_STRING).expect("a reason in words");
        assert!(!reason.is_empty() && !properties.has(property::USER));
        assert_eq!(within(explained.len()), explained);
        assert_eq!(within(explained.len() - 1), bare);
        assert_eq!(within(explained.len() / 2), bare);
        assert_eq!(answer(&property::byte(property::PROBLEM_INFORMATION, 0)), bare);
    });
}
