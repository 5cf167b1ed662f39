//! What goes wrong outside the broker, and bugs that are seeded to see that the oracle finds them.

use super::dice::index;
use super::shard::Item;
use pantala::engine::PeerMessage;
use pantala::types::{Rng, ShardId, Span, TICK};

/// The longest jump of the clock.
const A_MONTH: Span = Span::from_secs(30 * 86_400);

/// A bug in the world, as if the broker had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A link delivers a batch twice.
    BatchTwice,
    /// A link lets a batch overtake the one before.
    BatchOvertakes,
    /// A link loses a batch.
    BatchLost,
    /// A core forwards what was forwarded to it.
    ForwardsAgain,
    /// A core acknowledges interest before it applies it: the SUBACK leaves too early.
    EarlySubAck,
    /// A core never hears that another one's interest ended.
    InterestStays,
    /// The session does not see a PUBACK.
    PubAckLost,
    /// An output takes a message and forgets it.
    OutputForgets,
    /// A full output that has drained does not say so.
    DrainedUnheard,
    /// The clock of a core stands still: no timer fires.
    NoTick,
    /// What comes from another core expires as if it had been published when it came.
    ExpiryBeginsAnew,
    /// A Message Expiry Interval is not seen.
    ExpiryIgnored,
    /// A client's Receive Maximum is not seen.
    WindowIgnored,
    /// A client that sends more than the broker takes goes on.
    OverrunForgiven,
    /// A will is published without its delay.
    WillAtOnce,
    /// The Session Expiry Interval of a DISCONNECT is not seen.
    GoodbyeHalfHeard,
    /// All of a client's aliases are taken for the first one.
    AliasConfused,
    /// A client is sent an alias without what it stands for.
    AliasUnexplained,
    /// A message for a member comes to its core twice.
    ShareTwice,
    /// A message for a member is lost on its way to its core.
    ShareLost,
    /// A core never hears how many members another one has.
    MembersUnheard,
    /// `$share/` and a group's name are not seen.
    ShareIgnored,
    /// An UNSUBSCRIBE is not understood.
    LeaverStays,
    /// What a member leaves behind stays where it was.
    HeirsForgotten,
}

impl Mutant {
    /// Those that show themselves where subscriptions are shared.
    pub(crate) const SHARED: [Self; 6] = [
        Self::ShareTwice,
        Self::ShareLost,
        Self::MembersUnheard,
        Self::ShareIgnored,
        Self::LeaverStays,
        Self::HeirsForgotten,
    ];

    pub(crate) const ALL: [Self; 18] = [
        Self::BatchTwice,
        Self::BatchOvertakes,
        Self::BatchLost,
        Self::ForwardsAgain,
        Self::EarlySubAck,
        Self::InterestStays,
        Self::PubAckLost,
        Self::OutputForgets,
        Self::DrainedUnheard,
        Self::NoTick,
        Self::ExpiryBeginsAnew,
        Self::ExpiryIgnored,
        Self::WindowIgnored,
        Self::OverrunForgiven,
        Self::WillAtOnce,
        Self::GoodbyeHalfHeard,
        Self::AliasConfused,
        Self::AliasUnexplained,
    ];
}

/// What a link's flush puts on the way.
pub(crate) enum Flushed {
    Batch(Vec<Item>),
    /// The batch before, once more, behind it.
    Twice(Vec<Item>, Vec<Item>),
    /// Before the batch that was flushed last.
    Overtaking(Vec<Item>),
}

/// The faults of a run.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) mutant: Option<Mutant>,
    rate: u64,
    /// By core: the step until which it does nothing.
    stalled: Vec<u64>,
    /// By pair of cores: the step until which the link delivers nothing.
    slow: Vec<u64>,
    shards: usize,
}

impl Faults {
    pub(crate) fn new(shards: usize, mutant: Option<Mutant>, rng: &mut Rng) -> Self {
        let rate = *rng.pick(&[0, 1, 4]);
        Self { mutant, rate, stalled: vec![0; shards], slow: vec![0; shards * shards], shards }
    }

