//! What was acknowledged to whom and what has arrived where, as clients see it.
//!
//! A message is owed to a subscriber when a subscription of it matched whose SUBACK it had before the message was first sent,
//! until the subscriber begins to unsubscribe or its session ends. Once the publisher has its acknowledgement the debt has
//! to be paid, whatever happens to the broker.

mod arrivals;
#[path = "../../crash/ledger/kept.rs"]
mod kept;

use crate::oracle::{Verdict, ensure};
use crate::shadow::matches;
use kept::Kept;
use pantala::types::{Now, QoS, Span};
use std::collections::{BTreeMap, BTreeSet};

/// How a filter begins that members of the group share.
pub(super) const GROUP: &str = "$share/g/";
/// In place of how often a message was sent: a will may be published more than once, for nobody acknowledges it.
const WILL: u32 = u32::MAX;

/// Index of a message.
pub(super) type MessageId = usize;

/// What a client got.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) message: MessageId,
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) dup: bool,
}

#[derive(Debug)]
struct Message {
    topic: String,
    publisher: usize,
    qos: QoS,
    /// Times that it was sent, and by that may rightly be delivered as if for the first time.
    sent: u32,
    sent_at: u64,
    acknowledged_at: Option<u64>,
    expiry: Option<Span>,
    /// When the broker read it, first and last.
    taken: Option<(Now, Now)>,
    /// The life of the broker that read it first, and how many groups had been kept then.
    first: (u32, u64),
    /// The broker did not take it once.
    refused: bool,
}

/// A subscription from SUBSCRIBE to UNSUBACK.
#[derive(Debug)]
struct Stint {
    filter: String,
    qos: QoS,
    from: u64,
    /// SUBACK came, and no UNSUBSCRIBE was sent.
    holds: bool,
    /// When it could not bring anything new any more.
    until: Option<u64>,
}

#[derive(Debug)]
struct Debt {
    /// Subscriptions that each are a reason to deliver it.
    stints: Vec<usize>,
    /// At least this.
    qos: QoS,
}

/// How often a subscriber got a message.
#[derive(Debug, Default)]
struct Got {
    /// It came with QoS 2.
    exactly_once: bool,
    /// Without DUP in this life of the broker.
    life: u32,
    plain: u32,
}

/// What one subscriber is owed and has got.
#[derive(Debug, Default)]
struct Account {
    /// Its session outlives its connections.
    lasts: bool,
    stints: Vec<Stint>,
    owed: BTreeMap<MessageId, Debt>,
    got: BTreeMap<MessageId, Got>,
    /// The newest message so far of each topic, publisher and QoS.
    newest: BTreeMap<(String, usize, u8), MessageId>,
}

/// The books of a run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    clock: u64,
    /// Which life of the broker this is.
    pub(super) life: u32,
    messages: Vec<Message>,
    accounts: Vec<Account>,
    kept: BTreeMap<String, Kept>,
    /// Topics of which nobody can say what is retained.
    muddled: BTreeSet<String>,
    /// What nobody of the group has got.
    shared: BTreeSet<MessageId>,
    pub(super) arrivals: u64,
}

impl Ledger {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(super) fn open_account(&mut self, lasts: bool) -> usize {
        self.accounts.push(Account { lasts, ..Account::default() });
        self.accounts.len() - 1
    }

    /// A message is sent for the first time. An empty one clears what is retained, and is owed to nobody.
    pub(super) fn publish(
        &mut self,
        publisher: usize,
        topic: &str,
        qos: QoS,
        (retain, empty): (bool, bool),
        expiry: Option<Span>,
    ) -> MessageId {
        let (index, sent_at, topic) = (self.messages.len(), self.tick(), topic.to_owned());
        if retain {
            self.kept.entry(topic.clone()).or_default().sent(index, empty);
        }
        let (sent, acknowledged_at, taken, first, refused) = (1, None, None, (0, 0), false);
        self.messages.push(Message {
            topic,
            publisher,
            qos,
            sent,
            sent_at,
            acknowledged_at,
            expiry,
            taken,
            first,
            refused,
        });
        if !empty {
            self.owe(index);
        }
        index
    }

