//! A checkpoint: what has changed since the last one becomes part of the settled state, in one step.

use super::delta::{Body, Changes, Delta};
use super::layout::{
    ALIVE_KEY, Content, GRAVE, NEXT_BODY_KEY, NEXT_SESSION_KEY, PageWriter, SessionRecord, entries,
    number_key, number_of, page_key, places, retained, split_key, subscription, subscription_key,
};
use super::record::BadRecord;
use super::settled::{Change, Entry, Settled, Tree, after, each_from};
use super::sweep::Sweep;
use crate::types::{HashSeed, Map, SessionId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Pages of sessions that have ended, swept per checkpoint: one with a large queue does not hold up the others.
pub(super) const SWEPT_PAGES: usize = 1_024;
/// Pages read at a time.
const PAGES_READ: usize = 16;

/// Makes the changes lasting, with the journal's position.
///
/// # Errors
/// Those of [`Settled::apply`], and damage to what is there.
pub(super) fn settle(
    settled: &mut dyn Settled,
    delta: &Delta,
    position: u64,
    sweep: &mut Sweep,
) -> io::Result<()> {
    // Addresses in our own memory, which nobody can choose.
    let placed = HashSeed(0).map();
    let shared =
        Shared { page: number(settled, NEXT_BODY_KEY)?.unwrap_or(0), writer: PageWriter::default(), placed };
    let (changes, refs, thinned) = (Vec::new(), BTreeMap::new(), Vec::new());
    let mut settling = Settling { settled, sweep, changes, refs, shared, thinned };
    let mut sessions: Vec<_> = delta.sessions.iter().collect();
    sessions.sort_unstable_by_key(|(id, _)| **id);
    for (&id, changes) in sessions {
        settling.session(id, changes)?;
    }
    for id in settling.sweep.at_once() {
        if !delta.sessions.contains_key(&id) {
            settling.thin_session(id)?;
        }
    }
    settling.finish_shared();
    settling.sweep_graves()?;
    settling.give_back()?;
    for (topic, message) in &delta.retained {
        let value = message.as_ref().map(|message| retained(message).into());
        settling.put(Tree::Retained, Bytes::copy_from_slice(topic.as_bytes()), value);
    }
    let next_session = number(settling.settled, NEXT_SESSION_KEY)?.unwrap_or(0).max(delta.next_session);
    let page = settling.shared.page;
    for (key, number) in [(NEXT_BODY_KEY, page), (NEXT_SESSION_KEY, next_session), (ALIVE_KEY, delta.now.0)] {
        let value = Bytes::copy_from_slice(&number_key(number));
        settling.put(Tree::Meta, Bytes::from_static(key), Some(value));
    }
    let Settling { settled, sweep, changes, thinned, .. } = settling;
    settled.apply(&mut changes.into_iter(), position)?;
    thinned.into_iter().for_each(|(id, page, count)| sweep.taken_out(id, page, count));
    Ok(())
}

/// A number that the store says about itself.
pub(super) fn number(settled: &dyn Settled, key: &[u8]) -> io::Result<Option<u64>> {
    settled.get(Tree::Meta, key)?.map(|value| number_of(&value).map_err(damaged)).transpose()
}

/// What a checkpoint is to change.
struct Settling<'a> {
    settled: &'a mut dyn Settled,
    sweep: &'a mut Sweep,
    changes: Vec<Change>,
    /// By page of bodies: how many references there are more, or fewer.
    refs: BTreeMap<u64, i64>,
    shared: Shared,
    /// Pages of sessions that lose so many messages which have expired.
    thinned: Vec<(SessionId, u64, usize)>,
}

/// Messages for several that this checkpoint writes.
struct Shared {
    /// The page that is being filled.
    page: u64,
    writer: PageWriter,
    /// By message: where it is.
    placed: Map<usize, (u64, u32)>,
}

