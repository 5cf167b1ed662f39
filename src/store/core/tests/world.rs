//! A store on a disk that is not real, next to what it should hold.

use super::super::{OpenFailure, Options, Store};
use super::Model;
use super::model::Held;
use crate::engine::{Batch, Fetch, PersistOp, Place, Recipient, Restored, StoredSession};
use crate::session::ENTRY_BYTES;
use crate::store::disk::SimDisk;
use crate::store::journal::SyncMode;
use crate::store::layout::{Content, entries, number_of, split_key};
use crate::store::read::Reading;
use crate::store::settled::{Entry, MemorySettled, Settled, Tree};
use crate::types::{Delivery, HashSeed, Message, Now, QoS, SessionId, SessionKey, ShardId};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Small enough for many segments.
pub(super) const OPTIONS: Options =
    Options { sync: SyncMode::Disk, segment_bytes: 16 << 10, checkpoint_bytes: 8 << 10, bytes_max: 0 };

pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) settled: MemorySettled,
    pub(super) store: Store<SimDisk>,
    pub(super) reading: Reading,
    /// What was submitted, and what of it is committed.
    pub(super) view: Model,
    pub(super) kept: Model,
    /// What may have reached the disk although the commit failed.
    pub(super) maybe: Vec<Model>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, OPTIONS)
    }

    pub(super) fn with(seed: u64, options: Options) -> Self {
        let (disk, mut settled) = (SimDisk::new(seed), MemorySettled::default());
        let store = open(&disk, &mut settled, options).expect("a new store opens");
        let (reading, view, kept, maybe) = Default::default();
        Self { disk, settled, store, reading, view, kept, maybe }
    }

    pub(super) fn submit(&mut self, core: u16, batch: Batch) {
        self.view.apply(&batch);
        self.store.submit(ShardId(core), batch);
    }

    /// False when it failed.
    pub(super) fn commit(&mut self) -> bool {
        let done = self.store.commit(&mut |_, _| {}).is_ok();
        if done {
            self.kept = self.view.clone();
            self.maybe.clear();
        } else {
            self.maybe.push(self.view.clone());
        }
        done
    }

    pub(super) fn keep(&mut self, ops: Vec<PersistOp>, to: Vec<Recipient>) {
        self.submit(0, Batch { ops, to, until: 1, now: Now(1_000) });
        assert!(self.commit());
    }

    pub(super) fn checkpoint(&mut self) {
        let Some(checkpoint) = self.store.begin_checkpoint() else { return };
        checkpoint.run(&mut self.settled).expect("settles");
        let bytes = self.settled.bytes_on_disk().expect("memory");
        // Where segments could not be freed, nothing is lost but their room.
        let _ = self.store.finish_checkpoint(Some(bytes));
    }

    /// The broker is gone, and is started again; what it finds must be what was committed, or what may have been.
    pub(super) fn reopen(&mut self, options: Options) -> Result<(), OpenFailure> {
        self.store = open(&self.disk, &mut self.settled, options)?;
        self.reading = Reading::default();
        let (found, next) = self.restored();
        let all = std::iter::once(&self.kept).chain(&self.maybe);
        let fits = all.clone().find(|model| outline(model) == found).cloned();
        let Some(fits) = fits else {
            panic!("{}", difference(&found, &outline(&self.kept)));
        };
        for (id, held) in &fits.sessions {
            let last = held.owed.keys().last();
            assert!(last.is_none_or(|last| last < &next[id]), "session {id} gives {} twice", next[id]);
        }
        (self.kept, self.view) = (fits.clone(), fits);
        self.maybe.clear();
        Ok(())
    }

    /// What the store gives back at the start; and by session, the number of its next message.
    fn restored(&mut self) -> (Outline, BTreeMap<u64, u64>) {
        let (mut found, mut next) = (Outline::default(), BTreeMap::new());
        let next_session = self.store.next_session();
        let take = &mut |restored| match restored {
            Restored::Retained(message) => {
                let topic = message.topic().to_owned();
                assert!(found.retained.insert(topic, message).is_none(), "a topic comes once");
            }
            Restored::Session(restored) => {
                assert!(found.retained.is_empty(), "sessions come first");
                let id = restored.stored.id.0;
                assert!(id < next_session, "no number is given twice");
                next.insert(id, restored.stored.next_seq);
                let mut held = Held::new(StoredSession { next_seq: 0, ..restored.stored });
                held.subscriptions = restored.subscriptions.into_iter().collect();
                held.inbound = restored.inbound.into_iter().map(|id| id.get()).collect();
                assert!(restored.received.is_sorted());
                held.received = restored.received.into_iter().collect();
                let session = (held, restored.backlog.messages, restored.backlog.bytes);
                assert!(found.sessions.insert(id, session).is_none(), "a session comes once");
            }
        };
        self.store.restore(&self.settled, take).expect("can be read");
        (found, next)
    }

    /// Fetches all that each session is owed, `messages_max` at a time, and compares. `between` happens while the first
    /// answer is on its way.
    pub(super) fn check_fetch(
        &mut self,
        messages_max: u32,
        bytes_max: u64,
        mut between: impl FnMut(&mut Self),
    ) {
        let kept = self.kept.clone();
        for (&id, held) in &kept.sessions {
            let (mut from, mut found) = (0, BTreeMap::new());
            loop {
                let key = SessionKey { slot: 0, generation: 0 };
                let fetch = Fetch { key, session: SessionId(id), from, messages_max, bytes_max };
                let read = self.store.fetch(fetch);
                between(self);
                let fetched = read.run(&self.settled, &mut self.reading).expect("can be read");
                let Some((last, _)) = fetched.messages.last() else { break };
                from = last.seq + 1;
                assert!(fetched.messages.len() <= messages_max as usize);
                assert!(fetched.messages.is_sorted_by_key(|(recipient, _)| recipient.seq));
                let sizes = fetched.messages.iter().map(|(_, message)| message.size() as u64);
                let before_last = fetched.messages.len() - 1;
                assert!(before_last == 0 || sizes.take(before_last).sum::<u64>() < bytes_max);
                let new = fetched.messages.into_iter();
                found
                    .extend(new.map(|(recipient, message)| (recipient.seq, (recipient, (*message).clone()))));
            }
            assert_eq!(found, held.owed, "session {id}, {messages_max} at a time");
        }
    }

    /// The entries of a tree of the settled state.
    pub(super) fn tree(&self, tree: Tree) -> Vec<Entry> {
        self.settled.scan(tree, &[], usize::MAX).expect("memory")
    }

    /// Each page of shared messages is there as long as something refers to it, and the count of that is right.
    pub(super) fn check_references(&self) {
        let mut counted = BTreeMap::new();
        for (key, page) in self.tree(Tree::Queues) {
            let (session, _) = split_key(&key).expect("a page's key");
            for (_, content) in entries(SessionId(session), &page).expect("a page") {
                if let Content::Shared { page, .. } = content {
                    *counted.entry(page).or_insert(0u64) += 1;
                }
            }
        }
        let number = |key: &[u8]| split_key(key).expect("a number").0;
        let refs = self.tree(Tree::Refs).into_iter();
        let refs: BTreeMap<_, _> =
            refs.map(|(key, count)| (number(&key), number_of(&count).unwrap())).collect();
        let bodies: Vec<_> = self.tree(Tree::Bodies).iter().map(|(key, _)| number(key)).collect();
        assert_eq!(refs, counted);
        assert_eq!(bodies, counted.into_keys().collect::<Vec<_>>());
    }
}

