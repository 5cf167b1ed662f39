//! Keys and values of the settled state.

use super::group::{put_recipient, take_recipient};
use super::record::{BadRecord, Reader, Writer};
use crate::engine::{Recipient, StoredSession};
use crate::session::Backlog;
use crate::types::{Message, PacketId, SessionId};
use bytes::Bytes;
use std::sync::Arc;

/// The layout that this version reads and writes; in [`super::Tree::Meta`] under [`LAYOUT_KEY`].
pub(super) const LAYOUT: u64 = 1;
pub(super) const LAYOUT_KEY: &[u8] = b"layout";
/// Which journal goes with it.
pub(super) const STORE_ID_KEY: &[u8] = b"store id";
/// The lowest number that no page of [`super::Tree::Bodies`] ever had.
pub(super) const NEXT_BODY_KEY: &[u8] = b"next body";
/// The lowest number that no session ever had.
pub(super) const NEXT_SESSION_KEY: &[u8] = b"next session";
/// When the broker was last known to run.
pub(super) const ALIVE_KEY: &[u8] = b"alive";
/// What the keys of sessions begin with that ended and have pages left.
pub(super) const GRAVE: &[u8] = b"grave ";

/// Entries of a page at most, and bytes after which it takes no further one.
pub(super) const PAGE_ENTRIES: usize = 256;
pub(super) const PAGE_BYTES: usize = 32 << 10;

/// A number as a key, or as the beginning of one.
pub(super) fn number_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The key of a page of a session's messages.
pub(super) fn page_key(session: SessionId, first: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&session.0.to_be_bytes());
    key[8..].copy_from_slice(&first.to_be_bytes());
    key
}

/// The key of a subscription.
pub(super) fn subscription_key(session: SessionId, filter: &str) -> Vec<u8> {
    [&session.0.to_be_bytes(), filter.as_bytes()].concat()
}

/// The number that a key begins with, and the rest.
pub(super) fn split_key(key: &[u8]) -> Result<(u64, &[u8]), BadRecord> {
    let (number, rest) = key.split_first_chunk().ok_or(BadRecord("a key too short"))?;
    Ok((u64::from_be_bytes(*number), rest))
}

/// A value that is a number.
pub(super) fn number_of(value: &[u8]) -> Result<u64, BadRecord> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| BadRecord("a number of another length"))
}

/// What is small of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionRecord {
    pub(super) session: StoredSession,
    /// Messages in its pages that it is not owed any more, ascending.
    pub(super) done: Vec<u64>,
    /// Messages that it has received, ascending.
    pub(super) received: Vec<u64>,
    pub(super) inbound: Vec<PacketId>,
    /// What it is owed besides.
    pub(super) backlog: Backlog,
}

impl SessionRecord {
    pub(super) fn new(session: StoredSession) -> Self {
        let (done, received, inbound) = (Vec::new(), Vec::new(), Vec::new());
        Self { session, done, received, inbound, backlog: Backlog::default() }
    }

    /// Whether the session has a message with this number, or does not want it any more.
    pub(super) fn is_needless(&self, seq: u64) -> bool {
        self.done.binary_search(&seq).is_ok() || self.received.binary_search(&seq).is_ok()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.session(&self.session);
        for numbers in [&self.done, &self.received] {
            out.number(numbers.len() as u64);
            let mut last = 0;
            for &number in numbers {
                out.number(number - last);
                last = number;
            }
        }
        out.number(self.inbound.len() as u64);
        self.inbound.iter().for_each(|id| out.number(u64::from(id.get())));
        out.number(self.backlog.messages);
        out.number(self.backlog.bytes);
        out.0
    }

    pub(super) fn decode(id: SessionId, bytes: &[u8]) -> Result<Self, BadRecord> {
        let mut from = Reader(bytes);
        let session = from.session(id)?;
        let mut ascending = || -> Result<Vec<u64>, BadRecord> {
            let (count, mut last) = (from.number()?, 0u64);
            (0..count)
                .map(|_| {
                    last = last.checked_add(from.number()?).ok_or(BadRecord("a number too large"))?;
                    Ok(last)
                })
                .collect()
        };
        let (done, received) = (ascending()?, ascending()?);
        let count = from.number()?;
        let inbound = (0..count).map(|_| from.packet_id()).collect::<Result<_, _>>()?;
        let backlog = Backlog { from: 0, messages: from.number()?, bytes: from.number()? };
        if !from.is_empty() {
            return Err(BadRecord("more than a session"));
        }
        Ok(Self { session, done, received, inbound, backlog })
    }
}

