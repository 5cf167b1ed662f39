//! The changes of one step, counted before the first is made, in bounded memory: what is too much for it waits in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;

use crate::store::settled::{Change, Tree};

/// Bytes of changes that wait in memory.
const HELD_BYTES: u64 = 8 << 20;
/// Bytes of changes in a batch, and changes in it.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_CHANGES: usize = 1_024;
/// What a change takes without its key and value.
const CHANGE_BYTES: u64 = 64;
/// Said instead of a value's length when the key is removed.
const REMOVED: u32 = u32::MAX;

/// How much there is to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) changes: u64,
    /// Keys and values.
    pub(super) bytes: u64,
}

/// Changes that wait, those in memory before those in the file.
#[derive(Debug)]
pub(super) struct Gathered {
    held: std::vec::IntoIter<Change>,
    /// The file, and how many changes are in it.
    spooled: Option<(BufReader<File>, u64)>,
    pub(super) size: Size,
}

impl Gathered {
    /// Takes all changes. `room` is asked now and then, and at the end, whether there is room for so many; the file that
    /// takes what does not fit into memory is without a name before anything is in it.
    ///
    /// # Errors
    /// When there is no room, or no way to write or read the file.
    pub(super) fn take(
        changes: &mut dyn Iterator<Item = Change>,
        spool: &Path,
        room: &dyn Fn(Size) -> io::Result<()>,
    ) -> io::Result<Self> {
        let (mut held, mut size, mut asked) = (Vec::new(), Size::default(), 0);
        let mut changes = changes.fuse();
        while size.bytes + size.changes * CHANGE_BYTES < HELD_BYTES {
            let Some(change) = changes.next() else { break };
            size.count(&change);
            held.push(change);
        }
        room(size)?;
        let mut spooled = None;
        for change in changes {
            let (file, count) = match &mut spooled {
                Some(spooled) => spooled,
                None => spooled.insert((BufWriter::with_capacity(256 << 10, nameless(spool)?), 0)),
            };
            size.count(&change);
            if size.bytes - asked > BATCH_BYTES {
                asked = size.bytes;
                room(size)?;
            }
            write(file, &change)?;
            *count += 1;
        }
        room(size)?;
        let spooled = spooled.map(|(file, count)| {
            let mut file = file.into_inner()?;
            file.rewind()?;
            Ok::<_, io::Error>((BufReader::with_capacity(256 << 10, file), count))
        });
        Ok(Self { held: held.into_iter(), spooled: spooled.transpose()?, size })
    }

    /// The next changes; none when there are no more.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn next_batch(&mut self) -> io::Result<Vec<Change>> {
        let (mut batch, mut size) = (Vec::new(), Size::default());
        while batch.len() < BATCH_CHANGES && size.bytes < BATCH_BYTES {
            let change = match (self.held.next(), &mut self.spooled) {
                (Some(change), _) => change,
                (None, Some((file, count))) if *count > 0 => {
                    *count -= 1;
                    read(file)?
                }
                _ => break,
            };
            size.count(&change);
            batch.push(change);
        }
        Ok(batch)
    }
}

impl Size {
    fn count(&mut self, change: &Change) {
        let value = change.value.as_ref().map_or(0, Bytes::len);
        self.changes += 1;
        self.bytes += (change.key.len() + value) as u64;
    }
}

/// A file that is gone with its descriptor.
fn nameless(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn write(file: &mut impl Write, Change { tree, key, value }: &Change) -> io::Result<()> {
    let length = |bytes: &Bytes| u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge);
    let value_length = value.as_ref().map_or(Ok(REMOVED), length)?;
    file.write_all(&[*tree as u8])?;
    file.write_all(&length(key)?.to_le_bytes())?;
    file.write_all(&value_length.to_le_bytes())?;
    file.write_all(key)?;
    file.write_all(value.as_deref().unwrap_or_default())
}

fn read(file: &mut impl Read) -> io::Result<Change> {
    let mut head = [0; 9];
    file.read_exact(&mut head)?;
    let [tree, k0, k1, k2, k3, v0, v1, v2, v3] = head;
    let tree = Tree::ALL.get(usize::from(tree)).ok_or(io::ErrorKind::InvalidData)?;
    let mut bytes = |length: u32| {
        let mut bytes = vec![0; length as usize];
        file.read_exact(&mut bytes).map(|()| Bytes::from(bytes))
    };
    let key = bytes(u32::from_le_bytes([k0, k1, k2, k3]))?;
    let value = match u32::from_le_bytes([v0, v1, v2, v3]) {
        REMOVED => None,
        length => Some(bytes(length)?),
    };
    Ok(Change { tree: *tree, key, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn changes(count: u64) -> impl Iterator<Item = Change> {
        (0..count).map(|number| {
            let tree = Tree::ALL[usize::try_from(number % 7).expect("small")];
            let value =
                (number % 3 > 0).then(|| Bytes::from(vec![7; usize::try_from(number % 200).expect("small")]));
            Change { tree, key: Bytes::copy_from_slice(&number.to_be_bytes()), value }
        })
    }

    #[test]
    fn what_does_not_fit_into_memory_comes_back_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for count in [0, 1, 5_000, 200_000] {
            let mut gathered =
                Gathered::take(&mut changes(count), &folder.path().join("spool"), &|_| Ok(())).expect("room");
            assert_eq!(gathered.spooled.is_some(), count == 200_000);
            assert_eq!(
                (gathered.size.changes, folder.path().read_dir().expect("a folder").count()),
                (count, 0)
            );
            let mut expected = changes(count);
            loop {
                let batch = gathered.next_batch().expect("readable");
                assert!(batch.len() <= BATCH_CHANGES);
                if batch.is_empty() {
                    break;
                }
                assert!(batch.into_iter().eq(expected.by_ref().take(BATCH_CHANGES)));
            }
            assert_eq!(expected.next(), None);
        }
    }

    #[test]
    fn room_is_asked_for_while_changes_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let asked = RefCell::new(Vec::new());
        let room = |size: Size| {
            asked.borrow_mut().push(size.changes);
            if size.changes > 150_000 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        };
        let refused = Gathered::take(&mut changes(400_000), &folder.path().join("spool"), &room);
        assert_eq!(refused.expect_err("no room").kind(), io::ErrorKind::StorageFull);
        let asked = asked.into_inner();
        assert!(asked.len() > 5 && asked.is_sorted() && *asked.last().expect("some") < 170_000, "{asked:?}");
    }
}
