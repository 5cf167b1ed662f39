//! Shared subscriptions on one core and over several.

use super::*;
use crate::types::Balance;

/// Cores whose messages reach each other.
struct Cores(Vec<Bench>);

impl Cores {
    fn new(count: u16, limits: &Limits, balance: Balance) -> Self {
        let core = |shard| {
            let features = Features { share_balance: balance, ..Features::default() };
            let setup = Setup { features, ..Setup::new(ShardId(shard), count, limits.clone(), HashSeed(5)) };
            Bench { engine: Engine::new(setup), fx: Recorder::default(), now: Now(0) }
        };
        Self((0..count).map(core).collect())
    }

    fn one(limits: &Limits) -> Self {
        Self::new(1, limits, Balance::RoundRobin)
    }

    /// Lets messages between cores arrive until there are none.
    fn settle(&mut self) {
        loop {
            let mut told = Vec::new();
            for (from, core) in (0..).zip(&mut self.0) {
                core.engine.turn_end(core.now, &mut core.fx);
                told.extend(core.fx.peers.drain(..).map(|(to, message)| (from, to, message)));
            }
            if told.is_empty() {
                return;
            }
            for (from, to, message) in told {
                let core = &mut self.0[usize::from(to)];
                core.engine.peer(core.now, ShardId(from), message, &mut core.fx);
            }
        }
    }

    /// Lets what one core has told another arrive, up to the first message for a member.
    fn carry(&mut self, from: usize, to: usize) {
        let told = std::mem::take(&mut self.0[from].fx.peers);
        let (mut mine, rest): (Vec<_>, _) = told.into_iter().partition(|(peer, _)| usize::from(*peer) == to);
        let shared = mine.iter().position(|(_, message)| matches!(message, PeerMessage::Share(_)));
        let later = mine.split_off(shared.map_or(mine.len(), |at| at + 1));
        self.0[from].fx.peers = rest.into_iter().chain(later).collect();
        let core = &mut self.0[to];
        for (_, message) in mine {
            core.engine.peer(core.now, ShardId(u16::try_from(from).unwrap()), message, &mut core.fx);
        }
    }

    /// A client of a core sends bytes; what it got is left for [`Cores::got`].
    fn send(&mut self, core: usize, slot: u32, bytes: &[u8]) {
        let bench = &mut self.0[core];
        let got = bench.send(slot, bytes);
        bench.fx.out.insert(slot, got);
        self.settle();
    }

    /// A member of `$share/g/t` on a core, with nothing left to read.
    fn member(&mut self, core: usize, slot: u32, qos: u8, clean: bool) {
        self.send(core, slot, &connect(&format!("member-{core}-{slot}"), clean));
        self.send(core, slot, &subscribe("$share/g/t", qos));
        assert!(self.0[core].taken(slot).ends_with(&suback(qos)));
    }

    /// A client publishes so many numbered messages to `t`.
    fn publish(&mut self, core: usize, slot: u32, qos: u8, count: u16) {
        self.send(core, slot, &connect(&format!("publisher-{core}-{slot}"), true));
        for n in 1..=count {
            self.send(core, slot, &publish(qos << 1, "t", (qos > 0).then_some(n), &n.to_string()));
        }
    }

    /// The numbers of the messages that a client got since the last look.
    fn got(&mut self, core: usize, slot: u32) -> Vec<u16> {
        let bytes = self.0[core].taken(slot);
        let mut rest = &bytes[..];
        let mut numbers = Vec::new();
        while let Ok(Split::Whole { frame, len }) = split(rest, 1 << 20) {
            if let Ok(Packet::Publish(publish)) = decode(frame, Version::V311) {
                numbers.push(std::str::from_utf8(publish.payload).unwrap().parse().unwrap());
            }
            rest = &rest[len..];
        }
        numbers
    }

    fn queued(&self) -> u64 {
        self.0.iter().map(|core| core.engine.report().queued_messages).sum()
    }

    fn groups_known(&self) -> Vec<usize> {
        self.0.iter().map(|core| core.engine.trie.len()).collect()
    }
}

/// One message in flight, and so many behind it.
fn narrow(queue: u32) -> Limits {
    Limits { inflight_max: 1, queue_messages_max: queue, ..Limits::default() }
}

#[test]
fn each_member_gets_its_turn_and_each_message_goes_to_one() {
    let mut cores = Cores::one(&Limits::default());
    (0..3).for_each(|slot| cores.member(0, slot, 0, true));
    cores.publish(0, 9, 0, 6);
    assert_eq!([0, 1, 2].map(|slot| cores.got(0, slot)), [vec![1, 4], vec![2, 5], vec![3, 6]]);
}

#[test]
fn a_group_on_several_cores_gets_each_message_once_wherever_it_is_published() {
    let mut cores = Cores::new(3, &Limits::default(), Balance::RoundRobin);
    let members = [(0, 0), (1, 0), (1, 1), (2, 0)];
    members.iter().for_each(|&(core, slot)| cores.member(core, slot, 1, true));
    for publisher in 0..3 {
        cores.publish(publisher, 9, 1, 40);
        let got = members.map(|(core, slot)| cores.got(core, slot));
        assert!(got.iter().all(|numbers| numbers.len() == 10), "{got:?}");
        let mut all = got.concat();
        all.sort_unstable();
        assert_eq!(all, (1..=40).collect::<Vec<_>>());
    }
}

