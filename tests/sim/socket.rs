//! A TCP connection: two streams of bytes without any trace of what was written together.

use std::collections::VecDeque;

/// One connection between a client and the broker.
#[derive(Debug)]
pub(crate) struct Socket {
    /// From the client, on the way.
    up: VecDeque<u8>,
    /// From the broker, on the way.
    down: VecDeque<u8>,
    /// How much may be on the way to the client.
    window: usize,
    /// The client sends no more: after `up` comes the end.
    pub(crate) client_closed: bool,
    /// The broker sends no more: after `down` comes the end.
    pub(crate) broker_closed: bool,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes(Vec<u8>),
    Nothing,
    End,
}

impl Socket {
    pub(crate) fn new(window: usize) -> Self {
        Self {
            up: VecDeque::new(),
            down: VecDeque::new(),
            window,
            client_closed: false,
            broker_closed: false,
        }
    }

    /// The client writes. Clients never wait here: what the broker does not read is their own affair.
    pub(crate) fn client_writes(&mut self, bytes: &[u8]) {
        if !self.broker_closed {
            self.up.extend(bytes);
        }
    }

    /// The broker writes what fits; returns how much that was.
    pub(crate) fn broker_writes(&mut self, bytes: &[u8]) -> usize {
        if self.client_closed {
            return bytes.len();
        }
        let taken = bytes.len().min(self.window.saturating_sub(self.down.len()));
        self.down.extend(&bytes[..taken]);
        taken
    }

    /// Bytes on the way to the broker.
    pub(crate) fn upward(&self) -> usize {
        self.up.len()
    }

    /// From now on everything is taken at once.
    pub(crate) fn widen(&mut self) {
        self.window = usize::MAX;
    }

    /// The broker reads at most so many bytes.
    pub(crate) fn broker_reads(&mut self, most: usize) -> Read {
        take(&mut self.up, most, self.client_closed)
    }

    /// The client reads at most so many bytes.
    pub(crate) fn client_reads(&mut self, most: usize) -> Read {
        take(&mut self.down, most, self.broker_closed)
    }

    /// The client is gone, and what was on the way to it with it. Some of what it sent still arrives.
    pub(crate) fn client_vanishes(&mut self, arrives: usize) {
        self.client_closed = true;
        self.up.truncate(arrives);
        self.down.clear();
    }

    /// The broker is gone. What it sent still arrives.
    pub(crate) fn broker_closes(&mut self) {
        self.broker_closed = true;
        self.up.clear();
    }

    /// Whether nothing is on the way and nobody is about to notice an end.
    pub(crate) fn at_rest(&self) -> bool {
        self.up.is_empty() && self.down.is_empty() && !self.client_closed && !self.broker_closed
    }
}

fn take(stream: &mut VecDeque<u8>, most: usize, closed: bool) -> Read {
    if stream.is_empty() {
        return if closed { Read::End } else { Read::Nothing };
    }
    match stream.len().min(most) {
        0 => Read::Nothing,
        count => Read::Bytes(stream.drain(..count).collect()),
    }
}