/// Where a message's content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// In its own entry.
    Here(Arc<Message>),
    /// In a page of [`super::Tree::Bodies`], at this place.
    Shared { page: u64, at: u32 },
}

/// Entries of a page, one after the other.
#[derive(Debug, Default)]
pub(super) struct PageWriter {
    out: Writer,
    entries: usize,
}

impl PageWriter {
    /// Adds a session's message.
    pub(super) fn entry(&mut self, recipient: &Recipient, content: &Content) {
        put_recipient(&mut self.out, recipient);
        match content {
            Content::Here(message) => {
                self.out.byte(0);
                self.out.message(message);
            }
            Content::Shared { page, at } => {
                self.out.byte(1);
                self.out.number(*page);
                self.out.number(u64::from(*at));
            }
        }
        self.entries += 1;
    }

    /// Adds a message for several; its place.
    pub(super) fn body(&mut self, message: &Message) -> u32 {
        self.out.message(message);
        self.entries += 1;
        u32::try_from(self.entries - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries >= PAGE_ENTRIES || self.out.0.len() >= PAGE_BYTES
    }

    /// The page; a new one begins.
    pub(super) fn finish(&mut self) -> Bytes {
        self.entries = 0;
        Bytes::from(std::mem::take(&mut self.out.0))
    }
}

/// Takes a page of a session's messages apart.
pub(super) fn entries(session: SessionId, page: &[u8]) -> Result<Vec<(Recipient, Content)>, BadRecord> {
    let (mut from, mut entries) = (Reader(page), Vec::new());
    while !from.is_empty() {
        let recipient = take_recipient(&mut from, session)?;
        let content = match from.byte()? {
            0 => Content::Here(Arc::new(from.message()?)),
            1 => Content::Shared { page: from.number()?, at: from.small()? },
            _ => return Err(BadRecord("content of an unknown kind")),
        };
        entries.push((recipient, content));
    }
    Ok(entries)
}

/// The numbers in a page of a session's messages, with the pages of shared ones, and no more of it.
pub(super) fn places(page: &[u8]) -> Result<Vec<(u64, Option<u64>)>, BadRecord> {
    let (mut from, mut places) = (Reader(page), Vec::new());
    while !from.is_empty() {
        let seq = take_recipient(&mut from, SessionId(0))?.seq;
        let shared = match from.byte()? {
            0 => {
                from.skip_message()?;
                None
            }
            1 => {
                let page = from.number()?;
                from.small()?;
                Some(page)
            }
            _ => return Err(BadRecord("content of an unknown kind")),
        };
        places.push((seq, shared));
    }
    Ok(places)
}

/// Takes a page of messages for several apart.
pub(super) fn bodies(page: &[u8]) -> Result<Vec<Arc<Message>>, BadRecord> {
    let (mut from, mut bodies) = (Reader(page), Vec::new());
    while !from.is_empty() {
        bodies.push(Arc::new(from.message()?));
    }
    Ok(bodies)
}

/// A retained message as a value.
pub(super) fn retained(message: &Message) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(message);
    out.0
}

/// The same back.
pub(super) fn retained_of(value: &[u8]) -> Result<Message, BadRecord> {
    let mut from = Reader(value);
    let message = from.message()?;
    if from.is_empty() { Ok(message) } else { Err(BadRecord("more than a message")) }
}

/// A subscription's value.
pub(super) fn subscription(subscription: &crate::session::Subscription) -> Vec<u8> {
    let mut out = Writer::default();
    out.subscription(subscription);
    out.0
}

/// The same back.
pub(super) fn subscription_of(value: &[u8]) -> Result<crate::session::Subscription, BadRecord> {
    Reader(value).subscription()
}
