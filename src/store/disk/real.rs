//! A folder of the machine, locked against other processes.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use super::{Disk, DiskFile};

/// Holds the pid of the process that has the folder.
const LOCK: &str = "lock";
/// How many zeros are written at once.
const ZEROS_MAX: usize = 1 << 20;

/// A folder that was made (mode 0700, files 0600) or found, and locked for as long as this lives.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    folder: File,
    /// The lock goes with its descriptor, also when the process is killed.
    _lock: File,
}

/// Why a folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it.
    #[error(
        "{} is in use by {}: stop that process first, or give this one a folder of its own",
        folder.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// Who has it; unknown while the other process is just starting.
        pid: Option<u32>,
    },
    /// It cannot be made or opened.
    #[error("{}: {error}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl RealDisk {
    /// Takes a folder for this process; makes it if it is not there (its parent has to be).
    ///
    /// # Errors
    ///
    /// See [`FolderError`].
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |error| FolderError::Io { folder: path.to_owned(), error };
        make_folder(path).map_err(failed)?;
        let folder = File::open(path).map_err(failed)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(failed)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                lock.read_to_string(&mut text).map_err(failed)?;
                return Err(FolderError::Locked { folder: path.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(error) => return Err(failed(error.into())),
        }
        write_pid(&mut lock).map_err(failed)?;
        Ok(Self { path: path.to_owned(), folder, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the folder and sees to it that its name lasts.
fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

impl Disk for RealDisk {
    type File = RealFile;

    fn create(&self, name: &str, length: u64) -> io::Result<RealFile> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        reserve(&file, length).inspect_err(|_| {
            // What could not be had whole is no use; that it could not be had is what the caller has to know.
            let _ = std::fs::remove_file(&path);
        })?;
        Ok(RealFile(file))
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name)).map(RealFile)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // A name that is not UTF-8 is none of ours.
                names.extend(entry.file_name().into_string().ok().filter(|name| name != LOCK));
            }
        }
        Ok(names)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.folder.sync_all()
    }
}

/// What is free for this process on a folder's file system.
///
/// # Errors
/// When the system does not say.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Gives a new file its blocks, by writing them where the file system has no other way.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, 0, length),
        result => Ok(result?),
    }
}

fn write_zeros(file: &File, offset: u64, length: u64) -> io::Result<()> {
    static ZEROS: [u8; ZEROS_MAX] = [0; ZEROS_MAX];
    let (mut at, end) = (offset, offset + length);
    while at < end {
        let part = usize::try_from(end - at).map_or(ZEROS_MAX, |left| left.min(ZEROS_MAX));
        file.write_all_at(&ZEROS[..part], at)?;
        at += part as u64;
    }
    Ok(())
}

/// A file of a [`RealDisk`].
#[derive(Debug)]
pub struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < into.len() {
            match self.0.read_at(&mut into[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn write_ahead(&mut self, offset: u64, length: u64) -> io::Result<()> {
        write_zeros(&self.0, offset, length)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_written_where_blocks_cannot_be_reserved() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = File::create(folder.path().join("a")).expect("a file");
        write_zeros(&file, 0, ZEROS_MAX as u64 + 7).expect("room");
        assert_eq!(file.metadata().expect("metadata").len(), ZEROS_MAX as u64 + 7);
        assert!(std::fs::read(folder.path().join("a")).expect("a file").iter().all(|byte| *byte == 0));
    }
}