impl Settling<'_> {
    fn put(&mut self, tree: Tree, key: Bytes, value: Option<Bytes>) {
        self.changes.push(Change { tree, key, value });
    }

    fn session(&mut self, id: SessionId, changes: &Changes) -> io::Result<()> {
        let key = Bytes::copy_from_slice(&number_key(id.0));
        let before = match self.settled.get(Tree::Sessions, &key)? {
            Some(value) => Some(SessionRecord::decode(id, &value).map_err(damaged)?),
            None => None,
        };
        if changes.ended {
            return if before.is_some() { self.bury(id, key) } else { Ok(()) };
        }
        let mut record = match (before, &changes.session) {
            (Some(record), _) => record,
            (None, Some(session)) => SessionRecord::new((**session).clone()),
            (None, None) => return Err(damaged(BadRecord("a session without its record"))),
        };
        merge(&mut record, changes);
        if let Some(first) = self.drop_pages(id, &mut record)? {
            self.thin_pages(id, &first, &mut record, &changes.done)?;
        }
        self.pages(id, changes);
        for (filter, value) in &changes.subscriptions {
            let value = value.as_ref().map(|value| subscription(value).into());
            self.put(Tree::Subscriptions, subscription_key(id, filter).into(), value);
        }
        self.put(Tree::Sessions, key, Some(record.encode().into()));
        Ok(())
    }

    /// Writes what a session is newly owed.
    fn pages(&mut self, id: SessionId, changes: &Changes) {
        let (mut writer, mut first) = (PageWriter::default(), 0);
        for slot in &changes.slots {
            let Some(body) = &slot.body else { continue };
            self.sweep.settles(&body.message);
            if writer.is_empty() {
                first = slot.recipient.seq;
            }
            let content = self.content(body);
            writer.entry(&slot.recipient, &content);
            if writer.is_full() {
                self.put(Tree::Queues, Bytes::copy_from_slice(&page_key(id, first)), Some(writer.finish()));
            }
        }
        if !writer.is_empty() {
            self.put(Tree::Queues, Bytes::copy_from_slice(&page_key(id, first)), Some(writer.finish()));
        }
    }

    /// Where a message's content goes: with the only one who is owed it, or to a place of its own.
    fn content(&mut self, body: &Arc<Body>) -> Content {
        if body.left() <= 1 {
            return Content::Here(Arc::clone(&body.message));
        }
        let place = Arc::as_ptr(body).addr();
        let (page, at) = match self.shared.placed.get(&place) {
            Some(&known) => known,
            None => {
                let at = self.shared.writer.body(&body.message);
                let fresh = (self.shared.page, at);
                self.shared.placed.insert(place, fresh);
                if self.shared.writer.is_full() {
                    self.finish_shared();
                }
                fresh
            }
        };
        *self.refs.entry(page).or_default() += 1;
        Content::Shared { page, at }
    }

    fn finish_shared(&mut self) {
        if !self.shared.writer.is_empty() {
            let (key, page) = (number_key(self.shared.page), self.shared.writer.finish());
            self.put(Tree::Bodies, Bytes::copy_from_slice(&key), Some(page));
            self.shared.page += 1;
        }
    }

    /// Takes out pages of which a session is owed nothing any more, from the first on. The key of the first that stays; none
    /// when there is none, or nothing is done.
    fn drop_pages(&mut self, id: SessionId, record: &mut SessionRecord) -> io::Result<Option<Bytes>> {
        if record.done.is_empty() && record.received.is_empty() {
            return Ok(None);
        }
        // Most often the first page stays, and nothing but that is to be read.
        let (mut from, mut limit, mut kept) = (page_key(id, 0).to_vec(), 1, None);
        'pages: loop {
            let pages = self.pages_of(id, &from, limit)?;
            let Some((last, _)) = pages.last() else { break };
            from = after(last);
            limit = PAGES_READ;
            for (key, page) in pages {
                let places = places(&page).map_err(damaged)?;
                if !places.iter().all(|&(seq, _)| record.is_needless(seq)) {
                    kept = places.first().map(|&(seq, _)| (seq, key));
                    break 'pages;
                }
                self.drop_page(key, &places);
            }
        }
        // What is not in a page any more needs no mark.
        record.done.retain(|&seq| kept.as_ref().is_some_and(|(first, _)| seq >= *first));
        Ok(kept.map(|(_, key)| key))
    }

    /// Takes out of a session's pages what was done before, where that is most of them.
    fn thin_session(&mut self, id: SessionId) -> io::Result<()> {
        let key = Bytes::copy_from_slice(&number_key(id.0));
        let Some(value) = self.settled.get(Tree::Sessions, &key)? else { return Ok(()) };
        let mut record = SessionRecord::decode(id, &value).map_err(damaged)?;
        self.thin_pages(id, &Bytes::new(), &mut record, &BTreeSet::new())?;
        self.put(Tree::Sessions, key, Some(record.encode().into()));
        Ok(())
    }

    /// Takes what is done out of pages in which something has expired, and the pages with the last of it. Those with numbers
    /// of which nothing is `newly` done are not read.
    fn thin_pages(
        &mut self,
        id: SessionId,
        first: &Bytes,
        record: &mut SessionRecord,
        newly: &BTreeSet<u64>,
    ) -> io::Result<()> {
        for (number, found) in self.sweep.found(id) {
            let key = Bytes::copy_from_slice(&page_key(id, number));
            let touched = found.at_once || newly.range(number..=found.last).next().is_some();
            if key < *first || !touched {
                continue;
            }
            let Some(page) = self.settled.get(Tree::Queues, &key)? else { continue };
            let (needless, kept): (Vec<_>, Vec<_>) = entries(id, &page)
                .map_err(damaged)?
                .into_iter()
                .partition(|(recipient, _)| record.is_needless(recipient.seq));
            for (_, content) in &needless {
                if let Content::Shared { page, .. } = content {
                    *self.refs.entry(*page).or_default() -= 1;
                }
            }
            self.thinned.push((id, number, needless.len()));
            if needless.is_empty() {
                continue;
            }
            let mut writer = PageWriter::default();
            kept.iter().for_each(|(recipient, content)| writer.entry(recipient, content));
            let page = (!writer.is_empty()).then(|| writer.finish());
            self.put(Tree::Queues, key, page);
            let gone: BTreeSet<u64> = needless.iter().map(|(recipient, _)| recipient.seq).collect();
            record.done.retain(|seq| !gone.contains(seq));
        }
        Ok(())
    }

    fn drop_page(&mut self, key: Bytes, places: &[(u64, Option<u64>)]) {
        for page in places.iter().filter_map(|(_, page)| *page) {
            *self.refs.entry(page).or_default() -= 1;
        }
        self.put(Tree::Queues, key, None);
    }

    fn pages_of(&self, id: SessionId, from: &[u8], limit: usize) -> io::Result<Vec<Entry>> {
        let mut pages = self.settled.scan(Tree::Queues, from, limit)?;
        let own = number_key(id.0);
        pages.truncate(pages.iter().take_while(|(key, _)| key.starts_with(&own)).count());
        Ok(pages)
    }

    /// A session that ended: what is small goes at once, its pages bit by bit.
    fn bury(&mut self, id: SessionId, key: Bytes) -> io::Result<()> {
        self.put(Tree::Sessions, key.clone(), None);
        let Self { settled, changes, .. } = self;
        each_from(&**settled, Tree::Subscriptions, &key, |found, _| {
            if !found.starts_with(&key) {
                return Ok(ControlFlow::Break(()));
            }
            changes.push(Change { tree: Tree::Subscriptions, key: found.clone(), value: None });
            Ok(ControlFlow::Continue(()))
        })?;
        self.put(Tree::Meta, [GRAVE, &number_key(id.0)].concat().into(), Some(Bytes::new()));
        Ok(())
    }

    fn sweep_graves(&mut self) -> io::Result<()> {
        let buried_now = |change: &Change| change.tree == Tree::Meta && change.key.starts_with(GRAVE);
        let mut graves: Vec<Bytes> = self
            .changes
            .iter()
            .filter(|change| buried_now(change))
            .map(|change| change.key.clone())
            .collect();
        let known = self.settled.scan(Tree::Meta, GRAVE, PAGES_READ)?;
        graves.extend(known.into_iter().map(|(key, _)| key).filter(|key| key.starts_with(GRAVE)));
        let mut left = SWEPT_PAGES;
        for grave in graves {
            let (id, _) = split_key(&grave[GRAVE.len()..]).map_err(damaged)?;
            let id = SessionId(id);
            let mut from = page_key(id, 0).to_vec();
            while left > 0 {
                let pages = self.pages_of(id, &from, PAGES_READ)?;
                let Some((last, _)) = pages.last() else { break };
                from = after(last);
                left = left.saturating_sub(pages.len());
                for (key, page) in pages {
                    self.drop_page(key, &places(&page).map_err(damaged)?);
                }
            }
            if left == 0 {
                return Ok(());
            }
            self.put(Tree::Meta, grave, None);
        }
        Ok(())
    }

    /// Counts references anew, and takes out pages of bodies that nothing refers to any more.
    fn give_back(&mut self) -> io::Result<()> {
        for (page, change) in std::mem::take(&mut self.refs) {
            let key = Bytes::copy_from_slice(&number_key(page));
            let before = match self.settled.get(Tree::Refs, &key)? {
                Some(value) => number_of(&value).map_err(damaged)?,
                None => 0,
            };
            let refs = before
                .checked_add_signed(change)
                .ok_or_else(|| damaged(BadRecord("references to nothing")))?;
            if refs == 0 {
                self.put(Tree::Bodies, key.clone(), None);
                self.put(Tree::Refs, key, None);
            } else {
                self.put(Tree::Refs, key, Some(Bytes::copy_from_slice(&number_key(refs))));
            }
        }
        Ok(())
    }
}

