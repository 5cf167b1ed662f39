//! Messages come back: from pages of the settled state, and from what is not settled yet.

use super::layout::{Content, SessionRecord, bodies, entries, number_key, page_key, split_key};
use super::record::BadRecord;
use super::settle::damaged;
use super::settled::{Settled, Tree, after, each};
use crate::engine::{Fetch, Fetched, Recipient};
use crate::types::{Message, SessionId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

/// Pages read at a time.
const PAGES_READ: usize = 4;
/// Pages of shared messages that are kept, since many who were sent the same come back together.
const PAGES_KEPT: usize = 64;

/// A request for messages, with what memory has of them.
#[derive(Debug)]
pub struct PageRead {
    fetch: Fetch,
    /// The lowest that are not settled, or were not when this was put together.
    pub(super) memory: Vec<(Recipient, Arc<Message>)>,
    /// Messages in pages that the session is not owed any more.
    pub(super) needless: BTreeSet<u64>,
    /// The session is no more.
    pub(super) gone: bool,
}

/// What makes reading in order cheap.
#[derive(Debug, Default)]
pub struct Reading {
    /// By session: the number to go on from, and the first page with any that are not lower.
    places: BTreeMap<SessionId, (u64, u64)>,
    /// The journal's position in the settled state that the places are of: another one may have pages before them.
    position: u64,
    /// The first and the last number in each page that was just read.
    pages: Vec<(u64, u64)>,
    kept: VecDeque<(u64, Arc<[Arc<Message>]>)>,
}

impl PageRead {
    pub(super) fn new(fetch: Fetch) -> Self {
        Self { fetch, memory: Vec::new(), needless: BTreeSet::new(), gone: false }
    }

    /// Reads what is settled, and puts both together. On the thread that owns the settled state.
    ///
    /// # Errors
    /// When that cannot be read, or is damaged.
    pub fn run(mut self, settled: &dyn Settled, reading: &mut Reading) -> io::Result<Fetched> {
        let Fetch { key, session, messages_max, bytes_max, .. } = self.fetch;
        let mut messages = Vec::new();
        reading.look_at(settled.position());
        if !self.gone {
            self.settled(settled, reading, &mut messages)?;
        }
        // What was settled meanwhile is in both.
        messages.append(&mut self.memory);
        messages.sort_by_key(|(recipient, _)| recipient.seq);
        messages.dedup_by_key(|(recipient, _)| recipient.seq);
        messages.truncate(messages_max as usize);
        let (mut bytes, mut count) = (0, 0);
        for (_, message) in &messages {
            if bytes >= bytes_max {
                break;
            }
            bytes += message.size() as u64;
            count += 1;
        }
        messages.truncate(count);
        if let Some((last, _)) = messages.last() {
            reading.go_on(session, last.seq + 1);
        }
        Ok(Fetched { key, session, messages })
    }

    fn settled(
        &self,
        settled: &dyn Settled,
        reading: &mut Reading,
        into: &mut Vec<(Recipient, Arc<Message>)>,
    ) -> io::Result<()> {
        let Fetch { session, from, messages_max, bytes_max, .. } = self.fetch;
        let own = number_key(session.0);
        let Some(record) = settled.get(Tree::Sessions, &own)? else { return Ok(()) };
        let record = SessionRecord::decode(session, &record).map_err(damaged)?;
        let needless = |seq: u64| seq < from || self.needless.contains(&seq) || record.is_needless(seq);
        let (mut bytes, mut highest) = (0, 0);
        let mut pages = Vec::new();
        let mut at = page_key(session, reading.begin(session, from)).to_vec();
        'pages: loop {
            let found = settled.scan(Tree::Queues, &at, PAGES_READ)?;
            let Some((last, _)) = found.last() else { break };
            at = after(last);
            for (key, page) in &found {
                let Some(rest) = key.strip_prefix(&own) else { break 'pages };
                let (first, _) = split_key(rest).map_err(damaged)?;
                let enough = |count: usize, bytes: u64| count >= messages_max as usize || bytes >= bytes_max;
                // A message of another core that came late is in a page behind others with higher numbers.
                if enough(into.len(), bytes) && first > highest {
                    break 'pages;
                }
                let mut end = first;
                for (recipient, content) in entries(session, page).map_err(damaged)? {
                    let seq = recipient.seq;
                    end = end.max(seq);
                    if needless(seq) || seq > highest && enough(into.len(), bytes) {
                        continue;
                    }
                    let message = reading.content(settled, content)?;
                    bytes += message.size() as u64;
                    highest = highest.max(seq);
                    into.push((recipient, message));
                }
                pages.push((first, end));
            }
        }
        reading.pages = pages;
        Ok(())
    }
}

impl Reading {
    fn look_at(&mut self, position: u64) {
        if self.position != position {
            self.position = position;
            self.places.clear();
        }
        self.pages.clear();
    }

    /// The page to begin with, for messages with at least this number.
    fn begin(&mut self, session: SessionId, from: u64) -> u64 {
        self.places.remove(&session).filter(|(next, _)| *next == from).map_or(0, |(_, page)| page)
    }

    /// The next request will be for messages with at least this number.
    fn go_on(&mut self, session: SessionId, next: u64) {
        let page = self.pages.iter().find(|(_, last)| *last >= next).or_else(|| self.pages.last());
        if let Some(&(first, _)) = page {
            self.places.insert(session, (next, first));
        }
    }

    pub(super) fn content(&mut self, settled: &dyn Settled, content: Content) -> io::Result<Arc<Message>> {
        let (page, at) = match content {
            Content::Here(message) => return Ok(message),
            Content::Shared { page, at } => (page, at as usize),
        };
        let missing = || damaged(BadRecord("a reference to a message that is not there"));
        if let Some((_, kept)) = self.kept.iter().find(|(known, _)| *known == page) {
            return kept.get(at).cloned().ok_or_else(missing);
        }
        let value = settled.get(Tree::Bodies, &number_key(page))?.ok_or_else(missing)?;
        let all: Arc<[_]> = bodies(&value).map_err(damaged)?.into();
        let message = all.get(at).cloned().ok_or_else(missing)?;
        self.kept.push_back((page, all));
        if self.kept.len() > PAGES_KEPT {
            self.kept.pop_front();
        }
        Ok(message)
    }

    /// Forgets where a session was read, which ended.
    pub fn forget(&mut self, session: SessionId) {
        self.places.remove(&session);
    }
}

/// Takes every page apart, and finds what they refer to.
///
/// # Errors
/// The first thing that is damaged or missing.
pub(super) fn verify(settled: &dyn Settled) -> io::Result<()> {
    let mut reading = Reading::default();
    each(settled, Tree::Queues, |key, page| {
        let (session, _) = split_key(key).map_err(damaged)?;
        for (_, content) in entries(SessionId(session), page).map_err(damaged)? {
            reading.content(settled, content)?;
        }
        Ok(())
    })
}