    /// Whether a core or a link gets stuck for a while now. Returns by how much time jumps.
    pub(crate) fn step(&mut self, step: u64, rng: &mut Rng) -> Span {
        if rng.chance(self.rate, 200) {
            let shard = index(rng, self.shards);
            self.stalled[shard] = step + rng.below(80);
        }
        if rng.chance(self.rate, 60) {
            let link = index(rng, self.slow.len());
            self.slow[link] = step + rng.below(150);
        }
        match rng.chance(self.rate, 300) {
            // A machine that slept for a month.
            true if rng.chance(1, 12) => Span(TICK.0 * rng.below(A_MONTH.0 / TICK.0)),
            true => Span(TICK.0 * rng.below(200)),
            false => Span(0),
        }
    }

    /// From now on all goes well.
    pub(crate) fn end(&mut self) {
        self.rate = 0;
        self.stalled.fill(0);
        self.slow.fill(0);
    }

    pub(crate) fn is_stalled(&self, shard: usize, step: u64) -> bool {
        self.stalled[shard] > step
    }

    pub(crate) fn is_slow(&self, from: usize, to: usize, step: u64) -> bool {
        self.slow[from * self.shards + to] > step
    }

    /// Whether a seeded bug shows itself this time.
    pub(crate) fn strikes(&self, mutant: Mutant, one_in: u64, rng: &mut Rng) -> bool {
        self.mutant == Some(mutant) && rng.chance(1, one_in)
    }

    /// What becomes of a batch for a link.
    pub(crate) fn flushed(&self, mut batch: Vec<Item>, rng: &mut Rng) -> Flushed {
        if self.mutant == Some(Mutant::InterestStays) {
            batch.retain(|item| !matches!(item, Item::Engine(PeerMessage::InterestRemove { .. })));
        }
        let plain = batch.iter().all(|item| matches!(item, Item::Engine(_)));
        if plain && self.strikes(Mutant::BatchTwice, 30, rng) {
            let again = batch.iter().filter_map(Item::duplicate).collect();
            return Flushed::Twice(batch, again);
        }
        if plain && self.strikes(Mutant::BatchOvertakes, 8, rng) {
            return Flushed::Overtaking(batch);
        }
        if plain && self.strikes(Mutant::BatchLost, 30, rng) {
            batch.clear();
        }
        Flushed::Batch(batch)
    }

    /// What becomes of messages about groups that are about to go to another core.
    pub(crate) fn share(&self, batch: &mut Vec<Item>, rng: &mut Rng) {
        let shared = |item: &Item| matches!(item, Item::Engine(PeerMessage::Share(_)));
        match self.mutant {
            Some(Mutant::ShareTwice) => {
                let again: Vec<_> =
                    batch.iter().filter(|item| shared(item)).filter_map(Item::duplicate).collect();
                batch.extend(again);
            }
            Some(Mutant::ShareLost) => batch.retain(|item| !shared(item) || !rng.chance(1, 5)),
            Some(Mutant::MembersUnheard) => {
                batch.retain(|item| !matches!(item, Item::Engine(PeerMessage::ShareMembers { .. })));
            }
            _ => {}
        }
    }

    /// A core that hears a message may, wrongly, pass it on to this one.
    pub(crate) fn passes_on(&self, at: usize, message: &PeerMessage, rng: &mut Rng) -> Option<ShardId> {
        let forwarded = matches!(message, PeerMessage::Publish { .. });
        if !forwarded || self.shards < 3 || !self.strikes(Mutant::ForwardsAgain, 4, rng) {
            return None;
        }
        let to = index(rng, self.shards);
        (to != at).then(|| ShardId(u16::try_from(to).expect("few shards")))
    }
}

impl Item {
    fn duplicate(&self) -> Option<Self> {
        match self {
            Self::Engine(message) => Some(Self::Engine(message.clone())),
            _ => None,
        }
    }
}
