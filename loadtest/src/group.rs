//! Who gets a message together: a subscriber alone, or all that share a subscription, one of whom gets it.

use crate::args::share;
use crate::check::{Arrival, Faults, Stream};

/// What came of the messages to a subscription.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its one topic, or all of them.
    topic: Option<u16>,
    /// How many topics there are.
    topics: u16,
    /// Its members get messages over connections of their own, which have no order among them.
    pub(crate) shared: bool,
    /// By publisher, of those whose messages it gets.
    streams: Vec<Stream>,
}

impl Group {
    /// Publisher p publishes to topic p modulo `topics`.
    pub(crate) fn new(topic: Option<u16>, shared: bool, topics: u16, publishers: u16) -> Self {
        let count = topic.map_or(publishers, |topic| share(publishers, topic, topics));
        let streams = std::iter::repeat_with(Stream::default).take(usize::from(count)).collect();
        Self { topic, topics, shared, streams }
    }

    /// Its one topic, if it has one.
    #[inline]
    pub(crate) fn topic(&self) -> Option<u16> {
        self.topic
    }

    /// Whether messages of a topic are for it.
    #[inline]
    pub(crate) fn wants(&self, topic: u16) -> bool {
        self.topic.is_none_or(|own| own == topic)
    }

    /// A publisher's place among those whose messages it gets.
    fn place(&self, publisher: u16) -> usize {
        usize::from(self.topic.map_or(publisher, |_| publisher / self.topics))
    }

    /// A message of a publisher came that is for it.
    #[inline]
    pub(crate) fn arrived(&mut self, publisher: u16, sequence: u64) -> Arrival {
        let place = self.place(publisher);
        self.streams[place].arrived(sequence)
    }

    /// Adds what was wrong with the messages of a publisher, which are for it, and of which there are so many.
    pub(crate) fn add(&self, publisher: u16, sent: u64, faults: &mut Faults) {
        let before = faults.reordered;
        faults.add_deliveries(&self.streams[self.place(publisher)], sent);
        if self.shared {
            faults.reordered = before;
        }
    }
}

/// Whether a member of a group gets each publisher's messages in their order, though not all of them. [MQTT-4.6.0-6]
#[derive(Debug)]
pub(crate) struct Order {
    /// By publisher: the number after the last that came.
    next: Vec<u64>,
    late: u64,
}

impl Order {
    pub(crate) fn new(publishers: u16) -> Self {
        Self { next: vec![0; usize::from(publishers)], late: 0 }
    }

    pub(crate) fn arrived(&mut self, publisher: u16, sequence: u64) {
        let next = &mut self.next[usize::from(publisher)];
        if sequence < *next {
            self.late += 1;
        } else {
            *next = sequence + 1;
        }
    }

    pub(crate) fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_an_order_each_and_none_together() {
        let mut group = Group::new(None, true, 1, 2);
        let mut members = [Order::new(2), Order::new(2)];
        let mut comes = |group: &mut Group, member: usize, sequence| {
            group.arrived(1, sequence);
            members[member].arrived(1, sequence);
            members[member].late()
        };
        let late =
            [(0, 0), (1, 2), (0, 1), (0, 3)].map(|(member, sequence)| comes(&mut group, member, sequence));
        let mut faults = Faults::default();
        group.add(1, 4, &mut faults);
        assert_eq!((faults, late), (Faults::default(), [0; 4]));
        assert_eq!(comes(&mut group, 0, 1), 1);
        group.add(1, 5, &mut faults);
        assert_eq!(faults, Faults { duplicated: 1, lost: 1, ..Faults::default() });
    }

    #[test]
    fn who_subscribes_to_one_topic_wants_no_other() {
        let group = Group::new(Some(1), false, 2, 5);
        assert!(group.wants(1) && !group.wants(0) && Group::new(None, false, 2, 5).wants(0));
        assert_eq!((group.streams.len(), group.place(1), group.place(3)), (2, 0, 1));
    }
}