/// Takes what has changed into a session's record.
pub(super) fn merge(record: &mut SessionRecord, changes: &Changes) {
    // A session's terms may come behind messages with higher numbers than it had when they were settled: of another core,
    // which keeps them for both.
    let next_seq = record.session.next_seq.max(changes.next_seq);
    if let Some(session) = &changes.session {
        record.session = (**session).clone();
    }
    record.session.next_seq = record.session.next_seq.max(next_seq);
    record.done.extend(&changes.done);
    record.done.sort_unstable();
    record.done.dedup();
    let newly = changes.slots.iter().filter(|slot| slot.received).map(|slot| slot.recipient.seq);
    record.received.extend(changes.received.iter().copied().chain(newly));
    record.received.sort_unstable();
    record.received.dedup();
    record.received.retain(|seq| !changes.done.contains(seq));
    record.inbound.retain(|id| !changes.inbound.contains_key(id));
    record.inbound.extend(changes.inbound.iter().filter(|(_, used)| **used).map(|(id, _)| *id));
    record.backlog.messages = record.backlog.messages.saturating_add_signed(changes.messages);
    record.backlog.bytes = record.backlog.bytes.saturating_add_signed(changes.bytes);
}

/// What is there is not what should be.
pub(super) fn damaged(bad: BadRecord) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, bad)
}