    /// From now on it is owed to everybody who is subscribed.
    fn owe(&mut self, index: MessageId) {
        let message = &self.messages[index];
        let mut shared = false;
        for account in &mut self.accounts {
            let (mut stints, mut most) = (Vec::new(), QoS::AtMostOnce);
            for (number, stint) in account.stints.iter().enumerate().filter(|(_, stint)| stint.holds) {
                match stint.filter.strip_prefix(GROUP) {
                    Some(plain) => shared |= matches(plain, &message.topic),
                    None if matches(&stint.filter, &message.topic) => {
                        stints.push(number);
                        most = most.max(stint.qos);
                    }
                    None => {}
                }
            }
            if !stints.is_empty() {
                account.owed.insert(index, Debt { stints, qos: most.min(message.qos) });
            }
        }
        if shared {
            self.shared.insert(index);
        }
    }

    /// A client announces a will, which may be published from now on.
    pub(super) fn announces(&mut self, publisher: usize, topic: &str) -> MessageId {
        let (sent_at, topic, qos) = (self.tick(), topic.to_owned(), QoS::AtLeastOnce);
        let (sent, acknowledged_at, expiry, taken) = (WILL, None, None, None);
        let (first, refused) = ((0, 0), false);
        self.messages.push(Message {
            topic,
            publisher,
            qos,
            sent,
            sent_at,
            acknowledged_at,
            expiry,
            taken,
            first,
            refused,
        });
        self.messages.len() - 1
    }

    /// Its client has vanished.
    pub(super) fn vanishes(&mut self, index: MessageId) {
        self.owe(index);
    }

    /// It has not come back in time: its will has to be published.
    pub(super) fn dies(&mut self, index: MessageId) {
        self.messages[index].acknowledged_at = Some(self.tick());
    }

    pub(super) fn sent_again(&mut self, index: MessageId) {
        let message = &mut self.messages[index];
        message.sent += 1;
        if message.refused && self.kept.contains_key(&message.topic) {
            // It may come behind later ones, or before them if those are not known any more.
            self.muddled.insert(message.topic.clone());
        }
    }

    /// The broker reads it, and so many groups were kept by now.
    pub(super) fn taken(&mut self, index: MessageId, now: Now, commits: u64) {
        if let Some(message) = self.messages.get_mut(index) {
            message.first = message.taken.map_or((self.life, commits), |_| message.first);
            message.taken = Some((message.taken.map_or(now, |(first, _)| first), now));
        }
    }

    pub(super) fn acknowledged(&mut self, index: MessageId) {
        self.messages[index].acknowledged_at = Some(self.tick());
        if let Some(kept) = self.kept.get_mut(&self.messages[index].topic) {
            kept.acknowledged(index);
        }
    }

    /// The broker does not take it this time.
    pub(super) fn turned_away(&mut self, index: MessageId) {
        self.messages[index].refused = true;
    }

    /// The broker says that it does not take it: nobody is owed it.
    pub(super) fn refused(&mut self, index: MessageId) {
        self.accounts.iter_mut().for_each(|account| drop(account.owed.remove(&index)));
        self.shared.remove(&index);
    }

    /// Who is owed a message that outlives the broker, and has not got it; when there are only so many groups, of which none
    /// can have it.
    pub(super) fn unkept(&self, index: MessageId, commits: u64) -> Vec<usize> {
        let message = &self.messages[index];
        if message.expiry.is_some() || message.first != (self.life, commits) {
            return Vec::new();
        }
        let owed = |account: &Account| account.lasts && account.owed.contains_key(&index);
        self.accounts.iter().enumerate().filter(|(_, account)| owed(account)).map(|(who, _)| who).collect()
    }

    /// SUBSCRIBE is sent.
    pub(super) fn subscribing(&mut self, who: usize, filter: &str, qos: QoS) -> usize {
        let from = self.tick();
        let stints = &mut self.accounts[who].stints;
        stints.push(Stint { filter: filter.to_owned(), qos, from, holds: false, until: None });
        stints.len() - 1
    }

