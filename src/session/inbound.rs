//! Messages from one client: QoS 2 identifiers that are not released yet, and acknowledgements that leave in the
//! order of their PUBLISHes even when some have to wait. [MQTT-4.6.0-2], [MQTT-4.6.0-3]

use crate::types::{Map, PacketId, ShardId};
use std::collections::VecDeque;

/// Which packet acknowledges a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    /// PUBACK, for QoS 1.
    PubAck,
    /// PUBREC, for QoS 2.
    PubRec,
    /// PUBCOMP, for a PUBREL.
    PubComp,
}

/// An acknowledgement that the client is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed<R> {
    /// The PUBLISH's packet id.
    pub packet_id: PacketId,
    /// PUBACK, PUBREC or PUBCOMP.
    pub kind: AckKind,
    /// What to say in it.
    pub reason: R,
}

/// Acknowledgements that wait: for what they promise to be true, or for an earlier one that does.
/// Empty, and without memory, while nothing has to wait.
#[derive(Debug)]
pub struct Acks<R> {
    /// With how many things each waits for, besides those before it.
    waiting: VecDeque<(Owed<R>, u8)>,
    /// The number of the first that waits.
    first: u64,
    /// How many of them are PUBACKs.
    pubacks: usize,
}

impl<R> Default for Acks<R> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), first: 0, pubacks: 0 }
    }
}

impl<R> Acks<R> {
    /// The number of the acknowledgement that is queued next, to hand to [`Acks::complete`].
    pub fn next_number(&self) -> u64 {
        self.first + self.waiting.len() as u64
    }

    /// Queues an acknowledgement that waits for so many things besides those before it.
    pub fn push(&mut self, owed: Owed<R>, missing: u8) {
        self.pubacks += usize::from(owed.kind == AckKind::PubAck);
        self.waiting.push_back((owed, missing));
    }

    /// One of the things that this acknowledgement promises is true now.
    pub fn complete(&mut self, number: u64) {
        let entry = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some((_, missing)) = entry.and_then(|at| self.waiting.get_mut(at)) {
            *missing = missing.saturating_sub(1);
        }
    }

    /// An acknowledgement that waits is to say something else. Returns what it was; `None` if it does not wait any more.
    pub fn amend(&mut self, number: u64, reason: R) -> Option<Owed<R>>
    where
        R: Copy,
    {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let (owed, _) = self.waiting.get_mut(at)?;
        let before = *owed;
        owed.reason = reason;
        Some(before)
    }

    /// An acknowledgement waits for one thing more.
    pub fn wait_more(&mut self, number: u64) {
        let entry = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some((_, missing)) = entry.and_then(|at| self.waiting.get_mut(at)) {
            *missing = missing.saturating_add(1);
        }
    }

    /// The next acknowledgement that may leave.
    pub fn pop(&mut self) -> Option<Owed<R>> {
        let (owed, _) = self.waiting.pop_front_if(|(_, missing)| *missing == 0)?;
        self.first += 1;
        self.pubacks -= usize::from(owed.kind == AckKind::PubAck);
        Some(owed)
    }

    /// How many PUBACKs wait. The messages of waiting PUBRECs are counted as [`Unreleased`].
    pub fn pubacks(&self) -> usize {
        self.pubacks
    }

    /// Whether none waits: a new one that is ready may leave at once.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// What has to be true before a message is acknowledged. A PUBREC that its connection did not live to see is owed on the
/// next one, and promises the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// The request to the store that keeps it; 0 for none.
    pub request: u64,
    /// The message's number among those of its core that other cores have a part in.
    pub joint: Option<u64>,
    /// The request to the store that retains it; 0 for none.
    pub retained: u64,
    /// The core that has to retain it, and how many it will have retained then.
    pub retained_by: Option<(ShardId, u64)>,
}

/// Packet ids of QoS 2 messages that the client published and has not released by PUBREL. Part of the session: they
/// outlive the connection. [MQTT-4.3.3-10], [MQTT-4.3.3-12]
///
/// Each with what its PUBREC promises; `None` for those of an earlier run of the broker.
#[derive(Debug)]
pub struct Unreleased(Map<PacketId, Option<Promise>>);

impl Unreleased {
    /// None.
    pub fn new(map: Map<PacketId, Option<Promise>>) -> Self {
        Self(map)
    }

    /// The message with this id that was taken and is not released, if there is one.
    pub fn get(&self, id: PacketId) -> Option<Option<Promise>> {
        self.0.get(&id).copied()
    }

    /// Notes a PUBLISH; false when it is a repetition of a message that was already taken.
    pub fn received(&mut self, id: PacketId, promise: Option<Promise>) -> bool {
        self.0.insert(id, promise).is_none()
    }

    /// PUBREL came; false for an id that is not known.
    pub fn released(&mut self, id: PacketId) -> bool {
        self.0.remove(&id).is_some()
    }

    /// How many are not released.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all are released.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::HashSeed;

    #[test]
    fn acknowledgements_leave_in_the_order_of_their_publishes() {
        let mut acks = Acks::default();
        let owed = |id| Owed { packet_id: PacketId::new(id).unwrap(), kind: AckKind::PubAck, reason: () };
        let push = |acks: &mut Acks<()>, id, missing| {
            let number = acks.next_number();
            acks.push(owed(id), missing);
            number
        };
        let first = push(&mut acks, 1, 1);
        push(&mut acks, 2, 0);
        let third = push(&mut acks, 3, 2);
        assert_eq!(acks.pop(), None);
        acks.complete(third);
        assert_eq!(acks.pop(), None, "the first still waits");
        acks.complete(third);
        acks.complete(first);
        acks.complete(first);
        assert_eq!(
            std::iter::from_fn(|| acks.pop()).map(|o| o.packet_id.get()).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        let fourth = push(&mut acks, 4, 1);
        acks.complete(first);
        assert_eq!(acks.pop(), None, "a number means one acknowledgement for ever");
        acks.complete(fourth);
        assert!(acks.pop().is_some() && acks.is_empty());
    }

    #[test]
    fn waiting_pubacks_are_counted_and_pubrecs_are_not() {
        let mut acks = Acks::default();
        for (id, kind) in [(1, AckKind::PubRec), (2, AckKind::PubAck), (3, AckKind::PubRec)] {
            acks.push(Owed { packet_id: PacketId::new(id).unwrap(), kind, reason: () }, 0);
        }
        assert_eq!(acks.pubacks(), 1);
        assert!(acks.pop().is_some() && acks.pubacks() == 1);
        assert!(acks.pop().is_some() && acks.pubacks() == 0);
    }

    #[test]
    fn a_repeated_qos_2_publish_is_known_until_released_mqtt_4_3_3_10() {
        let mut unreleased = Unreleased::new(HashSeed(1).map());
        let id = PacketId::new(9).unwrap();
        assert!(unreleased.received(id, None) && !unreleased.received(id, None));
        assert!(unreleased.released(id) && !unreleased.released(id));
        assert!(unreleased.received(id, None), "the id may be used again");
    }
}
