//! What waits to be sent on one connection: small frames copied one after another, large payloads referenced.

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::AsFd;

/// Pieces named in one vectored write at most.
pub(super) const PIECES_MAX: usize = 64;
/// A buffer that grew past this is not pooled.
const POOLED_BYTES_MAX: usize = 256 << 10;
/// Memory in a pool at most.
const POOL_BYTES_MAX: usize = 32 << 20;
/// A buffer up to this size may be mostly empty while it waits.
const TRIM_FROM: usize = 1 << 10;
/// What has been sent is cut off the front of a buffer once it is this much and half of all.
const COMPACT_FROM: usize = 32 << 10;

/// Buffers that no connection uses at the moment, so that neither reading nor writing allocates in steady state.
#[derive(Debug, Default)]
pub struct Pool {
    free: Vec<Vec<u8>>,
    bytes: usize,
}

impl Pool {
    /// An empty buffer, with memory if the pool has one.
    pub fn take(&mut self) -> Vec<u8> {
        let buffer = self.free.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer back, unless it is too large or the pool is full.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity > 0 && capacity <= POOLED_BYTES_MAX && self.bytes + capacity <= POOL_BYTES_MAX {
            buffer.clear();
            self.bytes += capacity;
            self.free.push(buffer);
        }
    }
}

/// A part of the output before the tail.
#[derive(Debug)]
enum Piece {
    Copied(Vec<u8>),
    Referenced(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Referenced(bytes) => bytes,
        }
    }
}

/// The output of one connection. Without memory while it is empty.
///
/// Invariant: `len` is the length of all pieces and the tail, less `sent`.
/// Invariant: `sent` is less than the length of the first piece, or of the tail where there is no piece.
#[derive(Debug, Default)]
pub struct Output {
    tail: Vec<u8>,
    /// What goes before the tail; nearly always nothing.
    #[expect(clippy::box_collection, reason = "every connection has this field: 8 bytes instead of 32")]
    pieces: Option<Box<VecDeque<Piece>>>,
    /// Bytes of the first piece that are sent already.
    sent: usize,
    len: usize,
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// All of it.
    All(usize),
    /// The socket takes no more for now.
    Part(usize),
}

impl Output {
    /// Bytes that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy.
    #[inline]
    pub fn push(&mut self, bytes: &[u8], pool: &mut Pool) {
        if self.tail.capacity() == 0 {
            self.tail = pool.take();
        }
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends a copy of `head` and a reference to `payload`.
    pub fn push_shared(&mut self, head: &[u8], payload: &Bytes, pool: &mut Pool) {
        self.push(head, pool);
        self.trim(pool);
        let pieces = self.pieces.get_or_insert_default();
        pieces.push_back(Piece::Copied(std::mem::take(&mut self.tail)));
        pieces.push_back(Piece::Referenced(payload.clone()));
        self.len += payload.len();
    }

    /// Gives a buffer back of which little is used: what waits now may wait for long.
    pub(super) fn trim(&mut self, pool: &mut Pool) {
        if self.tail.capacity() > TRIM_FROM.max(2 * self.tail.len()) {
            let exact = self.tail.as_slice().to_vec();
            pool.give(std::mem::replace(&mut self.tail, exact));
        }
    }

    /// Writes as much as the socket takes, with one system call for nearly everything.
    ///
    /// # Errors
    /// The socket's, other than that it would block.
    pub fn write(&mut self, socket: impl AsFd, pool: &mut Pool) -> Result<Written, Errno> {
        let mut written = 0;
        while self.len > 0 {
            let (asked, taken) = match self.write_once(&socket) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => (1, 0),
                other => other?,
            };
            self.advance(taken, pool);
            written += taken;
            if taken < asked {
                self.trim(pool);
                return Ok(Written::Part(written));
            }
        }
        Ok(Written::All(written))
    }

    /// Gives all memory back, sent or not.
    pub fn clear(&mut self, pool: &mut Pool) {
        pool.give(std::mem::take(&mut self.tail));
        *self = Self::default();
    }

