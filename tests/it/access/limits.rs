//! What one address, one user and one client may take of the broker.

use super::passwords::{Folder, PENCIL, asks, logged_in, login};
use crate::support::{
    Broker, Connect, PINGREQ, PINGRESP, Raw, connack, publish, publish_v5, subscribe_v5, until,
};

/// A connection that the broker closes without a word.
fn is_shut_out(broker: &Broker) -> bool {
    let mut raw = broker.raw();
    // It may be closed already.
    let _ = std::io::Write::write_all(&mut raw.0, &Connect::new("stranger").bytes());
    let (said, _) = raw.rest_after_connack();
    said.is_empty()
}

impl Raw {
    /// CONNACK or nothing, and whether the connection goes on.
    fn rest_after_connack(&mut self) -> (Vec<u8>, bool) {
        let mut said = vec![0; 4];
        match std::io::Read::read_exact(&mut self.0, &mut said) {
            Ok(()) => (said, true),
            Err(_) => (Vec::new(), false),
        }
    }
}

#[test]
fn an_address_has_so_many_connections_over_all_cores() {
    let broker = Broker::sharded(3, "[limits]\nconnections_per_address_max = 4\n");
    let connect = |n: usize| {
        let mut raw = broker.raw();
        raw.connect(&format!("client-{n}"));
        raw
    };
    let mut clients: Vec<Raw> = (0..4).map(connect).collect();
    assert!(is_shut_out(&broker) && is_shut_out(&broker));
    clients.iter_mut().for_each(Raw::expect_silence);
    clients.pop();
    until("there is room again", || !is_shut_out(&broker));
    assert!(broker.log().contains("connections_per_address_max"), "{}", broker.log());
}

#[test]
fn a_user_has_so_many_connections_and_takes_its_own_over() {
    let folder = Folder::new();
    let users = folder.write("users", &format!("ann:{PENCIL}\nbob:{PENCIL}\n"));
    let broker = Broker::with(&(asks(&users) + "[limits]\nconnections_per_user_max = 2\n"));
    let mut first = logged_in(&broker, "first", "ann");
    let second = logged_in(&broker, "second", "ann");
    let mut third = broker.raw();
    third.send(&login("third", "ann", "pencil").bytes());
    third.expect(&connack(false, 3));
    third.expect_closed();
    broker.refuses(&Connect { level: 5, ..login("third", "ann", "pencil") }.bytes(), 0x97);
    drop(logged_in(&broker, "third", "bob"));
    let mut again = logged_in(&broker, "first", "ann");
    first.expect_closed();
    again.expect_silence();
    drop(second);
    until("there is room again", || {
        let mut raw = broker.raw();
        raw.send(&login("third", "ann", "pencil").bytes());
        raw.packet()[3] == 0
    });
}

#[test]
fn an_address_that_tries_too_often_is_shut_out_for_a_while() {
    let settings = "[limits]\nattempts_per_s = 1\nattempts_burst = 20\npenalty_s = 2\n";
    let broker = Broker::with(settings);
    let mut before = broker.raw();
    before.connect("before");
    until("it has tried too often", || is_shut_out(&broker));
    assert!(is_shut_out(&broker));
    before.expect_silence();
    assert_eq!(broker.log().matches("is shut out for penalty_s").count(), 1, "which is told once");
    until("it is let in again", || !is_shut_out(&broker));

    // A wrong password counts for more than a connection.
    let folder = Folder::new();
    let users = folder.write("users", &format!("ann:{PENCIL}\n"));
    let broker = Broker::with(&(asks(&users) + settings));
    for _ in 0..2 {
        let mut raw = broker.raw();
        raw.send(&login("c", "ann", "wrong").bytes());
        if raw.rest_after_connack().0.is_empty() {
            break;
        }
    }
    assert!(is_shut_out(&broker));
}

#[test]
fn who_publishes_too_much_waits_and_nothing_is_lost() {
    let broker = Broker::with("[sys]\ninterval_s = 1\n[limits]\npublishes_per_s = 20\n");
    let mut subscriber = broker.raw();
    subscriber.connect("subscriber");
    subscriber.subscribe("t", 0);
    let mut publisher = broker.raw();
    publisher.send(&Connect { keep_alive: 1, ..Connect::new("publisher") }.bytes());
    publisher.expect(&connack(false, 0));
    // At once, and a ping behind it: its keep alive is over twice before that is read.
    let mut sent: Vec<u8> = (0u8..80).flat_map(|n| publish(0, "t", None, &[n])).collect();
    sent.extend(PINGREQ);
    publisher.send(&sent);
    broker.serves();
    for n in 0u8..80 {
        subscriber.expect(&publish(0, "t", None, &[n]));
    }
    publisher.expect(&PINGRESP);
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("$SYS/broker/publish/held back", 0);
    while watcher.packet().ends_with(b"back0") {}
}

#[test]
fn bytes_count_as_well_and_large_messages_at_their_size() {
    let broker = Broker::with("[limits]\npublish_bytes_per_s = 100_000\n");
    let mut subscriber = broker.raw();
    subscriber.connect("subscriber");
    subscriber.subscribe("t", 0);
    let mut publisher = broker.raw();
    publisher.connect("publisher");
    let large = publish(0, "t", None, &[b'x'; 150_000]);
    publisher.send(&[&large[..], &large, &PINGREQ].concat());
    subscriber.expect(&large);
    broker.serves();
    subscriber.expect(&large);
    publisher.expect(&PINGRESP);
}

#[test]
fn who_publishes_too_much_is_disconnected_where_the_operator_wants_that() {
    let broker = Broker::with("[limits]\npublishes_per_s = 5\npublish_exceeded = \"disconnect\"\n");
    let mut publisher = broker.v5("publisher");
    (0..20).for_each(|_| publisher.send(&publish_v5(0, "t", None, &[], b"x")));
    publisher.expect_goodbye(0x96);
    broker.serves();
    assert!(broker.log().contains("more published in a second than [limits] allows"));
}

#[test]
fn a_topic_has_so_many_bytes() {
    let broker = Broker::with("[limits]\ntopic_bytes_max = 10\n");
    let mut client = broker.v5("client");
    client.subscribe_v5("0123456789", 0);
    client.echoes("0123456789");
    client.send(&subscribe_v5(7, &[], &[("0123456789a", 0)]));
    assert_eq!(client.packet().last(), Some(&0x8f));
    client.send(&publish_v5(0, "0123456789a", None, &[], b"x"));
    client.expect_goodbye(0x90);
    let will = Connect { will: Some(("0123456789a", "x", 0, false)), ..Connect::v5("will") };
    broker.refuses(&will.bytes(), 0x90);
}
