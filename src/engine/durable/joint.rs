//! Messages for sessions of several cores: one request of the core where they were published, once all have told their
//! part.

use super::{Asking, Durable, Waiter};
use crate::engine::persist::{PersistOp, Place, Recipient};
use crate::session::Stored;
use crate::types::{Message, PacketId, SessionId, ShardId};
use std::sync::Arc;

/// A message for which other cores have yet to say who of theirs is to get it.
#[derive(Debug)]
pub(super) struct Joint {
    pub(super) message: Arc<Message>,
    pub(super) to: Vec<Recipient>,
    pub(super) inbound: Option<(SessionId, PacketId)>,
    pub(super) instead_of: Option<Place>,
    /// Cores that have not said so.
    pub(super) missing: usize,
    pub(super) waiting: Vec<Waiter>,
}

impl Durable {
    /// A message begins to be delivered that other cores have a part in.
    pub(in crate::engine) fn join(&mut self, message: &Arc<Message>) -> Asking {
        self.last_joint += 1;
        let joint = Joint {
            message: Arc::clone(message),
            to: Vec::new(),
            inbound: None,
            instead_of: None,
            // One for this core, which is done last.
            missing: 1,
            waiting: Vec::new(),
        };
        self.joints.insert(self.last_joint, joint);
        Asking::Jointly(self.last_joint)
    }

    /// One core more has a part in a message.
    pub(in crate::engine) fn expect_part(&mut self, asking: Asking) {
        if let Asking::Jointly(number) = asking
            && let Some(joint) = self.joints.get_mut(&number)
        {
            joint.missing += 1;
        }
    }

    /// A core has told its part in a message of ours.
    pub(in crate::engine) fn part(&mut self, from: ShardId, number: u64, to: Vec<Recipient>, tell: bool) {
        if tell && let Some(joint) = self.joints.get_mut(&number) {
            joint.waiting.push(Waiter::Peer(from, number));
        }
        self.part_came(number, to);
    }

    /// One of the parts that a message of ours waits for is known.
    pub(in crate::engine) fn part_came(&mut self, number: u64, to: Vec<Recipient>) {
        let Some(joint) = self.joints.get_mut(&number) else { return };
        joint.to.extend(to);
        joint.missing -= 1;
        if joint.missing > 0 {
            return;
        }
        let Some(joint) = self.joints.remove(&number) else { return };
        let to = &mut self.segment().batch.to;
        let at = to.len();
        to.extend(joint.to);
        let [begin, end] = [at, to.len()].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
        let left = to[at..].iter().filter(|recipient| recipient.session.is_some()).count();
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let Joint { message, inbound, instead_of, .. } = joint;
        let needless = left == 0 && inbound.is_none() && instead_of.is_none();
        let request = if needless {
            self.segment().batch.ops.push(PersistOp::Nothing);
            self.last += 1;
            self.last
        } else {
            self.ask(PersistOp::Message { message, to: begin..end, left, inbound, instead_of })
        };
        self.joined.insert(number, request);
        self.joined_by.push_back((request, number));
        joint.waiting.into_iter().for_each(|waiter| self.wait(request, waiter));
    }

    /// A message of another core, in which this one has a part, is durable.
    pub(in crate::engine) fn told(&mut self, shard: ShardId, number: u64) {
        self.theirs.remove(&(shard, number));
    }

    /// A message of another core begins to be delivered here.
    pub(in crate::engine) fn arrives(&mut self, asking: Asking) {
        self.arriving = match asking {
            Asking::Elsewhere(shard, number) => Some((shard, number)),
            _ => None,
        };
        self.awaited = false;
    }

    /// It waits in a queue, which may leave it to the store only once that has it.
    pub(in crate::engine) fn awaits(&mut self, stored: Stored) {
        self.awaited |= matches!(stored, Stored::Elsewhere(..));
    }
}
