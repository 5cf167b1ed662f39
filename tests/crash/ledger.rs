//! What was acknowledged to whom, and what has arrived where: the oracle.
//!
//! A message is owed to a persistent subscriber when a subscription of it matched that was acknowledged before the
//! message was first sent, until the subscriber begins to unsubscribe. Once the publisher has its acknowledgement, the debt
//! has to be paid, whatever happens to the broker.

mod arrivals;
mod crew;
mod expiry;
mod kept;

pub(crate) use crew::JOB;

use crew::Crew;
use expiry::Expiry;
use kept::Kept;
use pantala::types::QoS;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Violations that are told in full.
const TOLD: usize = 10;

/// In place of how often a message was sent: a will may be published more than once, for nobody acknowledges it.
const WILL: u32 = u32::MAX;

/// One thing that happened to a message, and in which life of the broker.
#[derive(Clone, Copy, Debug)]
enum Event {
    Sent,
    SentAgain,
    /// As a will.
    Announced,
    /// Whose will it is.
    Vanished,
    Acknowledged,
    Refused,
    Delivered {
        to: usize,
        qos: QoS,
        dup: bool,
    },
    Excused {
        to: usize,
    },
}

#[derive(Debug)]
struct Message {
    topic: String,
    qos: QoS,
    len: usize,
    /// Times that it was sent, and by that may rightly be delivered as if for the first time.
    sent: u32,
    sent_at: u64,
    acknowledged_at: Option<u64>,
    expiry: Option<Expiry>,
    history: Vec<(u32, Event)>,
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
    times: u32,
    exactly_once: bool,
    /// Without DUP in this life of the broker.
    life: u32,
    plain: u32,
}

/// What one subscriber is owed and has got.
#[derive(Debug)]
struct Account {
    name: String,
    stints: Vec<Stint>,
    owed: BTreeMap<usize, Debt>,
    got: BTreeMap<usize, Got>,
    /// The newest message so far of each topic and QoS.
    newest: BTreeMap<(String, u8), usize>,
}

/// What a run amounts to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) kills: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) delivered: u64,
    /// QoS 1 messages that came again, which they may.
    pub(crate) duplicates: u64,
    pub(crate) wills: u64,
    /// Messages that were owed when their time ran out.
    pub(crate) expired: u64,
    /// Audits of all retained messages.
    pub(crate) audits: u64,
    /// Acknowledged messages, retained messages and sessions that are gone.
    pub(crate) losses: u64,
    /// Everything else that must not be.
    pub(crate) violations: u64,
}

/// The books of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    clock: u64,
    /// Which life of the broker this is.
    pub(crate) life: u32,
    messages: Vec<Message>,
    accounts: Vec<Account>,
    crew: Crew,
    kept: BTreeMap<String, Kept>,
    pub(crate) counts: Counts,
    told: Vec<String>,
}

impl Ledger {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(crate) fn open_account(&mut self, name: &str) -> usize {
        self.accounts.push(Account {
            name: name.to_owned(),
            stints: Vec::new(),
            owed: BTreeMap::new(),
            got: BTreeMap::new(),
            newest: BTreeMap::new(),
        });
        self.accounts.len() - 1
    }

    /// Whether everything is as it should be.
    pub(crate) fn is_clean(&self) -> bool {
        self.counts.losses == 0 && self.counts.violations == 0
    }

    /// The first things that are wrong.
    pub(crate) fn told(&self) -> String {
        self.told.join("\n")
    }

    fn tell(&mut self, text: String) {
        if self.told.len() < TOLD {
            self.told.push(text);
        }
    }

    /// Something is wrong that no message is to blame for.
    pub(crate) fn violation(&mut self, text: &str) {
        self.counts.violations += 1;
        self.tell(format!("life {}: {text}", self.life));
    }

    fn wrong(&mut self, index: usize, who: usize, text: &str) {
        self.counts.violations += 1;
        let story = self.story(index);
        self.tell(format!("life {}: {}: {text}\n{story}", self.life, self.accounts[who].name));
    }

    /// A message's history.
    fn story(&self, index: usize) -> String {
        let message = &self.messages[index];
        let mut text = format!("  message {index}, QoS {} on {:?}:", message.qos as u8, message.topic);
        for (life, event) in &message.history {
            let name = |who: &usize| &self.accounts[*who].name;
            let _ = match event {
                Event::Delivered { to, qos, dup } => {
                    let dup = if *dup { ", DUP" } else { "" };
                    write!(text, "\n    life {life}: delivered to {} (QoS {}{dup})", name(to), *qos as u8)
                }
                Event::Excused { to } => write!(text, "\n    life {life}: {} unsubscribes", name(to)),
                other => write!(text, "\n    life {life}: {other:?}"),
            };
        }
        text
    }

    fn note(&mut self, index: usize, event: Event) {
        self.messages[index].history.push((self.life, event));
    }

