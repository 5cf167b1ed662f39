//! A store as lines of text, to be carried to another database or version, and looking through a store.
//!
//! A dump is ASCII, a line for each entry, trees in the order of [`Tree::ALL`] and keys in theirs:
//!
//! ```text
//! pantala store 1 LAYOUT POSITION #CRC
//! TREE KEY VALUE #CRC
//! end ENTRIES #CRC
//! ```
//!
//! The 1 is this format's version, LAYOUT that of keys and values, POSITION the store's place in its journal,
//! which an import does not take over.
//! Keys and values are base64 with padding; `=` alone is an empty one. CRC is the CRC-32 (IEEE), in eight hexadecimal
//! digits, of everything from the dump's first byte up to the space before `#`: no line can be lost, doubled or moved.

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use crc32fast::Hasher;

use super::layout::LAYOUT;
use super::settled::{Change, Settled, Tree, each};

/// Entries, and bytes of their lines, that an import makes lasting at a time.
const IMPORT_ENTRIES: usize = 65_536;
const IMPORT_BYTES: usize = 8 << 20;
/// The longest line that is read: a message of MQTT's largest size and its key, in base64.
const LINE_BYTES_MAX: u64 = 512 << 20;
const FIRST: &str = "pantala store ";
/// The version of the lines that are written and read.
const VERSION: u64 = 1;
const EMPTY: &str = "=";
/// In [`Tree::Meta`] of a store while an import into it goes on: such a store is not opened.
pub(super) const IMPORTING_KEY: &[u8] = b"importing";

/// What is wrong with a dump.
#[derive(Debug, thiserror::Error)]
pub enum Damaged {
    /// The world's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is not what was written there.
    #[error("line {0}: damaged, or not an export of this version")]
    Line(u64),
    /// It is of a later version.
    #[error(
        "an export of version {version} with layout {layout}, and this program reads {VERSION} with {LAYOUT}"
    )]
    Newer {
        /// Of the lines.
        version: u64,
        /// Of what is in them.
        layout: u64,
    },
    /// The end is missing.
    #[error("line {0}: the export ends too early")]
    Short(u64),
    /// There is something in the store already.
    #[error("an import needs an empty store")]
    NotEmpty,
}

/// What is in a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeStats {
    /// Keys with their values.
    pub entries: u64,
    /// Of all keys.
    pub key_bytes: u64,
    /// Of all values.
    pub value_bytes: u64,
}

/// What is in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// By tree, in the order of [`Tree::ALL`].
    pub trees: [TreeStats; Tree::ALL.len()],
    /// How far in the journal it is.
    pub position: u64,
    /// What all that takes.
    pub bytes_on_disk: u64,
}

/// Reads everything and counts it.
///
/// # Errors
/// When something cannot be read.
pub fn stats(store: &dyn Settled) -> io::Result<Stats> {
    let mut stats =
        Stats { position: store.position(), bytes_on_disk: store.bytes_on_disk()?, ..Stats::default() };
    for tree in Tree::ALL {
        let counted = &mut stats.trees[tree.index()];
        each(store, tree, |key, value| {
            counted.entries += 1;
            counted.key_bytes += key.len() as u64;
            counted.value_bytes += value.len() as u64;
            Ok(())
        })?;
    }
    Ok(stats)
}

/// Reads everything, in order, and finds each entry again by its key.
///
/// # Errors
/// When something cannot be read, is out of order or is not found.
pub fn verify(store: &dyn Settled) -> io::Result<()> {
    for tree in Tree::ALL {
        each(store, tree, |key, value| {
            let found = store.get(tree, key)?;
            let same = found.as_ref() == Some(value);
            let why = || io::Error::new(io::ErrorKind::InvalidData, "a key is not where it should be");
            same.then_some(()).ok_or_else(why)
        })?;
    }
    Ok(())
}

/// Writes the whole store out.
///
/// # Errors
/// When something cannot be read or written.
pub fn export(store: &dyn Settled, to: &mut dyn Write) -> io::Result<()> {
    let (mut sum, mut entries) = (Hasher::new(), 0_u64);
    let mut line = |to: &mut dyn Write, text: &str| {
        sum.update(text.as_bytes());
        let end = format!(" #{:08x}\n", sum.clone().finalize());
        sum.update(end.as_bytes());
        to.write_all(text.as_bytes()).and_then(|()| to.write_all(end.as_bytes()))
    };
    line(to, &format!("{FIRST}{VERSION} {LAYOUT} {}", store.position()))?;
    for tree in Tree::ALL {
        each(store, tree, |key, value| {
            entries += 1;
            line(to, &format!("{} {} {}", tree.name(), encode(key), encode(value)))
        })?;
    }
    line(to, &format!("end {entries}"))?;
    to.flush()
}

