//! What an operator says about who may come in.

use crate::sasl;
use crate::types::Span;
use std::path::PathBuf;

/// Who is asked whether a client may come in, and what it may do then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// Who can log in with SCRAM-SHA-256 besides those whom password files name for it.
    pub users: sasl::Users,
    /// Who is asked about a name and a password, one after the other: the first that knows the user decides.
    pub back_ends: Vec<BackEndSettings>,
    /// How passwords are checked.
    pub logins: LoginSettings,
    /// The file that says what clients may do; without, they may do everything.
    pub acl: Option<PathBuf>,
}

impl AccessSettings {
    /// Whether nobody can prove who it is.
    pub fn knows_nobody(&self) -> bool {
        self.users.is_empty() && self.back_ends.is_empty()
    }
}

/// One who knows users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackEndSettings {
    /// A password file.
    PasswordFile(PathBuf),
    /// A password may be a token that one of these keys has signed.
    Tokens {
        /// A JSON Web Key Set.
        file: PathBuf,
        /// Whom a token has to come from, if that counts.
        issuer: Option<Box<str>>,
        /// Whom a token has to be for, if that counts.
        audience: Option<Box<str>>,
    },
    /// A service that is asked by HTTP.
    Http(HttpSettings),
}

/// A service that is asked by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where it is.
    pub url: Box<str>,
    /// How long it may take to answer; then nobody is let in.
    pub timeout: Span,
    /// Requests at once; further ones wait.
    pub connections_max: u16,
    /// How long a yes is good for.
    pub remembered: Span,
}

impl HttpSettings {
    /// One of which nothing but its URL is known.
    pub fn at(url: &str) -> Self {
        let (timeout, remembered) = (Span::from_millis(3_000), Span::from_secs(60));
        Self { url: url.into(), timeout, connections_max: 16, remembered }
    }
}

/// How passwords are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSettings {
    /// Threads that do it; `None` is one for two processors.
    pub threads: Option<u16>,
    /// Clients that wait for one of them; further ones are refused (0x89, before 5.0 return code 3).
    pub waiting_max: u32,
    /// How long a login that was right is not checked again.
    pub remembered: Span,
}

impl Default for LoginSettings {
    fn default() -> Self {
        Self { threads: None, waiting_max: 4_096, remembered: Span::from_secs(300) }
    }
}
