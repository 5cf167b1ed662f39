//! Messages that wait for one client: it is away, its window is full, or its socket is.

use crate::types::limits::Overflow;
use crate::types::{GroupKey, Limits, Message, QoS};
use std::collections::VecDeque;
use std::sync::Arc;

/// A message with what one subscriber's subscriptions make of it.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The message, shared by all who wait for it.
    pub message: Arc<Message>,
    /// The QoS to deliver it with. [MQTT-3.8.4-8]
    pub qos: QoS,
    /// RETAIN to deliver it with. [MQTT-3.3.1-8] to [MQTT-3.3.1-13]
    pub retain: bool,
    /// Subscription Identifiers to send along. [MQTT-3.3.4-3]
    pub ids: Option<Box<[u32]>>,
    /// The group that it came through, another member of which takes it when this one leaves.
    pub share: Option<GroupKey>,
}

impl Queued {
    /// What it counts towards the queue's bound in bytes: its content and its own entry.
    pub fn size(&self) -> u64 {
        (self.message.size() + size_of::<Self>()) as u64
    }
}

/// What became of a message for the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Queued,
    /// The queue is full: it was dropped.
    DroppedNew,
    /// So many older ones, of so many bytes, were dropped for it.
    DroppedOld(u32, u64),
    /// The queue is full and the operator wants such a client disconnected; the message was dropped.
    Disconnect,
}

/// A bounded first-in-first-out queue.
///
/// Invariant: `bytes` is the sum of [`Queued::size`] over `waiting`.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Queued>,
    bytes: u64,
}

impl Queue {
    /// Queues a message, or does at the bound what [`Limits::overflow`] says.
    pub fn push(&mut self, queued: Queued, limits: &Limits) -> Pushed {
        let size = queued.size();
        let (mut dropped, mut dropped_bytes) = (0, 0);
        if size > limits.queue_bytes_max && limits.overflow == Overflow::DropOldest {
            return Pushed::DroppedNew;
        }
        while !self.has_room(size, limits) {
            match limits.overflow {
                Overflow::DropOldest if !self.waiting.is_empty() => {
                    dropped += 1;
                    dropped_bytes += self.pop().map_or(0, |old| old.size());
                }
                Overflow::DropOldest | Overflow::DropNewest => return Pushed::DroppedNew,
                Overflow::Disconnect => return Pushed::Disconnect,
            }
        }
        self.bytes += size;
        self.waiting.push_back(queued);
        if dropped > 0 { Pushed::DroppedOld(dropped, dropped_bytes) } else { Pushed::Queued }
    }

    /// Takes out the message that waits longest.
    pub fn pop(&mut self) -> Option<Queued> {
        let queued = self.waiting.pop_front()?;
        self.bytes -= queued.size();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(queued)
    }

    /// Whether there is room for one more of this size.
    pub fn has_room(&self, size: u64, limits: &Limits) -> bool {
        self.waiting.len() < limits.queue_messages_max as usize && self.bytes + size <= limits.queue_bytes_max
    }

    /// Takes out what is for others to deliver, in its order: messages that came through a group which `moves`.
    pub fn take_shared(&mut self, mut moves: impl FnMut(GroupKey) -> bool) -> Vec<Queued> {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (taken, stays): (Vec<_>, Vec<_>) =
            waiting.partition(|queued| queued.share.is_some_and(&mut moves));
        self.waiting = stays.into();
        self.bytes -= taken.iter().map(Queued::size).sum::<u64>();
        taken
    }

    /// The message that waits longest.
    pub fn front(&self) -> Option<&Queued> {
        self.waiting.front()
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes that count towards the bound.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Delivery, Now};

    fn queued(payload: &str) -> Queued {
        let delivery = Delivery { qos: QoS::AtLeastOnce, retain: false, received: Now(0), expiry: None };
        let message = Message::new("t", &[], payload.as_bytes(), delivery);
        Queued { message: Arc::new(message), qos: QoS::AtLeastOnce, retain: false, ids: None, share: None }
    }

    fn drain(queue: &mut Queue) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| queue.pop()).map(|queued| queued.message.payload().to_vec()).collect()
    }

    fn fill(overflow: Overflow) -> (Queue, Vec<Pushed>) {
        let limits = Limits { queue_messages_max: 2, overflow, ..Limits::default() };
        let mut queue = Queue::default();
        let pushed = ["1", "2", "3"].map(|payload| queue.push(queued(payload), &limits)).to_vec();
        (queue, pushed)
    }

    #[test]
    fn a_full_queue_drops_what_the_operator_chose() {
        let size = queued("1").size();
        let (mut queue, pushed) = fill(Overflow::DropNewest);
        assert_eq!(pushed, [Pushed::Queued, Pushed::Queued, Pushed::DroppedNew]);
        assert_eq!((queue.bytes(), drain(&mut queue)), (2 * size, vec![b"1".to_vec(), b"2".to_vec()]));
        let (mut queue, pushed) = fill(Overflow::DropOldest);
        assert_eq!(pushed[2], Pushed::DroppedOld(1, size));
        assert_eq!(drain(&mut queue), [b"2", b"3"]);
        assert_eq!(fill(Overflow::Disconnect).1[2], Pushed::Disconnect);
    }

    #[test]
    fn what_came_through_a_group_is_taken_out_in_its_order() {
        let mut queue = Queue::default();
        let group = |slot| Some(GroupKey { slot, generation: 0 });
        for (payload, share) in [("1", None), ("2", group(1)), ("3", group(2)), ("4", group(1))] {
            queue.push(Queued { share, ..queued(payload) }, &Limits::default());
        }
        let taken = queue.take_shared(|key| Some(key) == group(1));
        assert_eq!(taken.iter().map(|queued| queued.message.payload()).collect::<Vec<_>>(), [b"2", b"4"]);
        assert_eq!(queue.bytes(), 2 * queued("1").size());
        assert_eq!(drain(&mut queue), [b"1", b"3"]);
    }

    #[test]
    fn bytes_bound_the_queue_too_and_a_message_larger_than_the_bound_is_dropped() {
        let limits = Limits { queue_bytes_max: 300, overflow: Overflow::DropOldest, ..Limits::default() };
        let mut queue = Queue::default();
        assert_eq!(queue.push(queued(&"x".repeat(100)), &limits), Pushed::Queued);
        assert!(matches!(queue.push(queued(&"y".repeat(150)), &limits), Pushed::DroppedOld(1, _)));
        assert_eq!(queue.push(queued(&"z".repeat(400)), &limits), Pushed::DroppedNew);
        assert_eq!(drain(&mut queue), ["y".repeat(150).as_bytes()], "nothing made room for what cannot fit");
        assert_eq!(queue.bytes(), 0);
    }
}
