//! Messages that wait for one client: it is away, its window is full, or its socket is.
//!
//! A queue that outgrows its budget of memory has a middle that lies in the store alone: what came first is here, to be sent
//! at once, and what came last is here until the store has it.

use crate::types::limits::Overflow;
use crate::types::{GroupKey, Limits, Message, QoS, ShardId};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// What a waiting message counts towards the bounds in bytes besides its content.
pub const ENTRY_BYTES: u64 = 64;

/// Where the store is with a message that waits for a client or is on its way to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stored {
    /// It is not to have it: the message is lost with the broker.
    #[default]
    Never,
    /// It has it.
    Yes,
    /// It has it once this request of this core is durable.
    By(u64),
    /// This core waits for others, to ask for it together with theirs; the number of that.
    Jointly(u64),
    /// Another core asks for it; its number of that.
    Elsewhere(ShardId, u64),
}

/// A message with what one subscriber's subscriptions make of it.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The message, shared by all who wait for it.
    pub message: Arc<Message>,
    /// Its number among the session's messages.
    pub seq: u64,
    /// The QoS to deliver it with. [MQTT-3.8.4-8]
    pub qos: QoS,
    /// RETAIN to deliver it with. [MQTT-3.3.1-8] to [MQTT-3.3.1-13]
    pub retain: bool,
    /// Subscription Identifiers to send along. [MQTT-3.3.4-3]
    pub ids: Option<Box<[u32]>>,
    /// The group that it came through, another member of which takes it when this one leaves.
    pub share: Option<GroupKey>,
    /// Whether it outlives the broker.
    pub stored: Stored,
}

impl Queued {
    /// What it counts towards the queue's bound in bytes: its content and its own entry.
    pub fn size(&self) -> u64 {
        self.message.size() as u64 + ENTRY_BYTES
    }
}

/// Messages that lie in the store and not in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// All of them have at least this number.
    pub from: u64,
    /// How many.
    pub messages: u64,
    /// What they count towards the bound in bytes.
    pub bytes: u64,
}

/// What became of a message for the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Queued,
    /// The queue is full: it was dropped.
    DroppedNew,
    /// The queue is full and the operator wants such a client disconnected; the message was dropped.
    Disconnect,
}

/// What the store was asked for.
///
/// Later messages reach it in any order, as far as other cores have a part in them: it may have one of those by now and not
/// yet one that comes before it. So they do not count in its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Messages with lower numbers.
    end: u64,
    /// What was left to it since: messages and their bytes.
    since: (u64, u64),
}

/// A bounded first-in-first-out queue: `front`, then `backlog`, then `back`.
///
/// Invariant: `bytes` and `front_bytes` are the sums of [`Queued::size`] over both ends and over `front`.
/// Invariant: `back` is empty while `backlog` is and `front` has room.
#[derive(Debug, Default)]
pub struct Queue {
    front: VecDeque<Queued>,
    front_bytes: u64,
    backlog: Backlog,
    /// All of the backlog have lower numbers.
    backlog_end: u64,
    /// Messages of the backlog were asked for.
    asked: Option<Asked>,
    back: VecDeque<Queued>,
    bytes: u64,
    /// Numbers of messages that others got from `back`, ascending. The store may have them still when it is asked for what
    /// comes before and behind them.
    gone: Vec<u64>,
}

impl Queue {
    /// Queues a message, or does at the bound what [`Limits::overflow`] says; `dropped` gets older ones that make room.
    /// While the oldest lie in the store and are on their way here, a new one is dropped instead of them.
    pub fn push(&mut self, queued: Queued, limits: &Limits, mut dropped: impl FnMut(Queued)) -> Pushed {
        let size = queued.size();
        if size > limits.queue_bytes_max && limits.overflow == Overflow::DropOldest {
            return Pushed::DroppedNew;
        }
        while !self.has_room(size, limits) {
            match limits.overflow {
                Overflow::DropOldest => match self.pop() {
                    Some(oldest) => dropped(oldest),
                    None => return Pushed::DroppedNew,
                },
                Overflow::DropNewest => return Pushed::DroppedNew,
                Overflow::Disconnect => return Pushed::Disconnect,
                // Who published it is held back.
                Overflow::Hold => break,
            }
        }
        self.bytes += size;
        // Only what outlives the broker can wait elsewhere.
        let stays = queued.stored == Stored::Never && self.backlog.messages == 0 && self.back.is_empty();
        if stays || self.front_has_room(size, limits) {
            self.front_bytes += size;
            self.front.push_back(queued);
        } else {
            self.back.push_back(queued);
        }
        Pushed::Queued
    }

