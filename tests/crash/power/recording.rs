//! What powercut.c writes, read back.

/// A file or folder that was opened: never the same number twice in a recording.
pub(crate) type Handle = u64;

/// One thing that was done below the folder. Paths are relative to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A file was opened, and made if it was not there.
    Open {
        handle: Handle,
        path: String,
        emptied: bool,
    },
    /// A folder was opened.
    OpenFolder {
        handle: Handle,
        path: String,
    },
    /// The file has `length` bytes afterwards: more than by the write alone where room was reserved before.
    Write {
        handle: Handle,
        offset: u64,
        data: Vec<u8>,
        length: u64,
    },
    /// Cut, or made longer with zeros.
    Length {
        handle: Handle,
        length: u64,
    },
    /// What was done to the file or the folder before this is on disk once the same number ends.
    SyncBegin {
        handle: Handle,
        number: u64,
        length: Option<u64>,
    },
    /// It is.
    SyncEnd {
        handle: Handle,
        number: u64,
    },
    /// It never will be: what was done before this number began is not on disk, and no later sync changes that.
    SyncFailed {
        handle: Handle,
        number: u64,
    },
    /// The same for everything, by a process of this number.
    SyncAllBegin {
        number: u64,
    },
    /// It is.
    SyncAllEnd {
        number: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    /// A file or an empty folder.
    Remove {
        path: String,
    },
    MakeFolder {
        path: String,
    },
}

/// Bytes of `struct header`.
const HEADER: usize = 40;

/// Reads a recording. A process that is killed may leave its last event in part: that one is left out, it had not returned.
pub(crate) fn events(mut recording: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((event, rest)) = event(recording) {
        events.push(event);
        recording = rest;
    }
    events
}

fn event(bytes: &[u8]) -> Option<(Event, &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let four = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let eight = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    let (handle, offset, size) = (eight(8), eight(16), eight(24));
    let length = (size != u64::MAX).then_some(size);
    let (path, rest) = rest.split_at_checked(usize::try_from(four(4)).ok()?)?;
    let (data, rest) = rest.split_at_checked(usize::try_from(eight(32)).ok()?)?;
    let path = String::from_utf8(path.to_vec()).expect("names that we give are UTF-8");
    let event = match (four(0), length) {
        (1, Some(_)) => Event::Open { handle, path, emptied: offset != 0 },
        (1, None) => Event::OpenFolder { handle, path },
        (2, Some(length)) => Event::Write { handle, offset, data: data.to_vec(), length },
        (3 | 4, Some(length)) => Event::Length { handle, length },
        (5, length) => Event::SyncBegin { handle, number: offset, length },
        (6, _) => Event::SyncEnd { handle, number: offset },
        (7, _) => {
            let (from, to) = path.split_once('\0').expect("two paths");
            Event::Rename { from: from.to_owned(), to: to.to_owned() }
        }
        (8, _) => Event::Remove { path },
        (9, _) => Event::MakeFolder { path },
        (10, _) => Event::SyncAllBegin { number: handle },
        (11, _) => Event::SyncAllEnd { number: handle },
        (12, _) => Event::SyncFailed { handle, number: offset },
        (op, _) => panic!("no operation has the number {op}"),
    };
    Some((event, rest))
}
