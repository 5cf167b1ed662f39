//! Clients that are sent to another server: by a listener that serves nobody, and when the broker stops. [MQTT 4.11]

use crate::support::{Broker, Connect, connack, property};

/// The broker's own listener, which comes behind these settings, sends its clients on.
fn redirecting(permanent: bool) -> Broker {
    Broker::with_listener(&format!("redirect = \"other.example:1883\"\nredirect_permanent = {permanent}"))
}

#[test]
fn a_listener_sends_clients_of_5_0_on_for_now_or_for_good() {
    for (permanent, reason) in [(false, 0x9c), (true, 0x9d)] {
        let broker = redirecting(permanent);
        for id in ["one", "two", "three", ""] {
            let answer = broker.refuses(&Connect::v5(id).bytes(), reason);
            assert_eq!(
                answer.properties.string(property::SERVER_REFERENCE).as_deref(),
                Some("other.example:1883")
            );
            assert!(answer.properties.has(property::REASON_STRING));
        }
        // One that takes no reason in words, and one that takes next to nothing.
        let quiet = property::byte(property::PROBLEM_INFORMATION, 0);
        let answer = broker.refuses(&Connect { properties: &quiet, ..Connect::v5("quiet") }.bytes(), reason);
        assert!(!answer.properties.has(property::REASON_STRING));
        let small = property::four(property::MAXIMUM_PACKET_SIZE, 20);
        let answer = broker.refuses(&Connect { properties: &small, ..Connect::v5("small") }.bytes(), reason);
        assert!(!answer.properties.has(property::SERVER_REFERENCE));
    }
}

#[test]
fn a_listener_that_sends_clients_on_is_not_available_to_older_ones() {
    let broker = redirecting(false);
    for level in [3, 4] {
        let mut raw = broker.raw();
        raw.send(&Connect { level, ..Connect::new("c") }.bytes());
        raw.expect(&connack(false, 3));
        raw.expect_closed();
    }
}

#[test]
fn clients_of_a_broker_that_stops_are_told_where_to_go() {
    let mut broker = Broker::with("[mqtt]\nserver_reference = \"other.example:1883\"\n");
    let mut clients = ["one", "two", "three"].map(|id| broker.v5(id));
    let mut old = broker.raw();
    old.connect("old");
    broker.terminate();
    for client in &mut clients {
        let said = client.expect_goodbye(0x9c);
        assert_eq!(said.string(property::SERVER_REFERENCE).as_deref(), Some("other.example:1883"));
    }
    old.expect_closed();
    assert!(broker.wait().success());
}