    /// SUBACK came.
    pub(super) fn subscribed(&mut self, who: usize, stint: usize) {
        self.accounts[who].stints[stint].holds = true;
    }

    /// UNSUBSCRIBE is sent: what waits need not come any more, or only with the QoS of other subscriptions.
    pub(super) fn unsubscribing(&mut self, who: usize, stint: usize) {
        let Self { accounts, messages, .. } = self;
        let Account { stints, owed, .. } = &mut accounts[who];
        stints[stint].holds = false;
        let shared = stints[stint].filter.starts_with(GROUP);
        owed.retain(|index, debt| {
            debt.stints.retain(|reason| *reason != stint);
            let most = debt.stints.iter().map(|reason| stints[*reason].qos).max();
            debt.qos = most.map_or(QoS::AtMostOnce, |most| most.min(messages[*index].qos));
            most.is_some()
        });
        let mut all = self.accounts.iter().flat_map(|account| &account.stints);
        if shared && !all.any(|stint| stint.holds && stint.filter.starts_with(GROUP)) {
            self.shared.clear();
        }
    }

    /// The broker is gone, and is started again.
    pub(super) fn begins_again(&mut self) {
        self.life += 1;
    }

    /// UNSUBACK came.
    pub(super) fn unsubscribed(&mut self, who: usize, stint: usize) {
        self.accounts[who].stints[stint].until = Some(self.clock);
    }

    /// The subscriber asks for a new session, or its session may have ended.
    pub(super) fn starts_clean(&mut self, who: usize) {
        for stint in 0..self.accounts[who].stints.len() {
            self.unsubscribing(who, stint);
        }
    }

    /// It has a new session, and nothing of the old one comes any more.
    pub(super) fn started_clean(&mut self, who: usize) {
        let now = self.clock;
        let open = self.accounts[who].stints.iter_mut().filter(|stint| stint.until.is_none());
        open.for_each(|stint| stint.until = Some(now));
        // A message whose publisher has no acknowledgement when the broker ends comes once more, and this session has not had it.
        self.accounts[who].got.values_mut().for_each(|got| got.exactly_once = false);
    }

    /// Whether a message may become too old.
    pub(super) fn expires(&self, index: MessageId) -> bool {
        self.messages.get(index).is_some_and(|message| message.expiry.is_some())
    }

    /// Everybody has got all that there is: what is still owed and was acknowledged is lost.
    pub(super) fn settle(&mut self, now: Now) -> Verdict {
        let mut lost = Vec::new();
        for (who, account) in self.accounts.iter_mut().enumerate() {
            let owed = std::mem::take(&mut account.owed);
            lost.extend(owed.into_keys().map(|index| (format!("subscriber {who}"), index)));
        }
        lost.extend(
            std::mem::take(&mut self.shared).into_iter().map(|index| ("the group".to_owned(), index)),
        );
        lost.retain(|(_, index)| {
            let message = &self.messages[*index];
            let expired = message.expiry.zip(message.taken);
            message.acknowledged_at.is_some()
                && expired.is_none_or(|(expiry, (first, _))| now < first + expiry)
        });
        let told: Vec<_> =
            lost.iter().map(|(who, index)| format!("{who}, {index}: {:?}", self.messages[*index])).collect();
        ensure!(lost.is_empty(), "acknowledged and lost:\n{}", told.join("\n"));
        Ok(())
    }

    /// What is retained: the last that was acknowledged, or a later one.
    pub(super) fn audit(&self, found: &BTreeMap<String, MessageId>) -> Verdict {
        for topic in found.keys() {
            ensure!(self.kept.contains_key(topic), "retained on {topic:?} by nobody");
        }
        for (topic, kept) in self.kept.iter().filter(|(topic, _)| !self.muddled.contains(*topic)) {
            let found = found.get(topic).copied();
            kept.allows(found).map_err(|expected| {
                format!(
                    "retained on {topic:?}: {found:?} instead of {expected} ({:?})",
                    kept.last_acknowledged()
                )
            })?;
        }
        Ok(())
    }
}