    /// A message is sent for the first time, with so many bytes of payload, to expire in so many seconds. Its number is what
    /// it is told by.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        qos: QoS,
        retain: bool,
        len: usize,
        expires: Option<u32>,
    ) -> usize {
        let (index, sent_at) = (self.messages.len(), self.tick());
        let (topic, expiry, history) = (topic.to_owned(), expires.map(Expiry::begin), Vec::new());
        self.crew.owe(index, &topic);
        let message = Message { topic, qos, len, sent: 1, sent_at, acknowledged_at: None, expiry, history };
        self.messages.push(message);
        self.note(index, Event::Sent);
        if retain {
            self.kept.entry(self.messages[index].topic.clone()).or_default().sent(index, len == 0);
        }
        // What clears a retained message has no payload to be told by.
        if len > 0 {
            self.owe(index);
        }
        index
    }

    /// From now on it is owed to everybody who is subscribed.
    fn owe(&mut self, index: usize) {
        let message = &self.messages[index];
        for account in &mut self.accounts {
            let due = account.stints.iter().enumerate();
            let due = due.filter(|(_, stint)| stint.holds && matches(&stint.filter, &message.topic));
            let (mut stints, mut most) = (Vec::new(), QoS::AtMostOnce);
            for (number, stint) in due {
                stints.push(number);
                most = most.max(stint.qos);
            }
            if !stints.is_empty() {
                account.owed.insert(index, Debt { stints, qos: most.min(message.qos) });
            }
        }
    }

    /// A client announces a will, which may be published from now on.
    pub(crate) fn announces(&mut self, topic: &str, len: usize) -> usize {
        let (index, sent_at) = (self.messages.len(), self.tick());
        let (topic, qos, sent) = (topic.to_owned(), QoS::AtLeastOnce, WILL);
        self.messages.push(Message {
            topic,
            qos,
            len,
            sent,
            sent_at,
            acknowledged_at: None,
            expiry: None,
            history: Vec::new(),
        });
        self.note(index, Event::Announced);
        index
    }

    /// It vanishes: its will has to be published when its delay has passed.
    pub(crate) fn vanishes(&mut self, index: usize) {
        self.counts.wills += 1;
        self.messages[index].acknowledged_at = Some(self.tick());
        self.note(index, Event::Vanished);
        self.owe(index);
    }

    /// Whether wills that have to be published have not arrived.
    pub(crate) fn awaits_wills(&self) -> bool {
        let mut owed = self.accounts.iter().flat_map(|account| account.owed.keys());
        owed.any(|index| self.messages[*index].sent == WILL)
    }

    pub(crate) fn sent_again(&mut self, index: usize) {
        self.messages[index].sent += 1;
        self.note(index, Event::SentAgain);
    }

    pub(crate) fn acknowledged(&mut self, index: usize) {
        self.counts.acknowledged += 1;
        self.messages[index].acknowledged_at = Some(self.tick());
        self.messages[index].expiry.iter_mut().for_each(Expiry::acknowledged);
        self.note(index, Event::Acknowledged);
        if let Some(kept) = self.kept.get_mut(&self.messages[index].topic) {
            kept.acknowledged(index);
        }
    }

    /// The broker says that it does not take it: nobody is owed it.
    pub(crate) fn refused(&mut self, index: usize) {
        self.counts.refused += 1;
        self.note(index, Event::Refused);
        self.crew.forgive(index);
        for account in &mut self.accounts {
            account.owed.remove(&index);
        }
    }

    /// SUBSCRIBE is sent.
    pub(crate) fn subscribing(&mut self, who: usize, filter: &str, qos: QoS) -> usize {
        let from = self.tick();
        let stints = &mut self.accounts[who].stints;
        stints.push(Stint { filter: filter.to_owned(), qos, from, holds: false, until: None });
        stints.len() - 1
    }

    /// SUBACK came.
    pub(crate) fn subscribed(&mut self, who: usize, stint: usize) {
        self.accounts[who].stints[stint].holds = true;
    }

    /// UNSUBSCRIBE is sent: what waits need not come any more, or only with the QoS of other subscriptions.
    pub(crate) fn unsubscribing(&mut self, who: usize, stint: usize) {
        let Self { accounts, messages, .. } = self;
        let Account { stints, owed, .. } = &mut accounts[who];
        stints[stint].holds = false;
        let mut excused = Vec::new();
        owed.retain(|index, debt| {
            debt.stints.retain(|reason| *reason != stint);
            match debt.stints.iter().map(|reason| stints[*reason].qos).max() {
                Some(most) => debt.qos = most.min(messages[*index].qos),
                None => excused.push(*index),
            }
            !debt.stints.is_empty()
        });
        excused.into_iter().for_each(|index| self.note(index, Event::Excused { to: who }));
    }

    /// UNSUBACK came.
    pub(crate) fn unsubscribed(&mut self, who: usize, stint: usize) {
        self.accounts[who].stints[stint].until = Some(self.clock);
    }

    /// The subscriber asks for a new session.
    pub(crate) fn starts_clean(&mut self, who: usize) {
        for stint in 0..self.accounts[who].stints.len() {
            if self.accounts[who].stints[stint].holds {
                self.unsubscribing(who, stint);
            }
        }
    }

    /// It has a new session, and nothing of the old one comes any more.
    pub(crate) fn started_clean(&mut self, who: usize) {
        let now = self.clock;
        let open = self.accounts[who].stints.iter_mut().filter(|stint| stint.until.is_none());
        open.for_each(|stint| stint.until = Some(now));
    }

    /// A session is gone that was there, and all that waited in it.
    pub(crate) fn session_lost(&mut self, name: &str, who: Option<usize>) {
        self.counts.losses += 1;
        self.tell(format!("life {}: the session of {name} is gone", self.life));
        if let Some(who) = who {
            self.lose(who);
            self.starts_clean(who);
            self.started_clean(who);
        }
    }

    /// Whether a message has arrived.
    pub(crate) fn has(&self, who: usize, index: usize) -> bool {
        self.accounts[who].got.contains_key(&index)
    }

    /// Everybody has got all that there is: what is still owed is lost.
    pub(crate) fn settle(&mut self) {
        (0..self.accounts.len()).for_each(|who| self.lose(who));
        self.settle_crew();
        for message in self.messages.iter_mut().filter(|message| message.acknowledged_at.is_some()) {
            let last = message.history.pop();
            message.history = last.into_iter().collect();
        }
    }

    fn lose(&mut self, who: usize) {
        let owed = std::mem::take(&mut self.accounts[who].owed);
        let (lost, open): (BTreeMap<_, _>, BTreeMap<_, _>) =
            owed.into_iter().partition(|(index, _)| self.messages[*index].acknowledged_at.is_some());
        self.accounts[who].owed = open;
        let (lost, expired): (Vec<_>, Vec<_>) = lost.into_keys().partition(|index| self.is_due(*index));
        self.counts.expired += expired.len() as u64;
        for index in lost {
            self.counts.losses += 1;
            if self.told.len() < TOLD {
                let text = format!(
                    "lost: {} never got what was acknowledged\n{}",
                    self.accounts[who].name,
                    self.story(index)
                );
                self.tell(text);
            }
        }
    }

    /// Somebody who subscribes to all retained messages after a start gets these: a topic and a message's number each.
    pub(crate) fn audit(&mut self, found: &BTreeMap<String, Vec<u8>>) {
        self.counts.audits += 1;
        let mut wrong = Vec::new();
        let topics: BTreeSet<&String> = self.kept.keys().chain(found.keys()).collect();
        for topic in topics {
            let found = found.get(topic).map(|bytes| self.index_of(topic, bytes).unwrap_or(usize::MAX));
            let Some(kept) = self.kept.get(topic) else {
                wrong.push((topic.clone(), "nobody published it".to_owned(), None));
                continue;
            };
            if let Err(expected) = kept.allows(found) {
                let found = found.map_or_else(|| "nothing".to_owned(), |index| format!("message {index}"));
                wrong.push((
                    topic.clone(),
                    format!("{found} instead of {expected}"),
                    kept.last_acknowledged(),
                ));
            }
        }
        for (topic, text, index) in wrong {
            self.counts.losses += 1;
            let story = index.map(|index| self.story(index)).unwrap_or_default();
            self.tell(format!("life {}: retained on {topic:?}: {text}\n{story}", self.life));
        }
    }
}

impl Ledger {
    /// Which message this is, if it is one as it was sent.
    fn index_of(&self, topic: &str, bytes: &[u8]) -> Option<usize> {
        let index = number(bytes)?;
        let message = self.messages.get(index)?;
        (message.topic == topic && payload(index, message.len) == bytes).then_some(index)
    }
}

/// The payload that a message is told by.
pub(crate) fn payload(index: usize, len: usize) -> Vec<u8> {
    let mut bytes = format!("{index}:").into_bytes();
    if len == 0 {
        return Vec::new();
    }
    let filler = (bytes.len()..len).map(|at| (at.wrapping_mul(31) ^ index).to_le_bytes()[0]);
    bytes.extend(filler.collect::<Vec<u8>>());
    bytes
}

/// The number of the message that has this payload.
fn number(payload: &[u8]) -> Option<usize> {
    let end = payload.iter().position(|byte| *byte == b':')?;
    std::str::from_utf8(&payload[..end]).ok()?.parse().ok()
}

/// Whether a filter matches a topic, told level by level.
fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some(level), Some(word)) if level == "+" || level == word => {}
            _ => return false,
        }
    }
}
