//! What other cores say.

use super::durable::Asking;
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
            PeerMessage::Publish { message, joint, publisher } => {
                if message.delivery.retain {
                    self.interest.came_live();
                }
                let alone = self.asks_alone(message.delivery.qos);
                let asking = joint.map_or(alone, |number| Asking::Elsewhere(from, number));
                let mut publication = Publication::of_peer(&message);
                publication.remote = publisher.map(|conn| (from, conn));
                self.durable.arrives(asking);
                self.fan_out(now, &publication, Some(asking), fx);
                if joint.is_some() {
                    self.durable.asked(asking, || Arc::clone(publication.message()), None, None, fx);
                }
                self.evict(now, fx);
            }
            PeerMessage::Hold { publisher } => self.hold(from, publisher, fx),
            PeerMessage::Room => self.let_go_on(now, from, fx),
            PeerMessage::Part { number, to, tell } => self.durable.part(from, number, to, tell),
            PeerMessage::Kept { number } => {
                self.durable.told(from, number);
                self.tend_parked(now, fx);
            }
            PeerMessage::Taken { number, place } => self.durable.taken(number, place),
            PeerMessage::InterestAdd { filter, number, lasting } => {
                let filter = TopicFilter::trusted(&filter);
                if self.trie.add_peer(filter, if lasting { from.lasting() } else { from }) {
                    self.cache.on_change(filter);
                }
                self.interest.learned(from, number);
            }
            PeerMessage::InterestRemove { filter, lasting } => {
                let filter = TopicFilter::trusted(&filter);
                if self.trie.remove_peer(filter, if lasting { from.lasting() } else { from }) {
                    self.cache.on_change(filter);
                }
            }
            PeerMessage::ShareMembers { filter, group, online, members, lasting, number } => {
                self.share_learned(&filter, Part { shard: from, key: group, online, members, lasting });
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
                let number = self.retention.stored_for(from, kept.unwrap_or(0));
                if kept.is_none() {
                    fx.peer(from, PeerMessage::RetainedRefused { number });
                }
            }
            PeerMessage::RetainedRefused { number } => self.retained_refused(from, number),
            PeerMessage::RetainedAck { number, durable } => self.retained_stored(from, number, durable, fx),
            PeerMessage::RetainedFetch(fetch) => self.retained_fetch(from, fetch, fx),
            PeerMessage::RetainedChunk { session, replay, messages, resume } => {
                self.retained_chunk(now, session, replay, messages, resume, fx);
            }
        }
    }
}