    /// How many bytes one system call was asked to write, and how many it wrote.
    fn write_once(&self, socket: impl AsFd) -> Result<(usize, usize), Errno> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let Some(pieces) = &self.pieces else {
            return Ok((self.len, send(socket, &self.tail[self.sent..], flags)?));
        };
        debug_assert!(!pieces.is_empty(), "none instead of no piece");
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let (count, asked) = self.slices(self.len, &mut slices);
        let taken = sendmsg(socket, &slices[..count], &mut SendAncillaryBuffer::default(), flags)?;
        Ok((asked, taken))
    }

    /// Names what waits, `limit` bytes of it at most. Returns how many slices that took, and the bytes in them.
    pub(super) fn slices<'a>(&'a self, limit: usize, slices: &mut [IoSlice<'a>]) -> (usize, usize) {
        let pieces = self.pieces.iter().flat_map(|pieces| pieces.iter().map(Piece::bytes));
        let (mut count, mut named, mut skip) = (0, 0, self.sent);
        for (slice, part) in slices.iter_mut().zip(pieces.chain([&self.tail[..]])) {
            let part = &part[std::mem::take(&mut skip)..];
            let part = &part[..part.len().min(limit - named)];
            *slice = IoSlice::new(part);
            named += part.len();
            count += 1;
            if named == limit {
                break;
            }
        }
        (count, named)
    }

    /// Takes note that so many bytes are written.
    pub(super) fn advance(&mut self, count: usize, pool: &mut Pool) {
        self.len -= count;
        self.sent += count;
        while let Some(pieces) = &mut self.pieces {
            match pieces.front() {
                Some(first) if self.sent >= first.bytes().len() => {
                    self.sent -= first.bytes().len();
                    if let Some(Piece::Copied(buffer)) = pieces.pop_front() {
                        pool.give(buffer);
                    }
                }
                Some(_) => return,
                None => self.pieces = None,
            }
        }
        if self.sent == self.tail.len() {
            self.sent = 0;
            pool.give(std::mem::take(&mut self.tail));
        } else if self.sent >= COMPACT_FROM && self.sent >= self.tail.len() / 2 {
            self.tail.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Rng;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_goes_in_comes_out_in_order_however_slowly_it_is_read() {
        for seed in 0..8 {
            let mut rng = Rng::new(seed);
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            let (mut output, mut pool, mut expected, mut got) =
                (Output::default(), Pool::default(), vec![], vec![]);
            let mut read = vec![0; 1 << 20];
            for step in 0..400u32 {
                let len = 1 << rng.below(18);
                let bytes: Vec<u8> = (0..len).map(|n: u32| n.wrapping_mul(step).to_le_bytes()[1]).collect();
                expected.extend_from_slice(&bytes);
                if len > 4_096 {
                    let (head, payload) = bytes.split_at(7);
                    output.push_shared(head, &Bytes::copy_from_slice(payload), &mut pool);
                } else {
                    output.push(&bytes, &mut pool);
                }
                if rng.chance(1, 2) {
                    output.write(&ours, &mut pool).unwrap();
                }
                let take = usize::try_from(rng.below(1 << 18)).unwrap();
                if let Ok(count) = theirs.read(&mut read[..take]) {
                    got.extend_from_slice(&read[..count]);
                }
                assert!(output.len() <= expected.len() - got.len(), "seed {seed}");
            }
            while got.len() < expected.len() {
                output.write(&ours, &mut pool).unwrap();
                if let Ok(count) = theirs.read(&mut read) {
                    got.extend_from_slice(&read[..count]);
                }
            }
            assert!(got == expected, "seed {seed}");
            assert!(output.is_empty() && output.tail.capacity() == 0 && output.pieces.is_none());
        }
    }

    #[test]
    fn what_waits_takes_no_more_memory_than_it_needs() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (mut output, mut pool) = (Output::default(), Pool::default());
        (0..100).for_each(|_| pool.give(Vec::with_capacity(POOLED_BYTES_MAX)));
        let payload = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..40 {
            output.push_shared(b"head", &payload, &mut pool);
        }
        assert!(matches!(output.write(&ours, &mut pool), Ok(Written::Part(_))));
        output.push(b"tail", &mut pool);
        assert!(matches!(output.write(&ours, &mut pool), Ok(Written::Part(0))));
        let copied = output.pieces.iter().flat_map(|pieces| pieces.iter()).map(|piece| match piece {
            Piece::Copied(bytes) => bytes.capacity(),
            Piece::Referenced(_) => 0,
        });
        assert!(copied.sum::<usize>() + output.tail.capacity() <= 41 * TRIM_FROM);
        assert_eq!(pool.free.len(), 100, "the large buffers are for others");
    }

    #[test]
    fn a_pool_keeps_small_buffers_and_bounds_what_it_keeps() {
        let mut pool = Pool::default();
        pool.give(Vec::with_capacity(POOLED_BYTES_MAX + 1));
        assert_eq!(pool.take().capacity(), 0);
        (0..1_000).for_each(|_| pool.give(Vec::with_capacity(POOLED_BYTES_MAX)));
        assert!(pool.bytes <= POOL_BYTES_MAX);
        assert_eq!(pool.take().capacity(), POOLED_BYTES_MAX);
    }
}
