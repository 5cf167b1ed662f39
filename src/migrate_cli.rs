//! `pantala migrate`: what another broker kept, in the form that this one reads.

use crate::Failure;
use crate::cli::MigrateFrom;
use pantala::access;
use pantala::auth::mosca;
use std::path::Path;

/// Does it.
///
/// # Errors
/// What went wrong, with the file; that something could not be taken over.
pub(crate) fn run(from: &MigrateFrom) -> Result<(), Failure> {
    let MigrateFrom::Mosca { file, passwords, acl } = from;
    let bytes = access::read(file).map_err(|error| Failure::misconfigured(error.to_string()))?;
    let migrated =
        mosca::migrate(&bytes).map_err(|why| Failure::misconfigured(format!("{}: {why}", file.display())))?;
    for path in [passwords, acl] {
        refuse_existing(path)?;
    }
    for (path, text) in [(passwords, &migrated.passwords), (acl, &migrated.acl)] {
        access::replace(path, text.as_bytes()).map_err(Failure::running)?;
    }
    let users = if migrated.users == 1 { "1 user".to_owned() } else { format!("{} users", migrated.users) };
    crate::print(&format!("{users} in {}, what they may do in {}\n", passwords.display(), acl.display()))?;
    if migrated.left_out.is_empty() { Ok(()) } else { Err(crate::left_out(file, &migrated.left_out)) }
}

/// Somebody may have changed it since it was migrated.
fn refuse_existing(path: &Path) -> Result<(), Failure> {
    match path.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::running(format_args!("{}: is there already", path.display()))),
        Err(error) => Err(Failure::running(format_args!("{}: {error}", path.display()))),
    }
}
