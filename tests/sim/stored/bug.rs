//! Seeded bugs in how the store is driven: the oracle has to find each of them.

use super::keeper::without;
use pantala::engine::Restored;

/// A bug in the store's threads, as if the broker had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A core is told that a batch is durable before it is committed.
    SaidTooEarly,
    /// A batch is committed with the one after it; a crash loses the last one.
    KeptTooLate,
    /// A core is not told that some batches are durable.
    AnswerLost,
    /// Groups are written, and not synced.
    SyncForgotten,
    /// At the start, the settled state does not know how far in the journal it is.
    PositionForgotten,
    /// A checkpoint counts as done and was not.
    NothingSettled,
    /// An answer leaves out the first of its messages.
    AnswerCut,
    /// At a start with fewer cores, one of them gets nothing back.
    CoreForgotten,
    /// Packet ids of QoS 2 messages that came are not given back.
    InboundForgotten,
    /// Packet ids of QoS 2 messages that went out are not given back.
    ReceivedForgotten,
    /// Subscriptions are not given back.
    SubscriptionsForgotten,
    /// Wills are not given back.
    WillsForgotten,
    /// How long sessions last is not given back.
    ExpiryForgotten,
}

impl Bug {
    pub(crate) const ALL: [Self; 13] = [
        Self::SaidTooEarly,
        Self::KeptTooLate,
        Self::AnswerLost,
        Self::SyncForgotten,
        Self::PositionForgotten,
        Self::NothingSettled,
        Self::AnswerCut,
        Self::CoreForgotten,
        Self::InboundForgotten,
        Self::ReceivedForgotten,
        Self::SubscriptionsForgotten,
        Self::WillsForgotten,
        Self::ExpiryForgotten,
    ];

    /// Whether it shows itself when the power is cut, and not before.
    pub(super) fn needs_cuts(self) -> bool {
        self == Self::SyncForgotten
    }

    /// What a store with this bug gives back.
    pub(super) fn misread(bug: Option<Self>, restored: &Restored) -> Option<Restored> {
        let Restored::Session(session) = restored else { return Some(restored.clone()) };
        Some(match bug {
            Some(Self::InboundForgotten) => without(session, |session| session.inbound.clear()),
            Some(Self::ReceivedForgotten) => without(session, |session| session.received.clear()),
            Some(Self::SubscriptionsForgotten) => without(session, |session| session.subscriptions.clear()),
            Some(Self::WillsForgotten) => without(session, |session| session.stored.will = None),
            Some(Self::ExpiryForgotten) => without(session, |session| session.stored.expiry = None),
            _ => restored.clone(),
        })
    }
}
