//! What a store should hold, as plainly as it can be said.

use crate::engine::{Batch, PersistOp, Place, Recipient, StoredSession};
use crate::session::{ENTRY_BYTES, Subscription};
use crate::types::{Message, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// A session with all that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) stored: StoredSession,
    pub(super) subscriptions: BTreeMap<Box<str>, Subscription>,
    pub(super) inbound: BTreeSet<u16>,
    pub(super) received: BTreeSet<u64>,
    pub(super) owed: BTreeMap<u64, (Recipient, Message)>,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    pub(super) sessions: BTreeMap<u64, Held>,
    pub(super) retained: BTreeMap<String, Message>,
}

impl Model {
    pub(super) fn apply(&mut self, batch: &Batch) {
        for op in &batch.ops {
            self.apply_one(op, &batch.to);
        }
    }

    fn apply_one(&mut self, op: &PersistOp, to: &[Recipient]) {
        match op {
            PersistOp::Nothing => {}
            PersistOp::Session(stored) => {
                let held = self.sessions.entry(stored.id.0).or_insert_with(|| Held::new((**stored).clone()));
                held.stored = (**stored).clone();
            }
            PersistOp::End(session) => {
                self.sessions.remove(&session.0);
            }
            PersistOp::Subscribe { session, filter, subscription } => {
                self.with(*session, |held| {
                    held.subscriptions.insert(filter.clone(), *subscription);
                });
            }
            PersistOp::Unsubscribe { session, filter } => {
                self.with(*session, |held| {
                    held.subscriptions.remove(filter);
                });
            }
            PersistOp::Message { message, to: range, inbound, instead_of, .. } => {
                instead_of.iter().for_each(|place| self.done(*place));
                if let Some((session, id)) = inbound {
                    self.with(*session, |held| {
                        held.inbound.insert(id.get());
                    });
                }
                for recipient in &to[range.start as usize..range.end as usize] {
                    let Some(session) = recipient.session else { continue };
                    let entry = (recipient.clone(), (**message).clone());
                    self.with(session, |held| {
                        held.owed.insert(recipient.seq, entry);
                    });
                }
            }
            PersistOp::Done(place) => self.done(*place),
            PersistOp::Received(place) => self.with(place.session, |held| {
                held.owed.remove(&place.seq);
                held.received.insert(place.seq);
            }),
            PersistOp::Inbound { session, id } => {
                self.with(*session, |held| {
                    held.inbound.insert(id.get());
                });
            }
            PersistOp::Released { session, id } => {
                self.with(*session, |held| {
                    held.inbound.remove(&id.get());
                });
            }
            PersistOp::Retain(message) => {
                let topic = message.topic().to_owned();
                if message.payload().is_empty() {
                    self.retained.remove(&topic);
                } else {
                    self.retained.insert(topic, (**message).clone());
                }
            }
        }
    }

    fn done(&mut self, place: Place) {
        self.with(place.session, |held| {
            held.owed.remove(&place.seq);
            held.received.remove(&place.seq);
        });
    }

    fn with(&mut self, session: SessionId, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.sessions.get_mut(&session.0) {
            change(held);
        }
    }
}

impl Held {
    pub(super) fn new(stored: StoredSession) -> Self {
        let (subscriptions, inbound, received, owed) = Default::default();
        Self { stored, subscriptions, inbound, received, owed }
    }

    /// What the messages that it is owed count towards its bound.
    pub(super) fn bytes(&self) -> u64 {
        self.owed.values().map(|(_, message)| message.size() as u64 + ENTRY_BYTES).sum()
    }
}