/// Fills an empty store from an export, in bounded memory. Until the last entry there is a mark in it with which it does not
/// open: one whose import failed is to be thrown away. The export's position belongs to another journal: this one begins
/// anew.
///
/// # Errors
/// See [`Damaged`].
pub fn import(store: &mut dyn Settled, from: &mut dyn BufRead) -> Result<(), Damaged> {
    for tree in Tree::ALL {
        if store.position() != 0 || !store.scan(tree, &[], 1)?.is_empty() {
            return Err(Damaged::NotEmpty);
        }
    }
    let mut lines = Lines { from, sum: Hasher::new(), number: 0 };
    position(&lines.next()?)?;
    let mut chunk = vec![importing(Some(Bytes::new()))];
    let (mut bytes, mut entries) = (0, 0_u64);
    loop {
        let line = lines.next()?;
        let bad = Damaged::Line(lines.number);
        if let Some(count) = line.strip_prefix("end ") {
            if count.parse() != Ok(entries) || !lines.from.fill_buf()?.is_empty() {
                return Err(bad);
            }
            chunk.push(importing(None));
            return Ok(store.apply(&mut chunk.drain(..), 0)?);
        }
        let entry = entry(&line).ok_or(bad)?;
        bytes += line.len();
        chunk.push(entry);
        entries += 1;
        if chunk.len() >= IMPORT_ENTRIES || bytes >= IMPORT_BYTES {
            store.apply(&mut chunk.drain(..), 0)?;
            bytes = 0;
        }
    }
}

/// Puts the mark of an import that goes on, or takes it away.
fn importing(value: Option<Bytes>) -> Change {
    Change { tree: Tree::Meta, key: Bytes::from_static(IMPORTING_KEY), value }
}

/// The position in the first line, if it is of a version that can be read.
fn position(line: &str) -> Result<u64, Damaged> {
    let numbers = line.strip_prefix(FIRST).map(|rest| rest.split(' ').map(str::parse));
    let numbers: Option<Result<Vec<u64>, _>> = numbers.map(Iterator::collect);
    match numbers {
        Some(Ok(numbers)) => match numbers[..] {
            [VERSION, layout, position] if layout <= LAYOUT => Ok(position),
            [version, layout, ..] if version > VERSION || layout > LAYOUT => {
                Err(Damaged::Newer { version, layout })
            }
            _ => Err(Damaged::Line(1)),
        },
        _ => Err(Damaged::Line(1)),
    }
}

fn entry(line: &str) -> Option<Change> {
    let mut words = line.split(' ');
    let tree = Tree::named(words.next()?)?;
    let (key, value) = (decode(words.next()?)?, decode(words.next()?)?);
    words.next().is_none().then_some(Change { tree, key, value: Some(value) })
}

fn encode(bytes: &[u8]) -> String {
    if bytes.is_empty() { EMPTY.to_owned() } else { BASE64.encode(bytes) }
}

fn decode(text: &str) -> Option<Bytes> {
    if text == EMPTY { Some(Bytes::new()) } else { BASE64.decode(text).ok().map(Bytes::from) }
}

/// A dump's lines, with their checksums checked.
struct Lines<'a> {
    from: &'a mut dyn BufRead,
    sum: Hasher,
    number: u64,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<String, Damaged> {
        self.number += 1;
        let mut line = Vec::new();
        io::Read::take(&mut *self.from, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(Damaged::Short(self.number));
        }
        let bad = || Damaged::Line(self.number);
        let mut text = String::from_utf8(line).map_err(|_| bad())?;
        let (said, sum) = text.rsplit_once(" #").ok_or_else(bad)?;
        self.sum.update(said.as_bytes());
        if sum != format!("{:08x}\n", self.sum.clone().finalize()) {
            return Err(bad());
        }
        self.sum.update(&text.as_bytes()[said.len()..]);
        let length = said.len();
        text.truncate(length);
        Ok(text)
    }
}
