//! Who may come in, and do what there.

mod anonymous;
mod passwords;
