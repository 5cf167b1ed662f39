//! Files of an operator: small, read whole, and replaced in one step so that no reader sees half of one.

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, fsync, open, openat, renameat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A larger file is not one that an operator meant.
const BYTES_MAX: u64 = 64 << 20;
/// Of a new file: what is in it is for its owner alone.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Why a file could not be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum NoFile {
    /// The system says why.
    #[error("{path}: {error}", path = .path.display())]
    System {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// More than anybody writes.
    #[error("{path}: larger than {BYTES_MAX} bytes", path = .0.display())]
    Large(PathBuf),
    /// Replacing it would take the link away, or write to a file that belongs to somebody else.
    #[error("{path}: not a regular file; name the file itself", path = .0.display())]
    Irregular(PathBuf),
}

impl NoFile {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::System { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}

/// A file's bytes.
///
/// # Errors
/// A file that cannot be read, or that is too large to be one of these.
pub fn read(path: &Path) -> Result<Vec<u8>, NoFile> {
    let system = |error| NoFile::System { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(system)?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(system)?;
    if bytes.len() as u64 > BYTES_MAX { Err(NoFile::Large(path.to_owned())) } else { Ok(bytes) }
}

/// Puts a file with these bytes in the place of another: whoever opens it sees all of the old one or all of the new one,
/// also after a power cut. Mode and owner stay; a new file is readable and writable for its owner alone.
///
/// # Errors
/// A file that cannot be written; the old one is as it was then.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), NoFile> {
    let old = match std::fs::symlink_metadata(path) {
        Ok(old) if !old.is_file() => return Err(NoFile::Irregular(path.to_owned())),
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(NoFile::System { path: path.to_owned(), error }),
    };
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = folder.join(name);
    let written = write(&new, old.as_ref(), bytes).and_then(|()| {
        renameat(CWD, &new, CWD, path)?;
        // The name is safe when the folder is.
        fsync(open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)?;
        Ok(())
    });
    written.map_err(|error| {
        let _ = std::fs::remove_file(&new);
        NoFile::System { path: path.to_owned(), error }
    })
}

/// Writes a new file. It is its owner's alone until it belongs to whom the old one belongs to, so nobody reads what the old
/// mode kept from them.
fn write(path: &Path, old: Option<&std::fs::Metadata>, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(CWD, path, flags, MODE) {
        // A run that was ended before left it, under a process id that has come round.
        Err(Errno::EXIST) => {
            std::fs::remove_file(path)?;
            openat(CWD, path, flags, MODE)?
        }
        opened => opened?,
    };
    if let Some(old) = old {
        let now = rustix::fs::fstat(&file)?;
        if (now.st_uid, now.st_gid) != (old.uid(), old.gid()) {
            fchown(&file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
        }
        fchmod(&file, Mode::from_raw_mode(old.mode()))?;
    }
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, metadata, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone() {
        let folder = folder();
        let path = folder.path().join("users");
        replace(&path, b"a").expect("written");
        assert_eq!(read(&path).expect("read"), b"a");
        assert_eq!(metadata(&path).expect("there").mode() & 0o7777, 0o600);
    }

    #[test]
    fn mode_and_owner_outlive_the_old_file() {
        let folder = folder();
        let path = folder.path().join("users");
        std::fs::write(&path, "old").expect("written");
        set_permissions(&path, Permissions::from_mode(0o640)).expect("allowed");
        // Only root may give a file away.
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(12_345), Some(54_321)).expect("allowed");
        }
        let before = metadata(&path).expect("there");
        replace(&path, b"new").expect("written");
        let after = metadata(&path).expect("there");
        assert_eq!(read(&path).expect("read"), b"new");
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino(), "a reader of the old file keeps it");
    }

    #[test]
    fn nothing_is_left_of_a_file_that_could_not_be_put_in_place() {
        let folder = folder();
        let path = folder.path().join("users");
        std::fs::create_dir(&path).expect("made");
        assert!(matches!(replace(&path, b"a"), Err(NoFile::Irregular(_))));
        let link = folder.path().join("link");
        symlink("elsewhere", &link).expect("made");
        assert!(matches!(replace(&link, b"a"), Err(NoFile::Irregular(_))));
        assert!(replace(&folder.path().join("none/users"), b"a").expect_err("no folder").is_missing());
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 2);
    }
}
