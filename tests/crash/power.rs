//! Power cuts: what the broker does to its files is recorded, and after it was killed the folder is made what a disk would
//! have that lost its power in that moment.
//!
//! What a completed fsync or fdatasync covered is there, and so are names that a sync of their folder covered. Of all else
//! anything may be there: whole, torn in sectors of 512 bytes, or not at all. See powercut.c and [`disk::Disk::cut`].

mod disk;
mod recording;
#[cfg(test)]
mod tests;

pub(crate) use disk::Cut;
use disk::{Disk, Tree};
use pantala::types::Rng;
use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What a sync takes longer than the disk below needs: about what a good one takes.
const SYNC_US: u64 = 1_000;

/// The compiled recorder, and the disk that it records for.
#[derive(Debug)]
pub(crate) struct Shim {
    library: PathBuf,
    _folder: TempDir,
    disk: RefCell<Disk>,
}

impl Shim {
    /// For one folder that does not exist yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let library = folder.path().join("powercut.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/powercut.c");
        let output = Command::new("cc")
            .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .output()
            .expect("a C compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { library, _folder: folder, disk: RefCell::default() }
    }

    /// Has a command record what it does to the folder `data`, whose parent exists, in a new file `recording`.
    pub(crate) fn record(&self, command: &mut Command, data: &Path, recording: &Path) {
        if let Err(error) = fs::remove_file(recording) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
        command.env("LD_PRELOAD", &self.library).env("POWERCUT_DIR", data).env("POWERCUT_LOG", recording);
        command.env("POWERCUT_SYNC_US", SYNC_US.to_string()).env("POWERCUT_FAIL", self.order());
    }

    /// Has the next sync of a file fail whose path has this in it, in whatever is recorded by then.
    #[allow(dead_code, reason = "this module is part of two test programs, and one of them asks")]
    pub(crate) fn fail_sync(&self, of: &str) {
        let whole = self.order().with_extension("part");
        fs::write(&whole, of).and_then(|()| fs::rename(whole, self.order())).expect("a small file");
    }

    /// Whether it has failed.
    #[allow(dead_code, reason = "this module is part of two test programs, and one of them asks")]
    pub(crate) fn has_failed(&self) -> bool {
        !self.order().exists()
    }

    fn order(&self) -> PathBuf {
        self.library.with_file_name("fail")
    }

    fn play(&self, recording: &Path) {
        // A process that ended at once recorded nothing.
        let bytes = fs::read(recording).unwrap_or_default();
        self.disk.borrow_mut().play(recording::events(&bytes));
    }

    /// Makes the folder of a process that was killed what is left of it after a power cut in that moment.
    pub(crate) fn cut(&self, data: &Path, recording: &Path, rng: &mut Rng) -> Cut {
        self.play(recording);
        let cut = self.disk.borrow_mut().cut(rng);
        if data.exists() {
            fs::remove_dir_all(data).expect("it is ours");
        }
        write(data, &self.disk.borrow().tree());
        cut
    }

    /// Compares the folder of a process that ended with the recording: the paths where they are not the same. Such a file
    /// was written past the recorder. A file may have more zeros at its end: room that was reserved and never used.
    #[allow(dead_code, reason = "this module is part of two test programs, and one of them asks")]
    pub(crate) fn unlike(&self, data: &Path, recording: &Path) -> Vec<String> {
        self.play(recording);
        let (recorded, mut found) = (self.disk.borrow().tree(), Tree::new());
        read(data, "", &mut found);
        let paths = recorded.keys().chain(found.keys().filter(|path| !recorded.contains_key(*path)));
        paths.filter(|path| !alike(recorded.get(*path), found.get(*path))).cloned().collect()
    }
}

fn alike(recorded: Option<&Option<Vec<u8>>>, found: Option<&Option<Vec<u8>>>) -> bool {
    match (recorded, found) {
        (Some(Some(recorded)), Some(Some(found))) => found
            .split_at_checked(recorded.len())
            .is_some_and(|(same, more)| same == recorded && more.iter().all(|byte| *byte == 0)),
        (recorded, found) => recorded == found,
    }
}

fn folder(path: &Path) {
    fs::DirBuilder::new().mode(0o700).create(path).expect("a folder");
}

/// Folders come before what is in them: their paths are shorter.
fn write(data: &Path, tree: &Tree) {
    folder(data);
    for (path, content) in tree {
        let path = data.join(path);
        match content {
            None => folder(&path),
            Some(bytes) => {
                let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                std::io::Write::write_all(file.as_mut().expect("a file"), bytes).expect("room");
            }
        }
    }
}

fn read(folder: &Path, prefix: &str, tree: &mut Tree) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = format!("{prefix}{}", entry.file_name().to_str().expect("UTF-8"));
        if entry.file_type().expect("a type").is_dir() {
            read(&entry.path(), &format!("{path}/"), tree);
            tree.insert(path, None);
        } else {
            tree.insert(path, Some(fs::read(entry.path()).expect("a file")));
        }
    }
}
