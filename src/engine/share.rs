//! Shared subscriptions: one member of a group gets each message. [MQTT 4.8.2]
//!
//! The publishing core chooses a core and that core a member. A member that is away or full is passed over: first every
//! core looks for a connected member with room, in a round that begins at the chosen one, then for any member whose queue
//! has room. What a member that leaves has not acknowledged, others get.
//!
//! Members come and go while a message is on its way, so that it may find nobody where somebody was. It then follows what
//! its last core has heard of: as long as a group has a member, the message ends at one.

use super::durable::{Asking, size_of_entry};
use super::fanout::{Delivering, Outgoing, Sent};
use super::groups::{Change, Group, Groups, Member, Part};
use super::handover::is_doubtful;
use super::publish::Publication;
use super::{Effects, Engine, PeerMessage, Place, Share};
use crate::session::{Queued, Session, Stored};
use crate::topic::TopicFilter;
use crate::types::{Balance, ConnKey, GroupKey, Message, Now, QoS, SessionId, SessionKey, ShardId, Slab};
use std::sync::Arc;

/// Members that one message is offered to on a core at most, connected and away each: a large group of which nobody has
/// room must not stop its core.
const OFFERS_MAX: usize = 64;

/// What choosing a member needs besides the message.
pub(super) struct Sharing<'a> {
    pub(super) groups: &'a mut Groups,
    pub(super) sessions: &'a mut Slab<SessionKey, Session>,
    pub(super) own: ShardId,
    pub(super) shards: u16,
    pub(super) balance: Balance,
}

/// Where a message is in its search for a member.
#[derive(Clone, Copy)]
struct Search {
    group: GroupKey,
    first: ShardId,
    away: bool,
    pick: Option<u32>,
    /// The core that wants to know who needs it kept, and its number of the message.
    joint: Option<(ShardId, u64)>,
    /// Who published it, where publishers to full queues are held back.
    publisher: Option<(ShardId, ConnKey)>,
}

impl Engine {
    /// A session of this core becomes a member, or changes the options of its membership.
    pub(super) fn join(&mut self, filter: TopicFilter<'_>, member: Member, fx: &mut impl Effects) {
        let online = self.sessions.get(member.session).is_some_and(|session| session.link().is_some());
        let (key, change) = self.groups.join(filter.full(), (member, online), &mut self.interest, fx);
        self.group_changed(filter, key, change);
    }

    /// A session is no member any more; what it has not been sent yet, others get.
    pub(super) fn leave(
        &mut self,
        now: Now,
        filter: TopicFilter<'_>,
        member: SessionKey,
        fx: &mut impl Effects,
    ) {
        let Some(key) = self.groups.key_of(filter.full()) else { return };
        let change = self.groups.leave(key, member, &mut self.interest, fx);
        self.group_changed(filter, key, change);
        self.groups.sweep(&self.interest);
        // A session that has ended hands everything on by itself.
        let Some(session) = self.sessions.get_mut(member) else { return };
        session.shares -= 1;
        let Session { queue, stored, unsent_from, .. } = session;
        let leaves = |queued: &Queued| queued.share == Some(key) && !is_doubtful(queued, *unsent_from);
        let orphans = queue.take(|queued| leaves(queued) && self.durable.is_certain(queued.stored));
        let (owner, more) = (*stored, queue.backlog().messages > 0 || queue.in_memory().any(leaves));
        self.hand_on_all(now, owner, &orphans, fx);
        if more {
            self.begin_handover(member);
        }
    }

    /// The members that a session is come or go with its connection.
    pub(super) fn shares_online(&mut self, key: SessionKey, online: bool, fx: &mut impl Effects) {
        let Self { sessions, groups, interest, .. } = self;
        let Some(session) = sessions.get(key).filter(|session| session.shares > 0) else { return };
        for filter in session.subscriptions.keys() {
            if let Some(group) = groups.key_of(filter) {
                groups.set_online(group, key, online, interest, fx);
            }
        }
    }

    /// A client is away: what it was not sent yet goes to members that are not, where there are any.
    pub(super) fn hand_on_shared(&mut self, now: Now, key: SessionKey, fx: &mut impl Effects) {
        let Self { sessions, groups, durable, .. } = self;
        let Some(session) = sessions.get_mut(key).filter(|session| session.shares > 0) else { return };
        let Session { queue, stored, unsent_from, .. } = session;
        let leaves = |queued: &Queued| {
            queued.share.and_then(|group| groups.get(group)).is_some_and(Group::is_online)
                && !is_doubtful(queued, *unsent_from)
        };
        let orphans = queue.take(|queued| leaves(queued) && durable.is_certain(queued.stored));
        let (owner, more) = (*stored, queue.in_memory().any(leaves));
        self.hand_on_all(now, owner, &orphans, fx);
        if more {
            self.begin_handover(key);
        }
    }

