//! Who wants what one filter matches: sessions of this core, other cores, and groups that share a subscription.

use super::subscribers::Subscribers;
use super::{Subscribed, Unsubscribed};
use crate::types::{GroupKey, QoS, SessionKey, ShardId, ShardSet};
use std::slice;

/// What a subscription asks for, in the bits of a SUBSCRIBE packet's options: QoS in bits 0 and 1, No Local in bit 2,
/// Retain As Published in bit 3. Retain Handling acts once, at SUBSCRIBE, and is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionFlags(u8);

impl SubscriptionFlags {
    const NO_LOCAL: u8 = 1 << 2;
    const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

    /// Puts flags together.
    pub fn new(qos: QoS, no_local: bool, retain_as_published: bool) -> Self {
        let no_local = if no_local { Self::NO_LOCAL } else { 0 };
        let retain_as_published = if retain_as_published { Self::RETAIN_AS_PUBLISHED } else { 0 };
        Self(qos as u8 | no_local | retain_as_published)
    }

    /// The highest QoS that messages are sent with. [MQTT-3.8.4-8]
    pub fn qos(self) -> QoS {
        QoS::from_bits(self.0 & 3).expect("made from a QoS")
    }

    /// Whether the session's own messages are kept from it. [MQTT-3.8.3-3]
    pub fn no_local(self) -> bool {
        self.0 & Self::NO_LOCAL != 0
    }

    /// Whether RETAIN is passed on as the publisher set it. [MQTT-3.3.1-13]
    pub fn retain_as_published(self) -> bool {
        self.0 & Self::RETAIN_AS_PUBLISHED != 0
    }
}

/// One session's subscription to one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Whose.
    pub session: SessionKey,
    /// With which options.
    pub options: SubscriptionFlags,
    /// The Subscription Identifier, 1 to 268,435,455; 0 when the client gave none.
    pub subscription_id: u32,
}

/// The subscribers of one filter on this core and the other cores that want it. Most filters have one of either.
#[derive(Debug)]
pub(super) enum Wants {
    /// Only between the filter's making and its first subscriber, and between its last one's leaving and its removal.
    Nobody,
    Local(Subscriber),
    Peer(ShardId),
    Many(Box<Many>),
}

const _: () = assert!(size_of::<Wants>() <= 24, "each filter holds one");

/// Invariant: two members at least, counting both kinds, or a group.
#[derive(Debug, Default)]
pub(super) struct Many {
    locals: Subscribers,
    peers: ShardSet,
    groups: Vec<GroupKey>,
}

