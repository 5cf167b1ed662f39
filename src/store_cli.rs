//! `pantala store`: what an operator does with a store's folder.

use crate::Failure;
use crate::cli::{Settings, StoreAction, StoreFolder};
use pantala::store::{AtRest, FolderError, NoStore, Summary, Tree, answer_to, import_from, request_export};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// How often to look for a running broker's answer.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Does it.
///
/// # Errors
/// What went wrong, with the file or folder.
pub(crate) fn run(action: &StoreAction) -> Result<(), Failure> {
    match action {
        StoreAction::Verify(folder) => {
            let folder = folder_of(folder)?;
            let mut store = at_rest(&folder)?;
            let summary = store.verify().map_err(Failure::running)?;
            store.close().map_err(Failure::running)?;
            crate::print(&format!("{} is whole\n{}", folder.display(), shown(&summary)))
        }
        StoreAction::Stats(folder) => {
            let mut store = at_rest(&folder_of(folder)?)?;
            let summary = store.summary().map_err(Failure::running)?;
            store.close().map_err(Failure::running)?;
            crate::print(&shown(&summary))
        }
        StoreAction::Export { file, folder } => export(&folder_of(folder)?, file),
        StoreAction::Import { file, folder } => {
            let folder = folder_of(folder)?;
            import_from(&folder, file, crate::random()?).map_err(Failure::running)?;
            let mut store = at_rest(&folder)?;
            let summary = store.verify().map_err(Failure::running)?;
            store.close().map_err(Failure::running)?;
            crate::print(&shown(&summary))
        }
    }
}

fn folder_of(folder: &StoreFolder) -> Result<PathBuf, Failure> {
    match &folder.data {
        Some(data) => Ok(data.clone()),
        None => {
            let (config, _) = crate::settings_of(&Settings::of_file(folder.config.clone()))?;
            crate::run::folder_of(&config.store)
        }
    }
}

fn at_rest(folder: &Path) -> Result<AtRest, Failure> {
    AtRest::open(folder, crate::random()?).map_err(Failure::running)
}

/// Writes an export, or has the broker do it that has the store.
#[expect(clippy::disallowed_methods, reason = "no core runs here, and the broker answers by a file")]
fn export(folder: &Path, file: &Path) -> Result<(), Failure> {
    // The broker has a working folder of its own.
    let file = std::path::absolute(file).map_err(Failure::running)?;
    match AtRest::open(folder, crate::random()?) {
        Ok(store) => {
            store.export(&file).map_err(Failure::running)?;
            store.close().map_err(Failure::running)
        }
        Err(NoStore::Folder(FolderError::Locked { .. })) => {
            request_export(folder, &file).map_err(Failure::running)?;
            loop {
                match answer_to(folder).map_err(Failure::running)? {
                    Some(error) if error.is_empty() => return Ok(()),
                    Some(error) => {
                        return Err(Failure::running(format_args!("{}: {error}", file.display())));
                    }
                    None => sleep(LOOK_EVERY),
                }
            }
        }
        Err(error) => Err(Failure::running(error)),
    }
}

/// A line for each number.
fn shown(summary: &Summary) -> String {
    let Summary { sessions, subscriptions, queued_messages, queued_bytes, retained_messages, .. } = summary;
    let mut lines = format!(
        "sessions {sessions}\nsubscriptions {subscriptions}\nqueued messages {queued_messages}\n\
         queued bytes {queued_bytes}\nretained messages {retained_messages}\nposition {}\nbytes on disk {}\n",
        summary.stats.position, summary.bytes_on_disk,
    );
    for (tree, stats) in Tree::ALL.iter().zip(&summary.stats.trees) {
        let (name, bytes) = (tree.name(), stats.key_bytes + stats.value_bytes);
        lines.push_str(&format!("tree {name}: {} entries, {bytes} bytes\n", stats.entries));
    }
    lines
}
