//! The files that [`crate::auth`] is made of: read whole, and replaced in one step.

mod file;

pub use file::{NoFile, read, replace};
