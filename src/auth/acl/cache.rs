//! What was decided for one client lately.

use super::decide::{Acl, Action, Decision, Standing};
use crate::topic::TopicName;
use std::hash::BuildHasher;

/// Topics kept at most. A client that uses more pays for a walk through the file's tree now and then.
const TOPICS_MAX: usize = 64;
/// Topics kept from the first one on: most clients publish to one.
const TOPICS_MIN: usize = 2;
/// Longer ones are decided anew each time, so that the bound on their number is one on bytes: 32 KiB.
const TOPIC_BYTES_MAX: usize = 512;

/// Decisions about topics, by name: at most 64, where a new one takes an old one's place. Those of another generation of the
/// file are dropped. A hit costs a hash and a comparison, and allocates nothing; before the first decision nothing is
/// allocated at all.
#[derive(Debug, Default)]
pub struct Decisions {
    generation: u64,
    /// As many as a power of two, each topic in the place that its hash names; or none.
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    hash: u64,
    /// Empty, which no name is, for none.
    topic: String,
    publish: Option<Decision>,
    receive: Option<Decision>,
}

impl Slot {
    fn decision(&mut self, action: Action) -> &mut Option<Decision> {
        match action {
            Action::Publish => &mut self.publish,
            Action::Receive => &mut self.receive,
        }
    }

    fn forget(&mut self) {
        self.topic.clear();
        (self.publish, self.receive) = (None, None);
    }
}

impl Decisions {
    /// The same as [`Acl::decide`].
    pub fn decide(
        &mut self,
        acl: &Acl,
        standing: &Standing,
        action: Action,
        name: TopicName<'_>,
    ) -> Decision {
        if name.as_str().len() > TOPIC_BYTES_MAX {
            return acl.decide(standing, action, name);
        }
        if self.generation != acl.generation() {
            self.generation = acl.generation();
            self.slots.iter_mut().for_each(Slot::forget);
        }
        let hash = acl.state().hash_one(name.as_str());
        let slot = self.slot(hash, name.as_str());
        *slot.decision(action).get_or_insert_with(|| acl.decide(standing, action, name))
    }

    /// The topic's own place.
    fn slot(&mut self, hash: u64, topic: &str) -> &mut Slot {
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); TOPICS_MIN];
        }
        let mut at = place(hash, self.slots.len());
        let mut here = &self.slots[at];
        while !here.topic.is_empty() && here.topic != topic && self.slots.len() < TOPICS_MAX {
            self.grow();
            at = place(hash, self.slots.len());
            here = &self.slots[at];
        }
        let slot = &mut self.slots[at];
        if slot.topic != topic {
            slot.forget();
            slot.topic.push_str(topic);
            slot.hash = hash;
        }
        slot
    }

    fn grow(&mut self) {
        let mut slots = vec![Slot::default(); 2 * self.slots.len()];
        // Two topics that had places of their own have them still: one more bit of the hash only tells more apart.
        for slot in self.slots.drain(..).filter(|slot| !slot.topic.is_empty()) {
            let at = place(slot.hash, slots.len());
            slots[at] = slot;
        }
        self.slots = slots;
    }
}

fn place(hash: u64, slots: usize) -> usize {
    usize::try_from(hash & (slots as u64 - 1)).expect("below the number of slots")
}
