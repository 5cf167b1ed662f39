//! What need not be written: a message that a session was owed and is not any more, both within one group.
//!
//! A core leaves out by itself what it has not handed over yet; this is for what several cores, or several batches of one,
//! have asked for since the last commit.

use crate::engine::{Batch, PersistOp, Place};
use crate::types::{HashSeed, Map, SessionId, ShardId};

/// Finds such pairs; its memory is used again.
#[derive(Debug)]
pub(super) struct Elision {
    /// By place: the batch, the recipient in it, and the request.
    owed: Map<(SessionId, u64), [usize; 3]>,
}

impl Elision {
    pub(super) fn new(seed: HashSeed) -> Self {
        Self { owed: seed.map() }
    }

    /// Takes recipients out of messages that they are not owed any more, together with the requests that say so.
    pub(super) fn run(&mut self, batches: &mut [(ShardId, Batch)]) {
        let all = |test: fn(&PersistOp) -> bool| batches.iter().flat_map(|(_, batch)| &batch.ops).any(test);
        let both =
            all(|op| matches!(op, PersistOp::Done(_))) && all(|op| matches!(op, PersistOp::Message { .. }));
        if !both {
            return;
        }
        self.owed.clear();
        for at in 0..batches.len() {
            for request in 0..batches[at].1.ops.len() {
                let Batch { ops, to: all, .. } = &batches[at].1;
                let done = match &ops[request] {
                    PersistOp::Message { to, .. } => {
                        let range = to.start as usize..to.end as usize;
                        for (recipient, to) in range.clone().zip(&all[range]) {
                            if let Some(session) = to.session {
                                self.owed.insert((session, to.seq), [at, recipient, request]);
                            }
                        }
                        continue;
                    }
                    // Its packet id is used, which is to be written.
                    PersistOp::Received(place) => {
                        self.owed.remove(&(place.session, place.seq));
                        continue;
                    }
                    &PersistOp::Done(place) => place,
                    _ => continue,
                };
                if self.take_out(done, batches) {
                    batches[at].1.ops[request] = PersistOp::Nothing;
                }
            }
        }
    }

    /// False when the message is not in this group.
    fn take_out(&mut self, Place { session, seq, .. }: Place, batches: &mut [(ShardId, Batch)]) -> bool {
        let Some([at, recipient, request]) = self.owed.remove(&(session, seq)) else { return false };
        let Batch { ops, to, .. } = &mut batches[at].1;
        to[recipient].session = None;
        if let PersistOp::Message { left, .. } = &mut ops[request] {
            *left = left.saturating_sub(1);
        }
        true
    }
}
