//! What one write to the journal holds: the requests of all cores that came since the one before.

use super::record::{BadRecord, Reader, Writer};
use crate::engine::{Batch, PersistOp, Place, Recipient};
use crate::types::{Now, PacketId, QoS, SessionId};
use std::sync::Arc;

/// The only form so far.
const FORM: u8 = 1;

/// What kind of request follows. The numbers are on disk.
mod tag {
    pub(super) const SESSION: u8 = 1;
    pub(super) const END: u8 = 2;
    pub(super) const SUBSCRIBE: u8 = 3;
    pub(super) const UNSUBSCRIBE: u8 = 4;
    pub(super) const MESSAGE: u8 = 5;
    pub(super) const DONE: u8 = 6;
    pub(super) const RECEIVED: u8 = 7;
    pub(super) const INBOUND: u8 = 8;
    pub(super) const RELEASED: u8 = 9;
    pub(super) const RETAIN: u8 = 10;
}

/// A group being put together.
#[derive(Debug, Default)]
pub(super) struct Group {
    out: Writer,
    ops: usize,
}

impl Group {
    /// An empty one, of this time.
    pub(super) fn begin(&mut self, now: Now) {
        self.out.0.clear();
        self.ops = 0;
        self.out.byte(FORM);
        self.out.number(now.0);
    }