#[test]
fn members_that_are_away_are_passed_over_and_only_then_one_of_them_keeps_the_message() {
    let mut cores = Cores::new(2, &Limits::default(), Balance::RoundRobin);
    cores.member(0, 0, 1, false);
    cores.member(1, 0, 1, false);
    cores.0[0].lost(0);
    cores.settle();
    cores.publish(0, 9, 1, 4);
    assert_eq!((cores.got(1, 0), cores.queued()), (vec![1, 2, 3, 4], 0));
    cores.0[1].lost(0);
    cores.settle();
    cores.publish(1, 9, 1, 4);
    assert_eq!(cores.queued(), 4, "nobody is there: two each wait");
    cores.send(0, 0, &connect("member-0-0", false));
    assert_eq!(cores.got(0, 0).len(), 2);
}

#[test]
fn full_members_are_passed_over_on_every_core_before_a_message_is_dropped() {
    let mut cores = Cores::new(2, &narrow(1), Balance::RoundRobin);
    cores.member(0, 0, 1, true);
    cores.member(1, 0, 1, true);
    cores.publish(0, 9, 1, 5);
    // One in flight and one in the queue of each.
    let dropped = |cores: &Cores| {
        cores.0.iter().map(|core| core.engine.report().counters.dropped.queue_full).sum::<u64>()
    };
    assert_eq!((cores.queued(), dropped(&cores)), (2, 1));
    // Only the member of core 1 goes on.
    cores.send(1, 0, &[0x40, 2, 0, 1]);
    cores.publish(0, 9, 1, 1);
    assert_eq!((cores.queued(), dropped(&cores)), (2, 1));
}

#[test]
fn qos_0_passes_over_members_whose_output_is_full() {
    let mut cores = Cores::new(2, &Limits::default(), Balance::RoundRobin);
    (0..2).for_each(|core| cores.member(core, 0, 0, true));
    cores.0[0].fx.full.push(0);
    cores.publish(0, 9, 0, 4);
    assert_eq!(cores.got(1, 0), [1, 2, 3, 4]);
    cores.0[1].fx.full.push(0);
    cores.publish(0, 9, 0, 2);
    let dropped = cores.0.iter().map(|core| core.engine.report().counters.dropped.output_full);
    assert_eq!(dropped.sum::<u64>(), 2);
}

#[test]
fn what_a_member_that_unsubscribes_was_not_sent_goes_to_another() {
    let mut cores = Cores::new(2, &narrow(10), Balance::Sticky);
    cores.member(0, 0, 1, true);
    cores.member(1, 0, 1, true);
    cores.publish(0, 9, 1, 3);
    assert_eq!((cores.got(0, 0), cores.queued()), (vec![1], 2));
    cores.send(0, 0, &packet(0xa2, &[&[0, 2], &text("$share/g/t")]));
    cores.send(1, 0, &[0x40, 2, 0, 1]);
    assert_eq!((cores.got(1, 0), cores.queued()), (vec![2, 3], 0));
    // What was sent is still the first one's to acknowledge. [MQTT-3.10.4-3]
    cores.send(0, 0, &[0x40, 2, 0, 1]);
    assert!(cores.0[0].engine.sessions.iter().all(|(_, session)| session.outbound.is_empty()));
}

#[test]
fn what_a_session_that_ends_has_not_acknowledged_goes_to_another_unless_it_may_have_it() {
    for (qos, expected) in [(1, vec![1, 2, 3]), (2, vec![2, 3])] {
        let mut cores = Cores::new(2, &narrow(10), Balance::Sticky);
        cores.member(0, 0, qos, true);
        cores.publish(1, 9, qos, 3);
        cores.member(1, 0, qos, true);
        cores.0[0].lost(0);
        cores.settle();
        let mut got = cores.got(1, 0);
        for id in 1..=3 {
            cores.send(1, 0, &[0x50, 2, 0, id, 0x70, 2, 0, id, 0x40, 2, 0, id]);
            got.extend(cores.got(1, 0));
        }
        assert_eq!(got, expected, "QoS {qos} [MQTT-4.8.2-5]");
        assert_eq!(cores.queued(), 0);
    }
}

#[test]
fn a_client_that_goes_away_leaves_what_waits_to_those_that_are_there() {
    let mut cores = Cores::one(&narrow(10));
    cores.member(0, 0, 1, false);
    cores.publish(0, 9, 1, 3);
    cores.member(0, 1, 1, false);
    cores.0[0].lost(0);
    cores.settle();
    assert_eq!((cores.got(0, 1), cores.queued()), (vec![2], 1));
    cores.send(0, 0, &connect("member-0-0", false));
    assert_eq!(cores.got(0, 0), [1, 1], "what it had been sent is sent again [MQTT-4.4.0-1]");
}