    fn front_has_room(&self, size: u64, limits: &Limits) -> bool {
        self.backlog.messages == 0
            && self.back.is_empty()
            && (self.front.is_empty() || self.front_bytes + size <= limits.queue_memory_bytes)
    }

    /// Takes out the message that waits longest, if it is in memory.
    pub fn pop(&mut self) -> Option<Queued> {
        let queued = self.front.pop_front()?;
        let size = queued.size();
        self.bytes -= size;
        self.front_bytes -= size;
        if self.front.is_empty() {
            self.front = VecDeque::new();
            self.close_up();
        }
        if self.is_empty() {
            self.gone = Vec::new();
        }
        Some(queued)
    }

    /// When nothing is left between the ends they become one.
    fn close_up(&mut self) {
        if self.front.is_empty() && self.backlog.messages == 0 {
            self.front = std::mem::take(&mut self.back);
            self.front_bytes = self.bytes;
        }
    }

    /// Leaves to the store what it has by now, as `durable` says, as far as the front is full.
    pub fn spill(&mut self, limits: &Limits, durable: impl Fn(Stored) -> bool) {
        while let Some(first) = self.back.front() {
            let size = first.size();
            if self.backlog.messages == 0 && self.front_bytes + size <= limits.queue_memory_bytes {
                self.front_bytes += size;
                self.front.extend(self.back.pop_front());
                continue;
            }
            // What the store is not to have stays, and what comes after it, up to the queue's bound in bytes. That is rare: a
            // message that another core sent before it heard that somebody here needs it kept.
            if first.stored == Stored::Never || !durable(first.stored) {
                return;
            }
            if self.backlog.messages == 0 {
                self.backlog.from = first.seq;
            }
            self.backlog.messages += 1;
            self.backlog.bytes += size;
            self.backlog_end = first.seq + 1;
            if let Some(Asked { since: (messages, bytes), .. }) = &mut self.asked {
                *messages += 1;
                *bytes += size;
            }
            self.bytes -= size;
            self.back.pop_front();
        }
        self.back = VecDeque::new();
    }

    /// Whether something of it waits for the store to have it.
    pub fn is_spilling(&self) -> bool {
        !self.back.is_empty()
    }

    /// The number from which on to ask the store for messages, if that is due: little is left here. It counts as done.
    pub fn ask(&mut self, limits: &Limits) -> Option<u64> {
        let due = self.backlog.messages > 0
            && self.asked.is_none()
            && self.front_bytes * 2 <= limits.queue_memory_bytes;
        due.then(|| {
            self.asked = Some(Asked { end: self.backlog_end, since: (0, 0) });
            self.backlog.from
        })
    }

    /// Takes what the store gave back. Nothing at all means that it has no more of what it was asked for, whatever was
    /// thought.
    pub fn load(&mut self, messages: impl IntoIterator<Item = Queued>) {
        let Asked { end, since } =
            self.asked.take().unwrap_or(Asked { end: self.backlog_end, since: (0, 0) });
        let mut none = true;
        for queued in messages.into_iter().take_while(|queued| queued.seq < end) {
            none = false;
            let size = queued.size();
            self.backlog.from = queued.seq + 1;
            if self.gone.binary_search(&queued.seq).is_ok() {
                continue;
            }
            self.backlog.messages = self.backlog.messages.saturating_sub(1);
            self.backlog.bytes = self.backlog.bytes.saturating_sub(size);
            self.bytes += size;
            self.front_bytes += size;
            self.front.push_back(queued);
        }
        if none {
            self.backlog = Backlog { from: end, messages: since.0, bytes: since.1 };
        }
        let from = self.backlog.from;
        self.gone.retain(|seq| *seq >= from);
        if self.backlog.messages == 0 {
            self.backlog = Backlog::default();
        }
        self.close_up();
    }

    /// Takes out a message that the store has and that has expired: what was here of it, if anything, or nothing when it is
    /// not to be had here any more. While messages are on their way from the store, all of them stay.
    pub fn expire(&mut self, seq: u64, size: u64) -> Option<Option<Queued>> {
        if self.asked.is_some() {
            return None;
        }
        if self.backlog_range().contains(&seq) {
            self.take_out(size);
            return Some(None);
        }
        let at = self.front.iter().position(|queued| queued.seq == seq)?;
        let queued = self.front.remove(at)?;
        self.bytes -= queued.size();
        self.front_bytes -= queued.size();
        self.close_up();
        Some(Some(queued))
    }

    /// What the store has for it at the start, all of it with numbers below `end`.
    pub fn restore(&mut self, backlog: Backlog, end: u64) {
        (self.backlog, self.backlog_end) = (backlog, end);
    }

