//! Who may come in, where it touches the outside world: the files that [`crate::auth`] is made of, and the threads that check
//! passwords.

mod desk;
mod file;
mod guard;
mod mail;
mod policy;
mod settings;

pub use desk::{Checkers, Desk, Job, Mail, Outcome, threads_by_default};
pub use file::{NoFile, read, replace};
pub use guard::{FAILED_LOGIN_COST, Full, Guard, Place, Places};
pub use mail::{Inbox, Outbox, mailbox};
pub use policy::{Fault, Faults, Hook, Policy, Said, Wrong};
pub use settings::{AccessSettings, BackEndSettings, HttpSettings, LoginSettings};
