//! What the journal needs from a folder on a disk, and nothing more: [`Disk`] and [`DiskFile`].
//!
//! [`RealDisk`] is a folder of the machine. [`SimDisk`] is one in memory that knows what has reached the platter, so
//! that tests and the simulator can cut its power, fill it and make it fail, all from one seed.
//!
//! Names are single path components; there are no folders below the folder.

mod real;
mod sim;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io;

pub use self::real::{FolderError, RealDisk, RealFile, free_bytes};
pub use self::sim::{SimDisk, SimFile};

/// One folder of files that belongs to this process alone.
pub trait Disk: Debug + Send {
    /// An open file of this folder.
    type File: DiskFile;

    /// Makes a new file of `length` zero bytes whose blocks are reserved: writing inside it does not meet a full disk.
    ///
    /// Fails with [`io::ErrorKind::StorageFull`] when there is no room; then nothing is left behind. Neither the file
    /// nor its name is on disk before [`DiskFile::sync_data`] and [`Disk::sync_folder`].
    fn create(&self, name: &str, length: u64) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Takes the name away, and the file with it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives the file another name; a file that had it is replaced in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// The names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Puts names that were made, changed and taken away on the disk.
    fn sync_folder(&self) -> io::Result<()>;
}

/// An open file of a [`Disk`].
#[expect(clippy::len_without_is_empty, reason = "the length can fail, and nobody asks whether it is 0")]
pub trait DiskFile: Debug + Send {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Reads up to the end of `into` or of the file, whichever comes first; says how many bytes that were.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`; on disk only after [`DiskFile::sync_data`].
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Says that what is reserved from `offset` on, and reads as zeros, will be written soon. Where space is reserved
    /// without writing it, file systems note of each first write that it was made, and fdatasync waits for that note and
    /// with it for what others write: here it can be made for many writes at once.
    fn write_ahead(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let _ = (offset, length);
        Ok(())
    }

    /// Puts what was written on the disk (fdatasync).
    ///
    /// When it fails, nothing that was written since the last success may be taken for written, and asking again is no
    /// help: Linux forgets what it could not write, and the next call succeeds.
    fn sync_data(&mut self) -> io::Result<()>;
}