/// What a store says of itself at the start; numbers of messages are only bounds.
#[derive(Debug, Default, PartialEq)]
struct Outline {
    sessions: BTreeMap<u64, (Held, u64, u64)>,
    retained: BTreeMap<String, Message>,
}

fn difference(found: &Outline, kept: &Outline) -> String {
    let (both, mut said) = (found.sessions.keys().chain(kept.sessions.keys()), String::new());
    for id in both {
        let [found, kept] = [found, kept].map(|outline| outline.sessions.get(id));
        if found != kept {
            said += &format!("session {id}: found {found:?}\nwhere there should be {kept:?}\n");
        }
    }
    said + &format!("retained: found {:?}\nwhere there should be {:?}", found.retained, kept.retained)
}

fn outline(model: &Model) -> Outline {
    let outline = |held: &Held| {
        let (messages, bytes) = (held.owed.len() as u64, held.bytes());
        let stored = StoredSession { next_seq: 0, ..held.stored.clone() };
        (Held { stored, owed: BTreeMap::new(), ..held.clone() }, messages, bytes)
    };
    let sessions = model.sessions.iter().map(|(id, held)| (*id, outline(held))).collect();
    Outline { sessions, retained: model.retained.clone() }
}

pub(super) fn open(
    disk: &SimDisk,
    settled: &mut MemorySettled,
    options: Options,
) -> Result<Store<SimDisk>, OpenFailure> {
    Store::open(disk.clone(), settled, options, HashSeed(7), 0x5eed)
}

pub(super) fn session(id: u64) -> PersistOp {
    PersistOp::Session(Box::new(stored(id)))
}

pub(super) fn stored(id: u64) -> StoredSession {
    let client_id = format!("client-{id}").into();
    let id = SessionId(id);
    StoredSession { id, client_id, expiry: None, away: None, will: None, next_seq: 1, unsent_from: None }
}

pub(super) fn recipient(session: u64, seq: u64) -> Recipient {
    let session = Some(SessionId(session));
    Recipient { session, seq, qos: QoS::AtLeastOnce, retain: false, ids: None, share: None }
}

pub(super) fn message(to: Range<u32>, payload: &[u8]) -> PersistOp {
    let left = to.end - to.start;
    let message = Arc::new(content("a/b", payload));
    PersistOp::Message { message, to, left, inbound: None, instead_of: None }
}

pub(super) fn content(topic: &str, payload: &[u8]) -> Message {
    let (qos, received) = (QoS::AtLeastOnce, Now(1_000));
    Message::new(topic, &[], payload, Delivery { qos, retain: false, received, expiry: None })
}

/// Where a message of [`message`] is.
pub(super) fn place(session: u64, seq: u64, payload: &[u8]) -> Place {
    let size = u32::try_from(3 + payload.len() as u64 + ENTRY_BYTES).expect("small");
    Place { session: SessionId(session), seq, size }
}
