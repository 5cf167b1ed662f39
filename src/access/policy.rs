//! The files of an operator, read and ready to be asked.

use super::{AccessSettings, BackEndSettings, HttpSettings, NoFile, read};
use crate::auth::acl::{self, Acl};
use crate::auth::password::{self, PasswordFile, PasswordHash};
use crate::auth::token::{self, BadKeys, Pass, Tokens};
use crate::auth::{Admitted, Answer, Users};
use crate::sasl::{self, Secret};
use crate::types::{HashSeed, Span};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;

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
    /// Keys of those who sign tokens.
    Tokens(Tokens),
    /// A service.
    Http(Hook),
}

/// A service that is asked by HTTP.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Where it is, and how it is asked.
    pub settings: HttpSettings,
    /// What each request that is under way has one of.
    pub permits: Arc<Semaphore>,
}

/// What the back ends say to a name and a password.
#[derive(Debug)]
pub enum Said {
    /// Who it is, or why it is not let in; a yes is good for so long.
    Answer(Result<(Admitted, Span), Wrong>),
    /// So much as the back end of this number, a service, says; with those before it the question is settled.
    Ask(usize),
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
    /// The password is a token, and not a good one.
    #[error("token: {0}")]
    Token(token::Refused),
    /// A service says no.
    #[error("{0} refuses it")]
    Hook(Box<str>),
    /// A service says nothing that can be used, which is a no.
    #[error("{url} does not say: {why}")]
    Silent {
        /// The service.
        url: Box<str>,
        /// What happened.
        why: Box<str>,
    },
    /// As many questions wait for services as may.
    #[error("too many other logins wait for a service that is asked by HTTP")]
    Full,
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
    /// A file of keys.
    #[error("{path}: {why}", path = .path.display())]
    Keys {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: BadKeys,
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
            let other = match back_end {
                BackEndSettings::PasswordFile(path) => {
                    match passwords(path) {
                        Ok(file) => files.push(file),
                        Err(found) => faults.extend(found),
                    }
                    continue;
                }
                BackEndSettings::Tokens { file, issuer, audience } => {
                    match keys(file, issuer.as_deref(), audience.as_deref()) {
                        Ok(tokens) => BackEnd::Tokens(tokens),
                        Err(fault) => {
                            faults.push(fault);
                            continue;
                        }
                    }
                }
                BackEndSettings::Http(settings) => {
                    let permits = Arc::new(Semaphore::new(settings.connections_max.into()));
                    BackEnd::Http(Hook { settings: settings.clone(), permits })
                }
            };
            // Files with nothing between them are asked together, so that a name costs the same whichever has it.
            back_ends.extend(of_files(std::mem::take(&mut files), &mut scram));
            back_ends.push(other);
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
        let entry = self.back_ends.iter().find_map(|back_end| match back_end {
            BackEnd::Passwords(users) => users.get(user),
            BackEnd::Tokens(_) | BackEnd::Http(_) => None,
        });
        entry.map(|entry| &entry.password)
    }

    /// Whether a name and a password mean nothing here.
    pub fn takes_no_passwords(&self) -> bool {
        self.back_ends.is_empty()
    }

    /// Whether a name and a password are let in, as far as the back ends from the one of number `from` on can tell without
    /// waiting for others. Takes what hashing takes. `now` is in seconds since 1970.
    pub fn ask(&self, from: usize, user: &str, password: &[u8], now: u64) -> Said {
        for (at, back_end) in self.back_ends.iter().enumerate().skip(from) {
            let answer = match back_end {
                BackEnd::Passwords(users) => match users.check(user, password, &self.secret) {
                    Answer::Right => Ok((Admitted::named(user), Span(u64::MAX))),
                    Answer::Wrong => Err(Wrong::Password),
                    Answer::Unknown => continue,
                },
                BackEnd::Tokens(_) if !Tokens::is_token(password) => continue,
                BackEnd::Tokens(tokens) => tokens.check(password, now).map(of_pass).map_err(Wrong::Token),
                BackEnd::Http(_) => return Said::Ask(at),
            };
            return Said::Answer(answer);
        }
        Said::Answer(Err(Wrong::User))
    }

    /// The service of this number.
    pub fn hook(&self, at: usize) -> Option<&Hook> {
        match self.back_ends.get(at) {
            Some(BackEnd::Http(hook)) => Some(hook),
            _ => None,
        }
    }
}

/// A token is good until it expires.
fn of_pass(pass: Pass) -> (Admitted, Span) {
    let Pass { user, expires, granted } = pass;
    (Admitted { user, expires: Some(expires), granted }, Span(u64::MAX))
}

fn keys(path: &Path, issuer: Option<&str>, audience: Option<&str>) -> Result<Tokens, Fault> {
    let bytes = read(path)?;
    Tokens::parse(&bytes, issuer, audience).map_err(|why| Fault::Keys { path: path.to_owned(), why })
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