    fn hand_on_all(&mut self, now: Now, owner: Option<SessionId>, orphans: &[Queued], fx: &mut impl Effects) {
        for queued in orphans {
            self.gauges.queued_messages -= 1;
            self.gauges.queued_bytes -= queued.size();
            self.hand_on(now, owner, queued, fx);
        }
    }

    /// Gives a message to another member of the group that it came through. In the store it moves from the one to the other in
    /// one step; returns what that waits for.
    pub(super) fn hand_on(
        &mut self,
        now: Now,
        owner: Option<SessionId>,
        queued: &Queued,
        fx: &mut impl Effects,
    ) -> Asking {
        let (own, store) = (self.setup.shard, self.durable.is_on() && queued.qos != QoS::AtMostOnce);
        let group = queued.share.filter(|&group| self.groups.get(group).is_some());
        let elsewhere =
            group.and_then(|group| self.groups.get(group)).is_some_and(|group| group.lasts_elsewhere(own));
        let asking = match store {
            true if elsewhere => self.durable.join(&queued.message),
            true => Asking::Here,
            false => Asking::Nobody,
        };
        let joint = asking.joint().map(|number| (own, number));
        let asking = match group {
            Some(group) => {
                let search = Search { group, first: own, away: false, pick: None, joint, publisher: None };
                self.search(now, &queued.message, search, asking, fx)
            }
            None => {
                // Nobody is left in it, on any core.
                self.counters.dropped.queue_full += 1;
                asking
            }
        };
        // Until it is certain when the store has it, the session that ends by and by keeps it there.
        let certain = queued.stored != Stored::Never && self.durable.is_certain(queued.stored);
        let place = owner.filter(|_| certain).map(|session| Place {
            session,
            seq: queued.seq,
            size: size_of_entry(queued),
        });
        self.durable.asked(asking, || Arc::clone(&queued.message), None, place, fx)
    }

    /// Another core has announced how many members of a group it has.
    pub(super) fn share_learned(&mut self, filter: &str, part: Part) {
        let (key, change) = self.groups.learn(filter, part);
        self.group_changed(TopicFilter::trusted(filter), key, change);
        self.groups.sweep(&self.interest);
    }

    /// Another core sent a message for one member of this core.
    pub(super) fn shared_from_peer(&mut self, now: Now, share: Share, fx: &mut impl Effects) {
        let Share { group, message, first, away, pick, joint, publisher } = share;
        let message = Arc::new(message);
        let asking = match joint {
            None => self.asks_alone(message.delivery.qos),
            // It came back to the core that asks for it.
            Some((shard, number)) if shard == self.setup.shard => Asking::Jointly(number),
            Some((shard, number)) => Asking::Elsewhere(shard, number),
        };
        let search = Search { group, first, away, pick, joint, publisher };
        self.durable.arrives(asking);
        match self.search(now, &message, search, asking, fx) {
            Asking::Jointly(number) => self.durable.part_came(number, Vec::new()),
            asking @ Asking::Elsewhere(..) => {
                self.durable.asked(asking, || message, None, None, fx);
            }
            _ => {}
        }
        self.evict(now, fx);
    }

    /// Returns who asks the store for the message now: nobody, if it is on its way to another core that is told who does.
    fn search(
        &mut self,
        now: Now,
        message: &Arc<Message>,
        search: Search,
        asking: Asking,
        fx: &mut impl Effects,
    ) -> Asking {
        if message.delivery.expired(now) {
            self.counters.dropped.expired += 1;
            return asking;
        }
        self.frames.clear();
        let (mut delivering, mut sharing) = self.delivering(now, asking);
        let mut publication = Publication::of(message);
        publication.remote = search.publisher;
        let passed = delivering.share_here(&mut sharing, &publication, search, fx);
        let (asking, full) = (delivering.asking, delivering.full);
        self.after_full(full, &publication, fx);
        match asking {
            Asking::Elsewhere(..) if passed => Asking::Nobody,
            asking => asking,
        }
    }

    fn group_changed(&mut self, filter: TopicFilter<'_>, key: GroupKey, change: Change) {
        match change {
            Change::None => return,
            Change::First => self.trie.add_group(filter, key),
            Change::Last => self.trie.remove_group(filter, key),
        }
        self.cache.on_change(filter);
    }
}

