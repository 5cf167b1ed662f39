//! The files of an operator, read and ready to be asked.

use super::{AccessSettings, BackEndSettings, NoFile, read};
use crate::auth::acl::{self, Acl};
use crate::auth::password::{self, PasswordFile, PasswordHash};
use crate::auth::{Admitted, Answer, Users};
use crate::sasl::{self, Secret};
use crate::types::HashSeed;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Who may come in, as it stands in the files at one moment. It is never changed; another one takes its place.
#[derive(Debug)]
pub struct Policy {
    /// Counts the policies of this run.
    generation: u64,
    back_ends: Vec<BackEnd>,
    scram: Arc<sasl::Users>,
    acl: Option<Arc<Acl>>,
    /// What names that nobody has are measured by.
    secret: Secret,
}

/// One who is asked about a name and a password.
#[derive(Debug)]
enum BackEnd {
    /// Password files without another back end between them.
    Passwords(Users),
}

/// Why a name and a password are not let in. For the log: a client is told nothing but that they are wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The user is known.
    #[error("wrong password")]
    Password,
    /// Nobody knows the user.
    #[error("no such user")]
    User,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error(transparent)]
    Unread(#[from] NoFile),
    /// A line of an ACL file.
    #[error("{path}: {mistake}", path = .path.display())]
    Acl {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        mistake: acl::Mistake,
    },
    /// A line of a password file.
    #[error("{path}: {mistake}", path = .path.display())]
    Password {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        mistake: password::Mistake,
    },
}

/// Everything that is wrong with the files.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<Fault>);

impl Policy {
    /// Reads all files.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(
        settings: &AccessSettings,
        generation: u64,
        secret: Secret,
        seed: HashSeed,
    ) -> Result<Self, Faults> {
        let (mut back_ends, mut faults) = (Vec::new(), Vec::new());
        let mut scram = settings.users.clone();
        let mut files = Vec::new();
        for back_end in &settings.back_ends {
            match back_end {
                BackEndSettings::PasswordFile(path) => match passwords(path) {
                    Ok(file) => files.push(file),
                    Err(found) => faults.extend(found),
                },
            }
        }
        back_ends.extend(of_files(files, &mut scram));
        let acl = settings.acl.as_deref().map(|path| rules(path, generation, seed)).transpose();
        let acl = acl.unwrap_or_else(|found| {
            faults.extend(found);
            None
        });
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        Ok(Self { generation, back_ends, scram: Arc::new(scram), acl, secret })
    }

    /// Reads all files and forgets them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check_files(settings: &AccessSettings) -> Result<(), Faults> {
        Self::load(settings, 0, Secret([0; 32]), HashSeed(0)).map(drop)
    }

    /// Who can log in with SCRAM-SHA-256.
    pub fn scram(&self) -> &Arc<sasl::Users> {
        &self.scram
    }

    /// What clients may do; everything without.
    pub fn acl(&self) -> Option<&Arc<Acl>> {
        self.acl.as_ref()
    }

    /// Which policy of this run it is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a user that could log in under an earlier policy cannot any more, or with other proof only.
    pub fn revokes(&self, earlier: &Self, user: &str) -> bool {
        self.password(user) != earlier.password(user) || self.scram.get(user) != earlier.scram.get(user)
    }

    fn password(&self, user: &str) -> Option<&PasswordHash> {
        let entries = self.back_ends.iter().map(|BackEnd::Passwords(users)| users.get(user));
        entries.flatten().next().map(|entry| &entry.password)
    }

    /// Whether a name and a password mean nothing here.
    pub fn takes_no_passwords(&self) -> bool {
        self.back_ends.is_empty()
    }

    /// Whether a name and a password are let in. Takes what hashing takes.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, user: &str, password: &[u8]) -> Result<Admitted, Wrong> {
        for back_end in &self.back_ends {
            let BackEnd::Passwords(users) = back_end;
            match users.check(user, password, &self.secret) {
                Answer::Right => return Ok(Admitted::named(user)),
                Answer::Wrong => return Err(Wrong::Password),
                Answer::Unknown => {}
            }
        }
        Err(Wrong::User)
    }
}

/// Files that stand together, in their order. Those of their users who can are added to those of SCRAM.
fn of_files(files: Vec<PasswordFile>, scram: &mut sasl::Users) -> Option<BackEnd> {
    if files.is_empty() {
        return None;
    }
    let users = Users::new(files);
    for (name, verifier) in users.scram().iter() {
        // The settings, and files that stand before, speak for a user first.
        let _ = scram.add(name, verifier.clone());
    }
    Some(BackEnd::Passwords(users))
}

fn passwords(path: &Path) -> Result<PasswordFile, Vec<Fault>> {
    let bytes = read(path).map_err(|error| vec![error.into()])?;
    PasswordFile::parse(&bytes).map_err(|mistakes| {
        let fault = |mistake| Fault::Password { path: path.to_owned(), mistake };
        mistakes.into_iter().map(fault).collect()
    })
}

fn rules(path: &Path, generation: u64, seed: HashSeed) -> Result<Arc<Acl>, Vec<Fault>> {
    let bytes = read(path).map_err(|error| vec![error.into()])?;
    Acl::parse(&bytes, generation, seed).map(Arc::new).map_err(|mistakes| {
        let fault = |mistake| Fault::Acl { path: path.to_owned(), mistake };
        mistakes.into_iter().map(fault).collect()
    })
}
