//! Mosquitto's password file: who is known, and what is kept of each password.
//!
//! ```text
//! # a comment; empty lines are skipped as well
//! ann:$argon2id$v=19$m=47104,t=1,p=1$<salt>$<hash>
//! bob:$7$101$<salt>$<hash>
//! cara:$argon2id$...$<hash>:SCRAM-SHA-256$15000:<salt>$<StoredKey>:<ServerKey>
//! ```
//!
//! The file is read as `mosquitto_passwd` of any version writes it. One thing is added: behind a second colon a line may
//! hold the user's SCRAM-SHA-256 verifier. Mosquitto reads a line up to there and no further, so one file serves both
//! brokers; and whatever replaces a user's line because the password changed, `mosquitto_passwd` included, takes the verifier
//! of the old password away with it, which a line of its own would outlive.
//!
//! Mosquitto leaves out the lines that it cannot read. Here each of them is a mistake with its line, because a user who
//! cannot log in should be found out about when the file is read; one run names all of them.

mod edit;
mod hash;

pub use edit::{BadUserName, remove, set, user_name};
pub use hash::{BadHash, PasswordHash, SALT_BYTES};

use crate::sasl::{BadName, BadVerifier, Verifier};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

/// What a password file says.
#[derive(Clone, Debug, Default)]
pub struct PasswordFile {
    users: BTreeMap<Box<str>, Entry>,
}

/// What is kept of one user.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The line that says so, from 1.
    pub line: usize,
    /// For whoever shows the password.
    pub password: PasswordHash,
    /// For whoever proves with SCRAM-SHA-256 that they know it.
    pub scram: Option<Verifier>,
}

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Bytes that are no text.
    #[error("not UTF-8")]
    NotText,
    /// No name stands before a colon.
    #[error("expected NAME:HASH; a comment starts with #")]
    Form,
    /// A name that no client can have.
    #[error("expected {0}")]
    Name(BadUserName),
    /// A password that stands there as it is, or in a form that is not known.
    #[error("user {user:?}: expected {why}")]
    Hash {
        /// Whose.
        user: Box<str>,
        /// What is wrong with it.
        why: BadHash,
    },
    /// What stands behind the second colon.
    #[error("user {user:?}: expected {why}")]
    Scram {
        /// Whose.
        user: Box<str>,
        /// What is wrong with it.
        why: BadVerifier,
    },
    /// A verifier for a name that no client of SCRAM can send.
    #[error("user {user:?}: expected {why}")]
    ScramName {
        /// Whose.
        user: Box<str>,
        /// What is wrong with it.
        why: BadName,
    },
    /// A name that an earlier line has.
    #[error("user {user:?} stands in line {first} already")]
    Twice {
        /// Whose.
        user: Box<str>,
        /// The earlier line.
        first: usize,
    },
}

impl PasswordFile {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// Everything that is wrong with them, in the file's order.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<Mistake>> {
        let (mut file, mut mistakes) = (Self::default(), Vec::new());
        for (line, bytes) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            if let Err(problem) = file.line(line, bytes) {
                mistakes.push(Mistake { line, problem });
            }
        }
        if mistakes.is_empty() { Ok(file) } else { Err(mistakes) }
    }

    fn line(&mut self, line: usize, bytes: &[u8]) -> Result<(), Problem> {
        let text = str::from_utf8(bytes).map_err(|_| Problem::NotText)?.trim_end();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let (name, kept) = text.split_once(':').ok_or(Problem::Form)?;
        let user: Box<str> = user_name(name.trim()).map_err(Problem::Name)?.into();
        let (password, scram) =
            kept.split_once(':').map_or((kept, None), |(hash, scram)| (hash, Some(scram)));
        let password = password.trim().parse().map_err(|why| Problem::Hash { user: user.clone(), why })?;
        let scram = scram.map(|text| scram_of(&user, text.trim())).transpose()?;
        match self.users.entry(user) {
            Slot::Occupied(known) => {
                Err(Problem::Twice { user: known.key().clone(), first: known.get().line })
            }
            Slot::Vacant(new) => {
                new.insert(Entry { line, password, scram });
                Ok(())
            }
        }
    }

    /// What is kept of a user.
    pub fn get(&self, user: &str) -> Option<&Entry> {
        self.users.get(user)
    }

    /// All users, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Entry)> {
        self.users.iter().map(|(name, entry)| (&**name, entry))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

fn scram_of(user: &str, text: &str) -> Result<Verifier, Problem> {
    let verifier: Verifier = text.parse().map_err(|why| Problem::Scram { user: user.into(), why })?;
    let known = crate::sasl::Users::default().add(user, verifier.clone());
    known.map_err(|why| Problem::ScramName { user: user.into(), why })?;
    Ok(verifier)
}

#[cfg(test)]
mod tests;