    /// The numbers of all that lies in the store alone are in this range.
    pub fn backlog_range(&self) -> Range<u64> {
        if self.backlog.messages == 0 { 0..0 } else { self.backlog.from..self.backlog_end }
    }

    /// A message that lay in the store alone is somebody else's now, or nobody's.
    pub fn take_out(&mut self, size: u64) {
        self.backlog.messages = self.backlog.messages.saturating_sub(1);
        self.backlog.bytes = self.backlog.bytes.saturating_sub(size);
        if self.backlog.messages == 0 {
            self.backlog = Backlog::default();
            self.close_up();
        }
    }

    /// Whether the store was asked for messages and has not answered.
    pub fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Messages in memory.
    pub fn in_memory(&self) -> impl Iterator<Item = &Queued> {
        self.front.iter().chain(&self.back)
    }

    /// What lies in the store alone.
    pub fn backlog(&self) -> Backlog {
        self.backlog
    }

    /// Whether there is room for one more of this size.
    pub fn has_room(&self, size: u64, limits: &Limits) -> bool {
        self.len() < limits.queue_messages_max as usize && self.bytes() + size <= limits.queue_bytes_max
    }

    /// Takes out what is for others to deliver, in its order: messages in memory which `moves` names.
    pub fn take(&mut self, mut moves: impl FnMut(&Queued) -> bool) -> Vec<Queued> {
        let mut leave = |end: &mut VecDeque<Queued>| {
            let (moving, stays): (Vec<_>, Vec<_>) = std::mem::take(end).into_iter().partition(&mut moves);
            *end = stays.into();
            moving
        };
        let mut taken = leave(&mut self.front);
        let behind = leave(&mut self.back);
        self.gone.extend(behind.iter().map(|queued| queued.seq));
        self.gone.sort_unstable();
        taken.extend(behind);
        let bytes = taken.iter().map(Queued::size).sum::<u64>();
        self.bytes -= bytes;
        self.front_bytes = self.front.iter().map(Queued::size).sum();
        self.close_up();
        if self.is_empty() {
            self.gone = Vec::new();
        }
        taken
    }

    /// The message that waits longest, if it is in memory.
    pub fn front(&self) -> Option<&Queued> {
        self.front.front()
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.front.len() + usize::try_from(self.backlog.messages).unwrap_or(usize::MAX / 2) + self.back.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.front.is_empty() && self.backlog.messages == 0 && self.back.is_empty()
    }

    /// Bytes that count towards the bound.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.backlog.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Delivery, Now};

    fn queued(payload: &str) -> Queued {
        let delivery = Delivery { qos: QoS::AtLeastOnce, retain: false, received: Now(0), expiry: None };
        let message = Message::new("t", &[], payload.as_bytes(), delivery);
        let (message, qos) = (Arc::new(message), QoS::AtLeastOnce);
        Queued { message, seq: 0, qos, retain: false, ids: None, share: None, stored: Stored::Never }
    }

