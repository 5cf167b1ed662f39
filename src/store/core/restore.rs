//! What a store begins with: who it is, and what it gives back.

use super::{OpenFailure, Store};
use crate::engine::{Restored, RestoredSession};
use crate::session::Subscription;
use crate::store::disk::Disk;
use crate::store::layout::{
    LAYOUT, LAYOUT_KEY, STORE_ID_KEY, SessionRecord, number_key, retained_of, split_key, subscription_of,
};
use crate::store::record::BadRecord;
use crate::store::settle::{damaged, merge, number};
use crate::store::settled::{Change, Entry, Settled, Tree, after, each};
use crate::types::SessionId;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// Entries read at a time.
const CHUNK: usize = 256;

impl<D: Disk> Store<D> {
    /// Hands over all that was kept, sessions first. Meant to follow opening; later it reads the sessions again.
    ///
    /// # Errors
    /// When the settled state cannot be read.
    pub fn restore(&mut self, settled: &dyn Settled, take: &mut dyn FnMut(Restored)) -> io::Result<()> {
        let sessions = match self.read.take() {
            Some(sessions) => sessions,
            None => settled_sessions(settled)?,
        };
        // Both trees are in the order of sessions: one pass through each.
        let mut subscriptions =
            Subscriptions { settled, from: Vec::new(), read: VecDeque::new(), ended: false };
        for (id, value) in sessions {
            let record = SessionRecord::decode(id, &value).map_err(damaged)?;
            self.restore_session(id, Some(record), subscriptions.of(id)?, take);
        }
        let mut fresh: Vec<_> =
            self.active.sessions.iter().filter(|(_, changes)| changes.session.is_some()).collect();
        fresh.sort_unstable_by_key(|(id, _)| **id);
        for (&id, _) in fresh {
            if settled.get(Tree::Sessions, &number_key(id.0))?.is_none() {
                self.restore_session(id, None, BTreeMap::new(), take);
            }
        }
        each(settled, Tree::Retained, |key, value| {
            let topic = std::str::from_utf8(key).map_err(|_| damaged(BadRecord("a topic")))?;
            if !self.active.retained.contains_key(topic) {
                take(Restored::Retained(retained_of(value).map_err(damaged)?));
            }
            Ok(())
        })?;
        let retained = self.active.retained.values().flatten();
        retained.for_each(|message| take(Restored::Retained((**message).clone())));
        Ok(())
    }

    fn restore_session(
        &self,
        id: SessionId,
        record: Option<SessionRecord>,
        mut subscriptions: BTreeMap<Box<str>, Subscription>,
        take: &mut dyn FnMut(Restored),
    ) {
        let changes = self.active.sessions.get(&id);
        if changes.is_some_and(|changes| changes.ended) {
            return;
        }
        let fresh = || changes.and_then(|c| c.session.as_ref()).map(|s| SessionRecord::new((**s).clone()));
        let Some(mut record) = record.or_else(fresh) else { return };
        if let Some(changes) = changes {
            merge(&mut record, changes);
            for (filter, value) in &changes.subscriptions {
                match value {
                    Some(subscription) => subscriptions.insert(filter.clone(), *subscription),
                    None => subscriptions.remove(filter),
                };
            }
        }
        let SessionRecord { session: stored, received, inbound, backlog, .. } = record;
        let (alive, subscriptions) = (self.active.now, subscriptions.into_iter().collect());
        let restored = RestoredSession { stored, alive, subscriptions, inbound, received, backlog };
        take(Restored::Session(Box::new(restored)));
    }
}

/// The settled subscriptions, session by session.
struct Subscriptions<'a> {
    settled: &'a dyn Settled,
    from: Vec<u8>,
    /// What was read and not asked for yet.
    read: VecDeque<Entry>,
    ended: bool,
}

impl Subscriptions<'_> {
    /// Those of a session. To be asked in the order of sessions.
    fn of(&mut self, id: SessionId) -> io::Result<BTreeMap<Box<str>, Subscription>> {
        let mut all = BTreeMap::new();
        loop {
            if self.read.is_empty() && !self.ended {
                self.read = self.settled.scan(Tree::Subscriptions, &self.from, CHUNK)?.into();
                match self.read.back() {
                    Some((last, _)) => self.from = after(last),
                    None => self.ended = true,
                }
            }
            let Some((key, value)) = self.read.front() else { return Ok(all) };
            let (owner, filter) = split_key(key).map_err(damaged)?;
            if owner > id.0 {
                return Ok(all);
            }
            if owner == id.0 {
                let filter = std::str::from_utf8(filter).map_err(|_| damaged(BadRecord("a filter")))?;
                all.insert(Box::<str>::from(filter), subscription_of(value).map_err(damaged)?);
            }
            self.read.pop_front();
        }
    }
}

/// All settled sessions, as they are.
pub(super) fn settled_sessions(settled: &dyn Settled) -> io::Result<Vec<(SessionId, Bytes)>> {
    let mut sessions = Vec::new();
    each(settled, Tree::Sessions, |key, value| {
        let (id, _) = split_key(key).map_err(damaged)?;
        sessions.push((SessionId(id), value.clone()));
        Ok(())
    })?;
    Ok(sessions)
}

/// Which journal goes with the settled state; a new state gets a number of its own.
pub(super) fn identify(settled: &mut dyn Settled, random: u128) -> Result<u128, OpenFailure> {
    match number(settled, LAYOUT_KEY)? {
        Some(LAYOUT) => {
            let id = settled.get(Tree::Meta, STORE_ID_KEY)?;
            let id = id.and_then(|id| <[u8; 16]>::try_from(&id[..]).ok());
            let missing = || damaged(BadRecord("no store id"));
            Ok(u128::from_be_bytes(id.ok_or_else(missing)?))
        }
        Some(other) => Err(OpenFailure::Layout(other)),
        None => {
            let put = |key: &'static [u8], value: &[u8]| Change {
                tree: Tree::Meta,
                key: Bytes::from_static(key),
                value: Some(Bytes::copy_from_slice(value)),
            };
            let changes = [put(LAYOUT_KEY, &number_key(LAYOUT)), put(STORE_ID_KEY, &random.to_be_bytes())];
            settled.apply(&mut changes.into_iter(), settled.position())?;
            Ok(random)
        }
    }
}
