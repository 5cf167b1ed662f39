//! What one core says to another. Plain data, so that one day the other core can be on another host.
//!
//! Links are FIFO per ordered pair of cores. Three promises rest on that:
//! - a message published after its subscriber's SUBACK is delivered: SUBACK waits for [`PeerMessage::InterestAck`] of all;
//! - a retained message is never missed between "live" and "replayed": a core acknowledges interest only once every
//!   retained message that it sent out before is stored ([`PeerMessage::RetainedAck`]);
//! - a forwarded message is delivered locally and never forwarded again.

use crate::types::{Message, SessionKey};

/// One message between cores.
#[derive(Clone, Debug)]
pub enum PeerMessage {
    /// Deliver to local subscribers.
    Publish(Message),
    /// The sender has a subscriber for this filter from now on.
    InterestAdd {
        /// The filter, without a `$share` prefix.
        filter: Box<str>,
        /// Counts the sender's announcements, from 1.
        number: u64,
    },
    /// The sender has no subscriber for this filter any more.
    InterestRemove {
        /// The filter, without a `$share` prefix.
        filter: Box<str>,
    },
    /// All announcements up to this number are applied.
    InterestAck {
        /// The receiver's own count.
        number: u64,
    },
    /// Retain this message, or forget the topic's where the payload is empty: the receiver keeps this topic.
    RetainedSet(Message),
    /// So many [`PeerMessage::RetainedSet`] are stored.
    RetainedAck {
        /// How many since the start.
        number: u64,
    },
    /// Send the next retained messages that match.
    RetainedFetch(RetainedFetch),
    /// What was asked for.
    RetainedChunk {
        /// Whom for.
        session: SessionKey,
        /// Which replay of the sender.
        replay: u64,
        /// Matching messages in the index' order, [`crate::types::limits::REPLAY_CHUNK`] at most.
        messages: Vec<Message>,
        /// The topic to go on after; `None` when that was all.
        resume: Option<Box<str>>,
    },
}

/// A request for retained messages.
#[derive(Clone, Debug)]
pub struct RetainedFetch {
    /// Whom for: returned with the answer.
    pub session: SessionKey,
    /// Which replay of the sender: returned with the answer.
    pub replay: u64,
    /// The filter, without a `$share` prefix.
    pub filter: Box<str>,
    /// The topic to go on after.
    pub after: Option<Box<str>>,
}