    fn drain(queue: &mut Queue) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| queue.pop()).map(|queued| queued.message.payload().to_vec()).collect()
    }

    fn fill(overflow: Overflow) -> (Queue, Vec<Pushed>) {
        let limits = Limits { queue_messages_max: 2, overflow, ..Limits::default() };
        let mut queue = Queue::default();
        let pushed = ["1", "2", "3"].map(|payload| queue.push(queued(payload), &limits, drop)).to_vec();
        (queue, pushed)
    }

    #[test]
    fn a_full_queue_drops_what_the_operator_chose() {
        let size = queued("1").size();
        let (mut queue, pushed) = fill(Overflow::DropNewest);
        assert_eq!(pushed, [Pushed::Queued, Pushed::Queued, Pushed::DroppedNew]);
        assert_eq!((queue.bytes(), drain(&mut queue)), (2 * size, vec![b"1".to_vec(), b"2".to_vec()]));
        let (mut queue, pushed) = fill(Overflow::DropOldest);
        assert_eq!(pushed[2], Pushed::Queued);
        assert_eq!(drain(&mut queue), [b"2", b"3"]);
        assert_eq!(fill(Overflow::Disconnect).1[2], Pushed::Disconnect);
    }

    #[test]
    fn what_came_through_a_group_is_taken_out_in_its_order() {
        let mut queue = Queue::default();
        let group = |slot| Some(GroupKey { slot, generation: 0 });
        for (payload, share) in [("1", None), ("2", group(1)), ("3", group(2)), ("4", group(1))] {
            queue.push(Queued { share, ..queued(payload) }, &Limits::default(), drop);
        }
        let taken = queue.take(|queued| queued.share == group(1));
        assert_eq!(taken.iter().map(|queued| queued.message.payload()).collect::<Vec<_>>(), [b"2", b"4"]);
        assert_eq!(queue.bytes(), 2 * queued("1").size());
        assert_eq!(drain(&mut queue), [b"1", b"3"]);
    }

    #[test]
    fn bytes_bound_the_queue_too_and_a_message_larger_than_the_bound_is_dropped() {
        let limits = Limits { queue_bytes_max: 300, overflow: Overflow::DropOldest, ..Limits::default() };
        let mut queue = Queue::default();
        let mut dropped = Vec::new();
        let mut push = |payload: &str| {
            queue.push(queued(payload), &limits, |old| dropped.push(old.message.payload().len()))
        };
        assert_eq!(push(&"x".repeat(100)), Pushed::Queued);
        assert_eq!(push(&"y".repeat(150)), Pushed::Queued);
        assert_eq!(push(&"z".repeat(400)), Pushed::DroppedNew);
        assert_eq!(dropped, [100]);
        assert_eq!(drain(&mut queue), ["y".repeat(150).as_bytes()], "nothing made room for what cannot fit");
        assert_eq!(queue.bytes(), 0);
    }

    /// A queue of a few messages in memory, with numbers from 0 to `count`, that the store has up to `kept`.
    fn stored(count: u64, kept: u64) -> (Queue, Limits) {
        let limits = Limits { queue_memory_bytes: 4 * queued("1").size(), ..Limits::default() };
        let mut queue = Queue::default();
        for seq in 0..count {
            queue.push(Queued { seq, stored: Stored::By(seq), ..queued("1") }, &limits, drop);
        }
        queue.spill(&limits, |stored| matches!(stored, Stored::By(seq) if seq < kept));
        (queue, limits)
    }

    #[test]
    fn what_does_not_fit_into_memory_is_left_to_the_store_once_that_has_it() {
        let (mut queue, limits) = stored(10, 7);
        assert_eq!((queue.len(), queue.bytes()), (10, 10 * queued("1").size()));
        assert_eq!((queue.backlog().from, queue.backlog().messages, queue.is_spilling()), (4, 3, true));
        queue.spill(&limits, |_| true);
        assert_eq!((queue.backlog().messages, queue.is_spilling()), (6, false));
        assert_eq!(queue.ask(&limits), None, "the front is full");
        let first: Vec<_> = (0..3).map(|_| queue.pop().unwrap().seq).collect();
        assert_eq!((first, queue.ask(&limits), queue.ask(&limits)), (vec![0, 1, 2], Some(4), None));
        let load = |seqs: Range<u64>| seqs.map(|seq| Queued { seq, ..queued("1") });
        queue.load(load(4..6));
        assert_eq!((queue.backlog().from, queue.backlog().messages, queue.len()), (6, 4, 7));
        for seq in 3..6 {
            assert_eq!(queue.pop().map(|queued| queued.seq), Some(seq));
        }
        assert!(queue.front().is_none() && !queue.is_empty(), "the rest is with the store");
        assert_eq!(queue.ask(&limits), Some(6));
        queue.load(load(6..10));
        assert_eq!(std::iter::from_fn(|| queue.pop()).map(|q| q.seq).collect::<Vec<_>>(), [6, 7, 8, 9]);
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn what_the_store_got_after_it_was_asked_is_taken_once() {
        let (mut queue, limits) = stored(6, 6);
        while queue.pop().is_some() {}
        assert_eq!(queue.ask(&limits), Some(4));
        queue.push(Queued { seq: 6, stored: Stored::By(9), ..queued("1") }, &limits, drop);
        queue.load((4..7).map(|seq| Queued { seq, stored: Stored::Yes, ..queued("1") }));
        assert_eq!(std::iter::from_fn(|| queue.pop()).map(|q| q.seq).collect::<Vec<_>>(), [4, 5, 6]);
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn what_others_got_meanwhile_is_neither_taken_back_nor_counted() {
        let (mut queue, limits) = stored(10, 7);
        let taken = queue.take(|queued| queued.seq == 8);
        assert_eq!(taken.iter().map(|queued| queued.seq).collect::<Vec<_>>(), [8]);
        queue.spill(&limits, |_| true);
        while queue.pop().is_some() {}
        assert_eq!(queue.ask(&limits), Some(4));
        queue.load((4..9).map(|seq| Queued { seq, stored: Stored::Yes, ..queued("1") }));
        assert_eq!((queue.len(), queue.backlog().from, queue.backlog().messages), (5, 9, 1));
    }

    #[test]
    fn what_reaches_the_store_in_another_order_after_it_was_asked_is_asked_for_again() {
        for (answer, first) in [(vec![4, 5, 7], vec![4, 5]), (vec![7], vec![])] {
            let (mut queue, limits) = stored(6, 6);
            while queue.pop().is_some() {}
            assert_eq!(queue.ask(&limits), Some(4));
            for seq in 6..8 {
                queue.push(Queued { seq, stored: Stored::By(seq), ..queued("1") }, &limits, drop);
            }
            // When it answered it had the second of them, and has both when the answer comes.
            queue.spill(&limits, |_| true);
            let load = |seqs: Vec<u64>| seqs.into_iter().map(|seq| Queued { seq, ..queued("1") });
            queue.load(load(answer));
            assert_eq!(std::iter::from_fn(|| queue.pop()).map(|q| q.seq).collect::<Vec<_>>(), first);
            assert_eq!((queue.len(), queue.ask(&limits)), (2, Some(6)));
            queue.load(load(vec![6, 7]));
            assert_eq!(std::iter::from_fn(|| queue.pop()).map(|q| q.seq).collect::<Vec<_>>(), [6, 7]);
            assert!(queue.is_empty() && queue.bytes() == 0);
        }
    }

    #[test]
    fn new_messages_wait_behind_those_in_the_store() {
        let (mut queue, limits) = stored(6, 6);
        queue.push(Queued { seq: 6, stored: Stored::Never, ..queued("1") }, &limits, drop);
        while queue.pop().is_some() {}
        assert_eq!((queue.len(), queue.backlog().messages), (3, 2));
        queue.load(Vec::new());
        assert_eq!(queue.pop().map(|queued| queued.seq), Some(6), "the store had less than was thought");
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn what_the_store_never_gets_is_not_left_to_it() {
        let (mut queue, limits) = stored(6, 6);
        for (seq, known) in [(6, Stored::Never), (7, Stored::By(7))] {
            queue.push(Queued { seq, stored: known, ..queued("1") }, &limits, drop);
        }
        queue.spill(&limits, |_| true);
        assert_eq!(queue.backlog().messages, 2);
        while queue.pop().is_some() {}
        assert_eq!(queue.ask(&limits), Some(4));
        queue.load((4..6).map(|seq| Queued { seq, stored: Stored::Yes, ..queued("1") }));
        assert_eq!(std::iter::from_fn(|| queue.pop()).map(|q| q.seq).collect::<Vec<_>>(), [4, 5, 6, 7]);
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn what_expires_goes_from_memory_and_from_what_the_store_has_but_not_while_it_is_on_its_way() {
        let (mut queue, limits) = stored(10, 7);
        let size = queued("1").size();
        let gone = |queue: &mut Queue, seq| queue.expire(seq, size).map(|here| here.map(|queued| queued.seq));
        assert_eq!(gone(&mut queue, 5), Some(None), "the store alone has it");
        assert_eq!(gone(&mut queue, 2), Some(Some(2)));
        assert_eq!(
            (gone(&mut queue, 2), gone(&mut queue, 8)),
            (None, None),
            "gone, and not with the store yet"
        );
        assert_eq!((queue.len(), queue.bytes()), (8, 8 * size));
        assert_eq!((queue.pop().map(|q| q.seq), queue.ask(&limits)), (Some(0), Some(4)));
        assert_eq!(gone(&mut queue, 4), None, "it is on its way");
        queue.load([4, 6].map(|seq| Queued { seq, ..queued("1") }));
        queue.spill(&limits, |_| true);
        assert_eq!(std::iter::from_fn(|| queue.pop()).map(|q| q.seq).collect::<Vec<_>>(), [1, 3, 4, 6]);
        assert_eq!([8, 9, 7].map(|seq| gone(&mut queue, seq)), [Some(None); 3]);
        assert!(queue.is_empty() && queue.bytes() == 0 && queue.backlog() == Backlog::default());
    }

    #[test]
    fn while_the_oldest_are_with_the_store_a_full_queue_drops_the_newest() {
        let (mut queue, limits) = stored(6, 6);
        let limits = Limits { queue_messages_max: 6, overflow: Overflow::DropOldest, ..limits };
        for dropped in 0..4 {
            let mut seen = None;
            let pushed = queue.push(Queued { seq: 6, ..queued("1") }, &limits, |old| seen = Some(old.seq));
            assert_eq!((pushed, seen), (Pushed::Queued, Some(dropped)));
        }
        assert_eq!(queue.push(queued("1"), &limits, drop), Pushed::DroppedNew);
    }
}
