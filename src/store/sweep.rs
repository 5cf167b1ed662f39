//! Messages that expire while they lie in the store: found step by step, so that a client that never comes back does not keep
//! the space of what it will never get.
//!
//! ```text
//! step: some settled pages → messages that have expired → the cores of their sessions, which say what is done
//! checkpoint: what is done is taken out of the pages that were found
//! ```
//!
//! A pass looks through all pages, a few at a time, and there is none before something can have expired. What a core does not
//! let go of, because a client is about to get it, is found again.

use super::layout::{Content, SessionRecord, entries, split_key};
use super::read::Reading;
use super::settle::damaged;
use super::settled::{Settled, Tree, after};
use crate::engine::{Expired, Place};
use crate::session::ENTRY_BYTES;
use crate::types::{Message, Now, SessionId, Span};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;

/// Pages read at a time, and how often in one step: about two megabytes in all.
const PAGES_READ: usize = 4;
const STEP_CHUNKS: usize = 16;
/// Between the end of a pass and the next one.
const PAUSE: Span = Span::from_secs(10);
/// The same when nothing but what was found can be found: the cores have had time to let go of it.
const AGAIN: Span = Span::from_secs(300);

/// Where the search is.
#[derive(Debug, Default)]
pub struct Sweep {
    /// How long a message waits whose publisher did not say.
    longest: Option<Span>,
    /// The next key, in a pass.
    at: Option<Vec<u8>>,
    /// When the next thing can be found that was not passed by in this pass, or ever.
    due: Option<Now>,
    /// When the last pass ended.
    ended: Now,
    /// Messages have been there before any step.
    begun: bool,
    /// Pages that are to be written again, as far as they were found in this pass, by the number in their key.
    found: BTreeMap<SessionId, BTreeMap<u64, Found>>,
}

/// A page that is to be written again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// The highest number in it.
    pub(super) last: u64,
    /// How many of its messages have expired and were not taken out yet.
    left: usize,
    /// Most of it was let go of before it was found: after a start, say.
    pub(super) at_once: bool,
}

impl Sweep {
    /// `longest` is how long a message waits whose publisher set no bound.
    pub fn new(longest: Option<Span>) -> Self {
        Self { longest, ..Self::default() }
    }

    /// Looks through some pages if it is time to. On the thread that owns the settled state.
    ///
    /// # Errors
    /// When that cannot be read, or is damaged.
    pub fn step(&mut self, settled: &dyn Settled, now: Now) -> io::Result<Vec<Expired>> {
        if self.at.is_none() {
            let due = self.due.is_some_and(|due| due.max(self.ended + PAUSE) <= now);
            if !due && std::mem::replace(&mut self.begun, true) {
                return Ok(Vec::new());
            }
            (self.at, self.due) = (Some(Vec::new()), None);
            self.found.clear();
        }
        let mut from = self.at.take().unwrap_or_default();
        let mut looking =
            Looking { settled, now, reading: Reading::default(), owner: None, expired: Vec::new() };
        for _ in 0..STEP_CHUNKS {
            let pages = settled.scan(Tree::Queues, &from, PAGES_READ)?;
            for (key, page) in &pages {
                looking.page(self, key, page)?;
                from = after(key);
            }
            if pages.len() < PAGES_READ {
                self.ended = now;
                return Ok(looking.expired);
            }
        }
        self.at = Some(from);
        Ok(looking.expired)
    }

    /// Something that is settled now expires at this moment.
    fn expect(&mut self, at: Now) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// A message is settled now.
    pub(super) fn settles(&mut self, message: &Message) {
        if let Some(at) = self.deadline(message) {
            self.expect(at);
        }
    }

    fn deadline(&self, message: &Message) -> Option<Now> {
        let delivery = &message.delivery;
        delivery.expiry.or(self.longest).map(|span| delivery.received + span)
    }

    /// Sessions with pages of which most was let go of.
    pub(super) fn at_once(&self) -> Vec<SessionId> {
        let any = |pages: &BTreeMap<u64, Found>| pages.values().any(|page| page.at_once);
        self.found.iter().filter(|(_, pages)| any(pages)).map(|(id, _)| *id).collect()
    }

    /// Pages of a session that are to be written again, by the numbers in their keys.
    pub(super) fn found(&self, id: SessionId) -> Vec<(u64, Found)> {
        self.found.get(&id).into_iter().flatten().map(|(page, found)| (*page, *found)).collect()
    }

    /// A page that was found is without so many of its messages.
    pub(super) fn taken_out(&mut self, id: SessionId, page: u64, count: usize) {
        let Some(pages) = self.found.get_mut(&id) else { return };
        let Some(found) = pages.get_mut(&page) else { return };
        (found.left, found.at_once) = (found.left.saturating_sub(count), false);
        if found.left == 0 {
            pages.remove(&page);
        }
    }
}

/// A step.
struct Looking<'a> {
    settled: &'a dyn Settled,
    now: Now,
    reading: Reading,
    /// The session of the last page; none when it has ended.
    owner: Option<(SessionId, Option<SessionRecord>)>,
    expired: Vec<Expired>,
}

impl Looking<'_> {
    fn page(&mut self, sweep: &mut Sweep, key: &Bytes, page: &Bytes) -> io::Result<()> {
        let (id, first) = split_key(key).map_err(damaged)?;
        let (first, _) = split_key(first).map_err(damaged)?;
        let session = SessionId(id);
        if self.owner.as_ref().is_none_or(|(owner, _)| *owner != session) {
            let record = self.settled.get(Tree::Sessions, &key[..8])?;
            let record = record.map(|record| SessionRecord::decode(session, &record).map_err(damaged));
            self.owner = Some((session, record.transpose()?));
        }
        let (mut places, mut needless, mut all, mut last) = (Vec::new(), 0, 0, first);
        for (recipient, content) in entries(session, page).map_err(damaged)? {
            let Some((_, Some(record))) = &self.owner else { return Ok(()) };
            (all, last) = (all + 1, last.max(recipient.seq));
            if record.is_needless(recipient.seq) {
                needless += 1;
                continue;
            }
            let message = match content {
                Content::Here(message) => message,
                shared @ Content::Shared { .. } => self.reading.content(self.settled, shared)?,
            };
            match sweep.deadline(&message) {
                Some(at) if at <= self.now => {
                    let size = u32::try_from(message.size() as u64 + ENTRY_BYTES).unwrap_or(u32::MAX);
                    places.push(Place { session, seq: recipient.seq, size });
                }
                Some(at) => sweep.expect(at),
                None => {}
            }
        }
        let (left, at_once) = (places.len(), needless * 2 > all);
        if left > 0 || at_once {
            sweep.found.entry(session).or_default().insert(first, Found { last, left, at_once });
        }
        if let (Some((_, Some(record))), false) = (&self.owner, places.is_empty()) {
            sweep.expect(self.now + AGAIN);
            match self.expired.last_mut().filter(|expired| expired.session == session) {
                Some(expired) => expired.places.append(&mut places),
                None => {
                    let client_id = record.session.client_id.clone();
                    self.expired.push(Expired { client_id, session, places, until: 0 });
                }
            }
        }
        Ok(())
    }
}
