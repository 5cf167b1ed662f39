//! Who may come in ([`Users`], from files that [`password`] reads, or by a [`token`]) and what they may do ([`acl`]), as plain data and functions.
//!
//! Nothing here reads a file or a clock or draws a random number: texts, salts and moments are handed in, so that files can
//! be checked whole before anything is swapped, and every decision can be replayed in a test. Reading and writing the files
//! is the business of [`crate::access`].

pub mod acl;
pub mod mosca;
pub mod password;
pub mod token;

mod admitted;
mod remembered;
mod users;

pub use admitted::Admitted;
pub use remembered::{Proof, Remembered};
pub use users::{Answer, Users};