#[test]
fn sticky_stays_with_one_member_until_it_is_gone() {
    let mut cores = Cores::new(2, &Limits::default(), Balance::Sticky);
    for (core, slot) in [(0, 0), (0, 1), (1, 0)] {
        cores.member(core, slot, 0, true);
    }
    cores.publish(0, 8, 0, 3);
    cores.publish(1, 9, 0, 3);
    assert_eq!(cores.got(0, 0), [1, 2, 3, 1, 2, 3]);
    cores.0[0].lost(0);
    cores.settle();
    cores.publish(1, 9, 0, 3);
    assert_eq!((cores.got(0, 1), cores.got(1, 0)), (vec![1, 2, 3], vec![]));
}

#[test]
fn hash_keeps_each_publisher_with_one_member_and_spreads_publishers() {
    let mut cores = Cores::new(2, &Limits::default(), Balance::Hash);
    let members = [(0, 0), (0, 1), (1, 0)];
    members.iter().for_each(|&(core, slot)| cores.member(core, slot, 0, true));
    let mut served = [0; 3];
    for slot in 10..40 {
        cores.publish(1, slot, 0, 5);
        let got = members.map(|(core, slot)| cores.got(core, slot).len());
        let who = got.iter().position(|&count| count == 5).expect("all to one");
        assert_eq!(got.iter().sum::<usize>(), 5);
        served[who] += 1;
    }
    assert!(served.iter().all(|&publishers| publishers > 3), "{served:?}");
}

#[test]
fn a_group_and_a_plain_subscription_of_one_session_are_two_deliveries() {
    let mut cores = Cores::one(&Limits::default());
    cores.member(0, 0, 0, true);
    cores.send(0, 0, &subscribe("t", 0));
    cores.send(0, 0, &subscribe("$share/other/+", 0));
    cores.publish(0, 9, 0, 1);
    assert_eq!(cores.got(0, 0), [1, 1, 1], "two groups, and itself");
}

#[test]
fn retained_messages_are_not_for_groups() {
    let mut cores = Cores::one(&Limits::default());
    cores.send(0, 9, &connect("publisher", true));
    cores.send(0, 9, &publish(1, "t", None, "1"));
    cores.member(0, 0, 0, true);
    assert!(cores.got(0, 0).is_empty());
}

#[test]
fn groups_without_members_are_forgotten_on_every_core() {
    let mut cores = Cores::new(3, &Limits::default(), Balance::RoundRobin);
    cores.member(0, 0, 0, true);
    cores.member(2, 0, 0, false);
    assert_eq!(cores.groups_known(), [1, 1, 1]);
    cores.0[0].lost(0);
    cores.settle();
    assert_eq!(cores.groups_known(), [1, 1, 1]);
    cores.send(2, 0, &packet(0xa2, &[&[0, 2], &text("$share/g/t")]));
    assert_eq!(cores.groups_known(), [0, 0, 0]);
    assert!(cores.0.iter().all(|core| core.engine.groups.is_empty()));
}

#[test]
fn a_message_on_its_way_to_a_member_that_left_goes_to_another_core() {
    let mut cores = Cores::new(2, &Limits::default(), Balance::Sticky);
    cores.member(0, 0, 1, true);
    cores.member(1, 0, 1, true);
    // Core 1 chooses the member on core 0 while that one leaves.
    cores.send(1, 9, &connect("publisher", true));
    cores.0[1].send(9, &publish(2, "t", Some(1), "1"));
    cores.0[0].lost(0);
    cores.settle();
    assert_eq!(cores.got(1, 0), [1]);
}

#[test]
fn suback_waits_until_every_core_knows_the_member() {
    let mut cores = Cores::new(2, &Limits::default(), Balance::RoundRobin);
    cores.send(0, 0, &connect("member", true));
    assert_eq!(cores.0[0].send(0, &subscribe("$share/g/t", 0)).len(), ACCEPTED.len());
    cores.settle();
    assert_eq!(cores.0[0].taken(0), suback(0));
}

#[test]
fn a_message_that_finds_nobody_where_somebody_was_is_not_lost() {
    let mut cores = Cores::new(3, &Limits::default(), Balance::Sticky);
    cores.member(0, 0, 1, false);
    for core in 0..3 {
        cores.member(core, 1, 1, true);
    }
    cores.0[0].lost(0);
    cores.settle();
    cores.send(2, 9, &connect("publisher", true));
    cores.0[2].send(9, &publish(2, "t", Some(1), "1"));
    // The message goes from core to core, and on each the member that is connected leaves right before.
    for (from, to) in [(2, 0), (0, 1), (1, 2)] {
        cores.0[to].lost(1);
        if to == 1 {
            // One that was away when the message came by is back, which the last core hears and the next one does not.
            let got = cores.0[0].send(0, &connect("member-0-0", false));
            cores.0[0].fx.out.insert(0, got);
            cores.carry(0, 2);
        }
        cores.carry(from, to);
    }
    cores.settle();
    assert_eq!((cores.got(0, 0), cores.queued()), (vec![1], 0));
}