impl Wants {
    pub(super) fn is_nobody(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    /// The sessions of this core, in order, list by list; no list is empty.
    pub(super) fn locals(&self) -> impl Iterator<Item = &[Subscriber]> {
        let (one, many) = match self {
            Self::Nobody | Self::Peer(_) => (None, None),
            Self::Local(subscriber) => (Some(slice::from_ref(subscriber)), None),
            Self::Many(many) => (None, Some(many.locals.lists())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(super) fn has_locals(&self) -> bool {
        self.locals().next().is_some()
    }

    pub(super) fn add_peers_to(&self, peers: &mut ShardSet) {
        match self {
            Self::Nobody | Self::Local(_) => {}
            Self::Peer(peer) => {
                peers.insert(*peer);
            }
            Self::Many(many) => peers.union(&many.peers),
        }
    }

    pub(super) fn groups(&self) -> &[GroupKey] {
        match self {
            Self::Many(many) => &many.groups,
            Self::Nobody | Self::Local(_) | Self::Peer(_) => &[],
        }
    }

    /// Adds a group that is not there yet.
    pub(super) fn add_group(&mut self, group: GroupKey) {
        self.many().groups.push(group);
    }

    pub(super) fn remove_group(&mut self, group: GroupKey) {
        if let Self::Many(many) = self {
            many.groups.retain(|&known| known != group);
            self.shrink();
        }
    }

    /// Adds a session, or replaces its options.
    pub(super) fn subscribe(&mut self, subscriber: Subscriber) -> Subscribed {
        match self {
            Self::Nobody => {
                *self = Self::Local(subscriber);
                return Subscribed { fresh: true, first_local: true };
            }
            Self::Local(known) if known.session == subscriber.session => {
                *known = subscriber;
                return Subscribed { fresh: false, first_local: false };
            }
            _ => {}
        }
        let locals = &mut self.many().locals;
        let first_local = locals.is_empty();
        Subscribed { fresh: locals.insert(subscriber), first_local }
    }

    pub(super) fn unsubscribe(&mut self, session: SessionKey) -> Option<Unsubscribed> {
        match self {
            Self::Nobody | Self::Peer(_) => None,
            Self::Local(known) => (known.session == session).then(|| {
                *self = Self::Nobody;
                Unsubscribed { last_local: true }
            }),
            Self::Many(many) => {
                let known = many.locals.remove(session);
                let last_local = many.locals.is_empty();
                self.shrink();
                known.then_some(Unsubscribed { last_local })
            }
        }
    }

    pub(super) fn add_peer(&mut self, peer: ShardId) -> bool {
        match self {
            Self::Nobody => {
                *self = Self::Peer(peer);
                true
            }
            Self::Peer(known) if *known == peer => false,
            _ => self.many().peers.insert(peer),
        }
    }

    pub(super) fn remove_peer(&mut self, peer: ShardId) -> bool {
        match self {
            Self::Nobody | Self::Local(_) => false,
            Self::Peer(known) if *known == peer => {
                *self = Self::Nobody;
                true
            }
            Self::Peer(_) => false,
            Self::Many(many) => {
                let present = many.peers.remove(peer);
                self.shrink();
                present
            }
        }
    }

    /// Makes room for a second member, which the caller adds.
    fn many(&mut self) -> &mut Many {
        if !matches!(self, Self::Many(_)) {
            let mut many = Box::<Many>::default();
            if let Self::Local(one) = self {
                many.locals.insert(*one);
            }
            self.add_peers_to(&mut many.peers);
            *self = Self::Many(many);
        }
        let Self::Many(many) = self else { unreachable!("just made so") };
        many
    }

    /// Gives memory back when only one member is left.
    fn shrink(&mut self) {
        let Self::Many(many) = self else { return };
        if !many.groups.is_empty() {
            return;
        }
        let mut peers = many.peers.iter();
        match (many.locals.single(), peers.next(), peers.next()) {
            (Some(one), None, _) => *self = Self::Local(one),
            (None, Some(one), None) if many.locals.is_empty() => *self = Self::Peer(one),
            (None, None, _) if many.locals.is_empty() => *self = Self::Nobody,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SHARDS_MAX;

    fn subscriber(slot: u32) -> Subscriber {
        let session = SessionKey { slot, generation: 0 };
        Subscriber {
            session,
            options: SubscriptionFlags::new(QoS::AtMostOnce, false, false),
            subscription_id: 0,
        }
    }

    fn peers(wants: &Wants) -> Vec<u16> {
        let mut peers = ShardSet::EMPTY;
        wants.add_peers_to(&mut peers);
        peers.iter().map(|peer| peer.0).collect()
    }

    #[test]
    fn flags_come_back_as_they_were() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (no_local, as_published) in [(false, false), (false, true), (true, false), (true, true)] {
                let flags = SubscriptionFlags::new(qos, no_local, as_published);
                assert_eq!(
                    (flags.qos(), flags.no_local(), flags.retain_as_published()),
                    (qos, no_local, as_published)
                );
            }
        }
    }

    #[test]
    fn subscribers_are_kept_in_order_each_once() {
        let mut wants = Wants::Nobody;
        for (slot, fresh, first_local) in
            [(5, true, true), (5, false, false), (9, true, false), (1, true, false)]
        {
            assert_eq!(wants.subscribe(subscriber(slot)), Subscribed { fresh, first_local });
        }
        let mut changed = subscriber(9);
        changed.subscription_id = 7;
        assert!(!wants.subscribe(changed).fresh);
        assert_eq!(wants.locals().flatten().collect::<Vec<_>>(), [&subscriber(1), &subscriber(5), &changed]);
    }

    #[test]
    fn a_filter_of_peers_alone_has_no_first_local_yet() {
        let mut wants = Wants::Nobody;
        assert!(wants.add_peer(ShardId(3)) && !wants.add_peer(ShardId(3)) && wants.add_peer(ShardId(200)));
        assert!(wants.subscribe(subscriber(1)).first_local);
        assert!(wants.unsubscribe(SessionKey { slot: 2, generation: 0 }).is_none());
        assert_eq!(wants.unsubscribe(subscriber(1).session), Some(Unsubscribed { last_local: true }));
        assert_eq!(peers(&wants), [3, 200]);
    }

    #[test]
    fn groups_stand_beside_sessions_and_cores_and_leave_nothing_behind() {
        let group = |slot| GroupKey { slot, generation: 0 };
        let mut wants = Wants::Nobody;
        wants.subscribe(subscriber(1));
        wants.add_group(group(7));
        wants.add_group(group(8));
        assert_eq!((wants.groups(), wants.locals().flatten().count()), (&[group(7), group(8)][..], 1));
        wants.unsubscribe(subscriber(1).session);
        wants.remove_group(group(7));
        assert!(matches!(&wants, Wants::Many(_)) && wants.groups() == [group(8)] && !wants.has_locals());
        wants.add_peer(ShardId(3));
        wants.remove_group(group(8));
        assert!(matches!(wants, Wants::Peer(ShardId(3))));
        wants.remove_peer(ShardId(3));
        wants.add_group(group(8));
        wants.remove_group(group(8));
        assert!(wants.is_nobody());
    }

    #[test]
    fn memory_is_given_back_when_one_member_is_left_and_nobody_remains_after_the_last() {
        let mut wants = Wants::Nobody;
        for slot in 0..1_000 {
            wants.subscribe(subscriber(slot));
        }
        wants.add_peer(ShardId(0));
        for slot in 1..1_000 {
            assert_eq!(wants.unsubscribe(subscriber(slot).session), Some(Unsubscribed { last_local: false }));
        }
        assert!(matches!(wants, Wants::Many(_)), "a session and a peer");
        assert!(wants.remove_peer(ShardId(0)) && !wants.remove_peer(ShardId(0)));
        assert!(matches!(wants, Wants::Local(_)));
        wants.unsubscribe(subscriber(0).session);
        assert!(wants.is_nobody());

        let last = ShardId(u16::try_from(SHARDS_MAX - 1).unwrap());
        assert!(wants.add_peer(last) && wants.add_peer(ShardId(1)));
        assert!(wants.remove_peer(last) && matches!(wants, Wants::Peer(ShardId(1))));
        assert!(!wants.remove_peer(last) && wants.remove_peer(ShardId(1)) && wants.is_nobody());
    }
}