    /// Adds what a core asks for. What nobody needs any more is left out.
    pub(super) fn add(&mut self, batch: &Batch) {
        for op in &batch.ops {
            if put(&mut self.out, op, &batch.to) {
                self.ops += 1;
            }
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.ops == 0
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.out.0
    }
}

/// False when there is nothing to say.
fn put(out: &mut Writer, op: &PersistOp, all: &[Recipient]) -> bool {
    match op {
        PersistOp::Nothing => return false,
        PersistOp::Session(session) => {
            out.byte(tag::SESSION);
            out.number(session.id.0);
            out.session(session);
        }
        PersistOp::End(session) => {
            out.byte(tag::END);
            out.number(session.0);
        }
        PersistOp::Subscribe { session, filter, subscription } => {
            out.byte(tag::SUBSCRIBE);
            out.number(session.0);
            out.bytes(filter.as_bytes());
            out.subscription(subscription);
        }
        PersistOp::Unsubscribe { session, filter } => {
            out.byte(tag::UNSUBSCRIBE);
            out.number(session.0);
            out.bytes(filter.as_bytes());
        }
        PersistOp::Message { message, to, inbound, instead_of, .. } => {
            let needs = all[to.start as usize..to.end as usize]
                .iter()
                .filter(|recipient| recipient.session.is_some());
            let left = needs.clone().count();
            if left == 0 {
                return put_rest(out, *inbound, *instead_of);
            }
            out.byte(tag::MESSAGE);
            out.byte(u8::from(inbound.is_some()) | u8::from(instead_of.is_some()) << 1);
            if let Some((session, id)) = inbound {
                put_inbound(out, *session, *id);
            }
            if let Some(place) = instead_of {
                put_place(out, *place);
            }
            out.message(message);
            out.number(left as u64);
            for recipient in needs {
                out.number(recipient.session.map_or(0, |session| session.0));
                put_recipient(out, recipient);
            }
        }
        PersistOp::Done(place) => {
            out.byte(tag::DONE);
            put_place(out, *place);
        }
        PersistOp::Received(place) => {
            out.byte(tag::RECEIVED);
            put_place(out, *place);
        }
        PersistOp::Inbound { session, id } => {
            out.byte(tag::INBOUND);
            put_inbound(out, *session, *id);
        }
        PersistOp::Released { session, id } => {
            out.byte(tag::RELEASED);
            put_inbound(out, *session, *id);
        }
        PersistOp::Retain(message) => {
            out.byte(tag::RETAIN);
            out.message(message);
        }
    }
    true
}

/// What is left to say of a message that nobody needs: false when that is nothing.
fn put_rest(out: &mut Writer, inbound: Option<(SessionId, PacketId)>, instead_of: Option<Place>) -> bool {
    if let Some(place) = instead_of {
        out.byte(tag::DONE);
        put_place(out, place);
    }
    if let Some((session, id)) = inbound {
        out.byte(tag::INBOUND);
        put_inbound(out, session, id);
    }
    inbound.is_some() || instead_of.is_some()
}

fn put_inbound(out: &mut Writer, session: SessionId, id: PacketId) {
    out.number(session.0);
    out.number(u64::from(id.get()));
}

fn put_place(out: &mut Writer, place: Place) {
    out.number(place.session.0);
    out.number(place.seq);
    out.number(u64::from(place.size));
}

/// Everything but whose it is.
pub(super) fn put_recipient(out: &mut Writer, recipient: &Recipient) {
    let Recipient { seq, qos, retain, ids, share, .. } = recipient;
    out.number(*seq);
    let (has_ids, has_share) = (u8::from(ids.is_some()), u8::from(share.is_some()));
    out.byte(*qos as u8 | u8::from(*retain) << 2 | has_ids << 3 | has_share << 4);
    if let Some(ids) = ids {
        out.number(ids.len() as u64);
        ids.iter().for_each(|&id| out.number(u64::from(id)));
    }
    if let Some(share) = share {
        out.bytes(share.as_bytes());
    }
}

/// What [`put_recipient`] put.
pub(super) fn take_recipient(from: &mut Reader<'_>, session: SessionId) -> Result<Recipient, BadRecord> {
    let seq = from.number()?;
    let flags = from.byte()?;
    let qos = QoS::from_bits(flags & 3).ok_or(BadRecord("no QoS"))?;
    let ids = if flags & 8 == 0 {
        None
    } else {
        let count = from.number()?;
        Some((0..count).map(|_| from.small()).collect::<Result<Box<[u32]>, _>>()?)
    };
    let share = if flags & 16 == 0 { None } else { Some(from.text()?.into()) };
    Ok(Recipient { session: Some(session), seq, qos, retain: flags & 4 != 0, ids, share })
}

/// Takes a group apart: its time, and its requests in their order, as one batch.
pub(super) fn decode(bytes: &[u8]) -> Result<Batch, BadRecord> {
    let mut from = Reader(bytes);
    if from.byte()? != FORM {
        return Err(BadRecord("a group of a later version"));
    }
    let mut batch = Batch { now: Now(from.number()?), ..Batch::default() };
    while !from.is_empty() {
        let op = take(&mut from, &mut batch.to)?;
        batch.ops.push(op);
    }
    Ok(batch)
}

fn take(from: &mut Reader<'_>, all: &mut Vec<Recipient>) -> Result<PersistOp, BadRecord> {
    Ok(match from.byte()? {
        tag::SESSION => {
            let id = from.session_id()?;
            PersistOp::Session(Box::new(from.session(id)?))
        }
        tag::END => PersistOp::End(from.session_id()?),
        tag::SUBSCRIBE => {
            let (session, filter) = (from.session_id()?, from.text()?.into());
            PersistOp::Subscribe { session, filter, subscription: from.subscription()? }
        }
        tag::UNSUBSCRIBE => {
            PersistOp::Unsubscribe { session: from.session_id()?, filter: from.text()?.into() }
        }
        tag::MESSAGE => take_message(from, all)?,
        tag::DONE => PersistOp::Done(take_place(from)?),
        tag::RECEIVED => PersistOp::Received(take_place(from)?),
        tag::INBOUND => PersistOp::Inbound { session: from.session_id()?, id: from.packet_id()? },
        tag::RELEASED => PersistOp::Released { session: from.session_id()?, id: from.packet_id()? },
        tag::RETAIN => PersistOp::Retain(Arc::new(from.message()?)),
        _ => return Err(BadRecord("an unknown request")),
    })
}

fn take_message(from: &mut Reader<'_>, all: &mut Vec<Recipient>) -> Result<PersistOp, BadRecord> {
    let flags = from.byte()?;
    let inbound = if flags & 1 == 0 { None } else { Some((from.session_id()?, from.packet_id()?)) };
    let instead_of = if flags & 2 == 0 { None } else { Some(take_place(from)?) };
    let message = Arc::new(from.message()?);
    let left = from.small()?;
    let begin = offset(all.len())?;
    for _ in 0..left {
        let session = from.session_id()?;
        all.push(take_recipient(from, session)?);
    }
    Ok(PersistOp::Message { message, to: begin..offset(all.len())?, left, inbound, instead_of })
}

fn take_place(from: &mut Reader<'_>) -> Result<Place, BadRecord> {
    Ok(Place { session: from.session_id()?, seq: from.number()?, size: from.small()? })
}

fn offset(len: usize) -> Result<u32, BadRecord> {
    u32::try_from(len).map_err(|_| BadRecord("too many recipients"))
}
