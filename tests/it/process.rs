//! The program's life: signals, `$SYS`.

use crate::support::{Broker, Connect};

#[test]
fn sigterm_says_goodbye_to_clients_of_5_0_and_exits_with_0() {
    let mut broker = Broker::sharded(3, "");
    let mut new: Vec<_> = (0..6)
        .map(|n| {
            let mut raw = broker.raw();
            raw.send(&Connect::v5(&format!("new-{n}")).bytes());
            raw.packet();
            raw
        })
        .collect();
    let mut old = broker.raw();
    old.connect("old");
    let mut silent = broker.raw();
    broker.terminate();
    for raw in &mut new {
        raw.expect_goodbye(0x8b);
    }
    old.expect_closed();
    silent.expect_closed();
    drop((new, old, silent));
    assert_eq!(broker.wait().code(), Some(0));
    assert!(std::net::TcpStream::connect(broker.address).is_err());
}

#[test]
fn sys_topics_show_what_happens_on_all_shards() {
    let broker = Broker::sharded(3, "[sys]\ninterval_s = 1");
    let clients: Vec<_> = (0..9)
        .map(|n| {
            let mut raw = broker.raw();
            raw.connect(&format!("client-{n}"));
            raw.subscribe(&format!("topic/{n}"), 0);
            raw
        })
        .collect();
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("$SYS/broker/#", 0);
    let (mut connected, mut subscriptions, mut version) = (false, false, false);
    // Once the counts of all shards are in.
    while !(connected && subscriptions && version) {
        let packet = watcher.packet();
        let text = String::from_utf8_lossy(&packet[2..]).into_owned();
        connected |= text.contains("$SYS/broker/clients/connected10");
        subscriptions |= text.contains("$SYS/broker/subscriptions/count10");
        version |= text.contains("$SYS/broker/versionpantala");
    }
    drop(clients);
}
