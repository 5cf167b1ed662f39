//! What other cores say.

use super::groups::Part;
use super::publish::Publication;
use super::{Effects, Engine, PeerMessage};
use crate::topic::TopicFilter;
use crate::types::{Now, ShardId};
use std::sync::Arc;

impl Engine {
    /// Handles one message of another core.
    pub fn peer(&mut self, now: Now, from: ShardId, message: PeerMessage, fx: &mut impl Effects) {
        match message {
            PeerMessage::Publish(message) => {
                if message.delivery.retain {
                    self.interest.came_live();
                }
                self.fan_out(now, &Publication::of(&Arc::new(message)), false, fx);
                self.evict(now, fx);
            }
            PeerMessage::InterestAdd { filter, number } => {
                let filter = TopicFilter::trusted(&filter);
                if self.trie.add_peer(filter, from) {
                    self.cache.on_change(filter);
                }
                self.interest.learned(from, number);
            }
            PeerMessage::InterestRemove { filter } => {
                let filter = TopicFilter::trusted(&filter);
                if self.trie.remove_peer(filter, from) {
                    self.cache.on_change(filter);
                }
            }
            PeerMessage::ShareMembers { filter, group, online, members, number } => {
                self.share_learned(&filter, Part { shard: from, key: group, online, members });
                self.interest.learned(from, number);
            }
            PeerMessage::Share(share) => self.shared_from_peer(now, share, fx),
            PeerMessage::InterestAck { number } => {
                self.interest.applied(from, number);
                self.groups.sweep(&self.interest);
                self.release_subacks(now, fx);
            }
            PeerMessage::RetainedSet(message) => {
                let kept = self.keep_retained(&Arc::new(message));
                let number = self.retention.stored_for(from);
                if !kept {
                    fx.peer(from, PeerMessage::RetainedRefused { number });
                }
            }
            PeerMessage::RetainedRefused { number } => self.retained_refused(from, number),
            PeerMessage::RetainedAck { number } => self.retained_stored(from, number, fx),
            PeerMessage::RetainedFetch(fetch) => self.retained_fetch(from, fetch, fx),
            PeerMessage::RetainedChunk { session, replay, messages, resume } => {
                self.retained_chunk(now, session, replay, messages, resume, fx);
            }
        }
    }
}