impl Delivering<'_> {
    /// Gives a message that was published on this core to one member of a group. `publisher` is a hash of who published it.
    pub(super) fn share(
        &mut self,
        sharing: &mut Sharing<'_>,
        publication: &Publication<'_>,
        group: GroupKey,
        publisher: u64,
        fx: &mut impl Effects,
    ) {
        let Some(known) = sharing.groups.get_mut(group) else { return };
        let Some((part, pick)) = known.choose(sharing.balance, publisher) else { return };
        let joint = self.asking.joint().map(|number| (sharing.own, number));
        let publisher = self.publisher.map(|conn| (sharing.own, conn));
        let search = Search { group, first: part.shard, away: false, pick, joint, publisher };
        if part.shard == sharing.own {
            self.share_here(sharing, publication, search, fx);
        } else {
            self.pass_on(publication, part, search, fx);
        }
    }

    /// Gives a message to a member of this core, or passes it on to a core that has one with room: true.
    fn share_here(
        &mut self,
        sharing: &mut Sharing<'_>,
        publication: &Publication<'_>,
        mut search: Search,
        fx: &mut impl Effects,
    ) -> bool {
        loop {
            if self.offer_round(sharing, publication, search, fx) {
                return false;
            }
            let Some(group) = sharing.groups.get_mut(search.group) else { return false };
            // In the second round also those that are connected: they may have been away in the first.
            let suits = |part: &Part| search.away || part.online > 0;
            if let Some(next) = group.next_after(sharing.own, search.first, sharing.shards, suits) {
                search.pick = None;
                self.pass_on(publication, next, search, fx);
                return true;
            }
            if search.away || publication.delivery.qos == QoS::AtMostOnce {
                return self.nobody(sharing, publication, search, fx);
            }
            search = Search { away: true, first: sharing.own, pick: None, ..search };
        }
    }

    fn pass_on(&mut self, publication: &Publication<'_>, to: Part, search: Search, fx: &mut impl Effects) {
        self.counters.forwarded += 1;
        self.durable.expect_part(self.asking);
        let message = Message::clone(publication.message());
        let Search { first, away, pick, joint, publisher, .. } = search;
        let share = Share { group: to.key, message, first, away, pick, joint, publisher };
        fx.peer(to.shard, PeerMessage::Share(share));
    }

    /// True when a member of this core took the message.
    fn offer_round(
        &mut self,
        sharing: &mut Sharing<'_>,
        publication: &Publication<'_>,
        search: Search,
        fx: &mut impl Effects,
    ) -> bool {
        let Sharing { groups, sessions, balance, .. } = sharing;
        let Some(Group { members, filter, .. }) = groups.get_mut(search.group) else { return false };
        let mut offer = |member: &Member, now: bool| {
            let Some(session) = sessions.get_mut(member.session) else { return false };
            if !self.may_receive(session, publication) {
                return false;
            }
            let ids = [member.id];
            let outgoing = Outgoing {
                qos: publication.delivery.qos.min(member.flags.qos()),
                retain: publication.delivery.retain && member.flags.retain_as_published(),
                ids: if member.id == 0 { &[] } else { &ids },
                share: Some((search.group, filter)),
            };
            if now {
                self.send_now(session, publication, outgoing, fx) == Sent::Yes
            } else {
                self.queue_if_room(session, member.session, publication, outgoing, fx)
            }
        };
        let begin = members.begin(*balance, search.pick);
        let online = members.online();
        let count = online.len();
        let in_turn = || (begin..begin + count.min(OFFERS_MAX)).map(|place| &online[place % count]);
        in_turn().any(|member| offer(member, true))
            || in_turn().any(|member| offer(member, false))
            || search.away && members.offline().iter().take(OFFERS_MAX).any(|member| offer(member, false))
    }

    /// No member on any core has room: the operator's choice for full queues is made at one of this core. A core without
    /// members leaves that to another one, where the search begins anew: true.
    #[cold]
    fn nobody(
        &mut self,
        sharing: &mut Sharing<'_>,
        publication: &Publication<'_>,
        search: Search,
        fx: &mut impl Effects,
    ) -> bool {
        let Sharing { groups, sessions, own, shards, .. } = sharing;
        let key = search.group;
        let Some(group) = groups.get_mut(key) else { return false };
        let elsewhere = group.next_after(*own, *own, *shards, |_| true);
        if let Some(part) = elsewhere.filter(|_| group.members.is_empty()) {
            let search = Search { first: part.shard, away: false, pick: None, ..search };
            self.pass_on(publication, part, search, fx);
            return true;
        }
        let Group { members, filter, .. } = group;
        let member = members.online().first().or_else(|| members.offline().first()).copied();
        let Some((member, session)) =
            member.and_then(|member| Some((member, sessions.get_mut(member.session)?)))
        else {
            self.counters.dropped.queue_full += 1;
            return false;
        };
        let qos = publication.delivery.qos.min(member.flags.qos());
        let ids = [member.id];
        match (qos, session.link().is_some()) {
            (QoS::AtMostOnce, true) => self.counters.dropped.output_full += 1,
            (QoS::AtMostOnce, false) => self.counters.dropped.offline += 1,
            _ => {
                let retain = publication.delivery.retain && member.flags.retain_as_published();
                let ids = if member.id == 0 { &[][..] } else { &ids };
                let outgoing = Outgoing { qos, retain, ids, share: Some((key, filter)) };
                self.queue(session, member.session, publication, outgoing, fx);
            }
        }
        false
    }
}
