//! Accepting, also when descriptors run out.

use super::rig::*;
use crate::types::{Limits, Span};
use rustix::io::Errno;

#[test]
fn many_connections_at_once_are_all_accepted() {
    let mut rig = Rig::new(2, &Limits::default());
    let mut clients: Vec<_> = (0..500).map(|_| rig.dial()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&connect(&format!("c{n}")));
    }
    clients.iter_mut().for_each(|client| rig.expect(client, &CONNACK));
    assert_eq!(rig.connections(), 500);
}

#[test]
fn a_listener_rests_when_descriptors_run_out_and_comes_back() {
    let mut rig = Rig::new(1, &Limits::default());
    let mut bystander = rig.client("bystander");
    rig.shards[0].rest(0, Errno::MFILE);
    let mut client = rig.dial();
    client.send(&connect("patient"));
    rig.settle();
    assert_eq!(rig.connections(), 1, "it waits in the kernel");
    bystander.send(&PINGREQ);
    rig.expect(&mut bystander, &PINGRESP);
    rig.pass(Span::from_millis(500));
    rig.expect(&mut client, &CONNACK);
    let mut other = rig.client("another");
    other.send(&PINGREQ);
    rig.expect(&mut other, &PINGRESP);
}

#[test]
fn connections_above_the_bound_are_closed_at_once_and_leave_room_when_they_end() {
    let mut rig = Rig::new(1, &Limits { connections_max: 3, ..Limits::default() });
    let mut clients: Vec<_> = (0..3).map(|n| rig.client(&format!("c{n}"))).collect();
    let mut late = rig.dial();
    rig.expect_end(&mut late, b"");
    clients.pop();
    rig.until("there is room", |rig| rig.connections() == 2);
    rig.client("in time");
}

#[test]
fn connections_that_are_gone_before_they_are_accepted_do_no_harm() {
    let mut rig = Rig::new(1, &Limits::default());
    (0..100).for_each(|_| rig.dial().vanish());
    let mut client = rig.client("client");
    client.send(&PINGREQ);
    rig.expect(&mut client, &PINGRESP);
    rig.until("no other connection is left", |rig| rig.connections() == 1);
}

#[test]
fn sys_topics_add_up_what_all_shards_report() {
    let mut rig = Rig::new(4, &Limits::default());
    let clients: Vec<_> = (0..20).map(|n| rig.client(&format!("c{n}"))).collect();
    rig.pass(Span::from_secs(21));
    let mut watcher = rig.subscriber("watcher", "$SYS/broker/clients/connected", 0);
    let mut expected = publish("$SYS/broker/clients/connected", b"20");
    // It is a retained message.
    expected[0] |= 1;
    rig.expect(&mut watcher, &expected);
    drop(clients);
}
