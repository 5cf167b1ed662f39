//! What one core says to another. Plain data, so that one day the other core can be on another host.
//!
//! Links are FIFO per ordered pair of cores. Four promises rest on that:
//! - a message published after its subscriber's SUBACK is delivered: SUBACK waits for [`PeerMessage::InterestAck`] of all;
//! - a retained message is never missed between "live" and "replayed": a core acknowledges interest only once every
//!   retained message that it sent out before is stored ([`PeerMessage::RetainedAck`]), and a core that got one live
//!   announces its interest anew for the next subscriber;
//! - nor is one replayed before older messages of its publisher that are on their way live: a core that was sent retained
//!   messages announces its interest once more, and replays those that have not come live once all have answered;
//! - a forwarded message is delivered locally and never forwarded again.

use super::persist::{Place, Recipient};
use crate::types::{ConnKey, GroupKey, Message, SessionKey, ShardId};

/// One message between cores.
#[derive(Clone, Debug)]
pub enum PeerMessage {
    /// Deliver to local subscribers.
    Publish {
        /// The message.
        message: Message,
        /// Tell the sender who of them needs it kept in the store: it asks for all cores together, under this number.
        joint: Option<u64>,
        /// Who published it, where publishers to full queues are held back.
        publisher: Option<ConnKey>,
    },
    /// A queue on the sender's core is full: nothing more is to be read of this connection of the receiver's.
    Hold {
        /// The connection.
        publisher: ConnKey,
    },
    /// There is room again: the sender holds nobody back.
    Room,
    /// Who on the sender's core needs a message kept that the receiver asks the store for.
    Part {
        /// The receiver's number.
        number: u64,
        /// Who.
        to: Vec<Recipient>,
        /// The sender waits to be told when it is durable.
        tell: bool,
    },
    /// A message in which the receiver has a part is durable.
    Kept {
        /// The sender's number.
        number: u64,
    },
    /// A session on the sender's core does not need a message any more that the receiver asks, or asked, the store for.
    Taken {
        /// The receiver's number.
        number: u64,
        /// Whose, and which.
        place: Place,
    },
    /// The sender has a subscriber for this filter from now on, or has another one.
    InterestAdd {
        /// The filter, without a `$share` prefix.
        filter: Box<str>,
        /// Counts the sender's announcements, from 1.
        number: u64,
        /// It is about subscribers that need what they get kept in the store, and not about all.
        lasting: bool,
    },
    /// The sender has no subscriber for this filter any more.
    InterestRemove {
        /// The filter, without a `$share` prefix.
        filter: Box<str>,
        /// It is about subscribers that need what they get kept in the store, and not about all.
        lasting: bool,
    },
    /// The sender has so many members in the group of a shared subscription from now on.
    ShareMembers {
        /// The filter, with `$share/` and the group's name.
        filter: Box<str>,
        /// The group as the sender knows it.
        group: GroupKey,
        /// Members that are connected.
        online: u32,
        /// Members in all; 0: it has none any more, and gets nothing for the group after the acknowledgement.
        members: u32,
        /// Whether one of them needs what it gets kept in the store.
        lasting: bool,
        /// Counts the sender's announcements, as with filters.
        number: u64,
    },
    /// Deliver to one member of a group.
    Share(Share),
    /// All announcements up to this number are applied.
    InterestAck {
        /// The receiver's own count.
        number: u64,
    },
    /// Retain this message, or forget the topic's where the payload is empty: the receiver keeps this topic.
    RetainedSet(Message),
    /// There was no room for the [`PeerMessage::RetainedSet`] of this number. Comes before the acknowledgement that counts it.
    RetainedRefused {
        /// Counts the receiver's own since the start.
        number: u64,
    },
    /// So many [`PeerMessage::RetainedSet`] have been done.
    RetainedAck {
        /// How many since the start.
        number: u64,
        /// How many of them are durable.
        durable: u64,
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

/// A message for one member of a group, on its way from core to core until one takes it.
#[derive(Clone, Debug)]
pub struct Share {
    /// The group as the receiver knows it.
    pub group: GroupKey,
    /// What to deliver.
    pub message: Message,
    /// The core at which the round over all cores began.
    pub first: ShardId,
    /// Whether members that are not connected are meant too: the second round, after no connected one had room.
    pub away: bool,
    /// Which of the connected members to begin with, if the publisher decides that.
    pub pick: Option<u32>,
    /// The core that is to be told whether the one who gets it needs it kept in the store, and its number of that.
    pub joint: Option<(ShardId, u64)>,
    /// Who published it, on that core, where publishers to full queues are held back.
    pub publisher: Option<(ShardId, ConnKey)>,
}
