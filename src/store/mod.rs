//! What outlives the process: the settled state, in named trees of keys and values.
//!
//! Runs on: ordinary threads of its own, never on a core, because everything here may block for as long as a disk does.
//! A [`Journal`] in front makes single changes durable; at a checkpoint their net effect is applied here in one go,
//! together with the journal's position, so that after a crash the journal is replayed from exactly there
//! ([`Settled::apply`]). The journal's files are on a [`Disk`], of which there is a simulated one that loses power,
//! fills up and fails.
//!
//! Only `store/sled/` knows which database this is.

mod core;
mod delta;
mod disk;
mod dump;
mod elision;
mod group;
mod journal;
mod layout;
mod open;
mod read;
mod record;
mod settle;
mod settled;
mod sled;
mod spent;
mod sweep;

pub use self::core::{Checkpoint, OpenFailure, Options, Refusing, Store};
pub use self::disk::{Disk, DiskFile, FolderError, RealDisk, RealFile, SimDisk, SimFile, free_bytes};
pub use self::dump::{Damaged, Stats, TreeStats, export, import, stats, verify};
pub use self::journal::{
    Cut, Group, Journal, JournalError, JournalOptions, Position, Recovery, RecoveryStats, Refusal, SyncMode,
    recover,
};
pub use self::open::{
    AtRest, NoStore, Parts, Summary, answer, answer_to, export_to, import_from, open, request_export,
    take_request,
};
pub use self::read::{PageRead, Reading};
pub use self::record::BadRecord;
pub use self::settled::{Change, Entry, Lasting, MemorySettled, Settled, Tree};
pub use self::sled::{OpenError, SledOptions, SledSettled};
pub use self::spent::Spent;
pub use self::sweep::Sweep;
