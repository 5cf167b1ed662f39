//! What was promised, and what came of it.

use pantala::types::QoS;
use std::collections::{BTreeMap, BTreeSet};

/// What a message is for. Each has topics of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    One,
    Two,
    /// Retained; clears its topic if it says so.
    Kept {
        clear: bool,
    },
}

impl Kind {
    pub(crate) fn qos(self) -> QoS {
        if self == Self::Two { QoS::ExactlyOnce } else { QoS::AtLeastOnce }
    }
}

/// A message that was sent at least once.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) topic: String,
    pub(crate) acknowledged: bool,
}

/// What one subscriber is to get, and got.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    takes: &'static [Kind],
    got: BTreeSet<u64>,
    /// Acknowledged to the publisher, and not here yet.
    owed: BTreeSet<u64>,
    /// The last one that came for the first time, by topic.
    last: BTreeMap<String, u64>,
}

/// Everything that all lives of the broker promised. Messages are known by their index.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) messages: Vec<Message>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) repeated: u64,
    pub(crate) losses: u64,
    pub(crate) life: u64,
    pub(crate) violations: Vec<String>,
}

impl Ledger {
    pub(crate) fn account(&mut self, name: &'static str, takes: &'static [Kind]) -> usize {
        self.accounts.push(Account {
            name,
            takes,
            got: BTreeSet::new(),
            owed: BTreeSet::new(),
            last: BTreeMap::new(),
        });
        self.accounts.len() - 1
    }

    pub(crate) fn violation(&mut self, what: &str) {
        self.violations.push(format!("life {}: {what}", self.life));
    }

    /// Something came to a subscriber.
    pub(crate) fn delivered(&mut self, account: usize, message: u64, topic: &str, qos: QoS) {
        let account = &mut self.accounts[account];
        let name = account.name;
        account.owed.remove(&message);
        let known = usize::try_from(message).ok().and_then(|index| self.messages.get(index));
        let problem = match known {
            None => Some(format!("{name} got {message}, which was never sent")),
            Some(known) if known.topic != topic || !account.takes.contains(&known.kind) => {
                Some(format!("{name} got {message} on {topic}: {known:?}"))
            }
            Some(known) if known.kind.qos() != qos => {
                Some(format!("{name} got {message} with {qos:?}: {known:?}"))
            }
            Some(_) if !account.got.insert(message) => {
                self.repeated += 1;
                (qos == QoS::ExactlyOnce).then(|| format!("{name} got {message} twice on {topic}"))
            }
            Some(_) => {
                let before = account.last.insert(topic.to_owned(), message);
                before
                    .filter(|before| *before > message)
                    .map(|before| format!("{name} got {message} after {before} on {topic}"))
            }
        };
        if let Some(problem) = problem {
            self.violation(&problem);
        }
    }

    pub(crate) fn takes(&self, account: usize, kind: Kind) -> bool {
        self.accounts[account].takes.contains(&kind)
    }

    /// A message is being sent for the first time; its number.
    pub(crate) fn sent(&mut self, kind: Kind, topic: u64) -> usize {
        let folder = match kind {
            Kind::One => "one",
            Kind::Two => "two",
            Kind::Kept { .. } => "kept",
        };
        self.messages.push(Message { kind, topic: format!("{folder}/{topic}"), acknowledged: false });
        self.messages.len() - 1
    }

    /// From now on everybody who takes it is to get it.
    pub(crate) fn acknowledged(&mut self, number: usize) {
        let message = &mut self.messages[number];
        message.acknowledged = true;
        for account in self.accounts.iter_mut().filter(|account| account.takes.contains(&message.kind)) {
            if !account.got.contains(&(number as u64)) {
                account.owed.insert(number as u64);
            }
        }
    }

    /// Nothing more comes: what is owed is lost.
    pub(crate) fn settle(&mut self) {
        for account in 0..self.accounts.len() {
            let Account { name, owed, .. } = &self.accounts[account];
            if !owed.is_empty() {
                self.losses += owed.len() as u64;
                let what = format!("{name} never got {owed:?}");
                self.violation(&what);
            }
        }
    }

    /// By topic, what may be retained while nobody publishes: the last one that was acknowledged or a later one. `None` is
    /// nothing.
    pub(crate) fn retained(&self) -> BTreeMap<String, BTreeSet<Option<u64>>> {
        let mut topics: BTreeMap<String, BTreeSet<Option<u64>>> = BTreeMap::new();
        for (number, message) in (0..).zip(&self.messages) {
            let Kind::Kept { clear } = message.kind else { continue };
            let may = topics.entry(message.topic.clone()).or_insert_with(|| BTreeSet::from([None]));
            if message.acknowledged {
                may.clear();
            }
            may.insert((!clear).then_some(number));
        }
        topics
    }
}
