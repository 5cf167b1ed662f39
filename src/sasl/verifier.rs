//! What a server keeps of a password: enough to check who knows it, too little to log in anywhere with it.

use super::{BASE64, Digest, Secret, hmac};
use base64::Engine;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Iterations for a new password: what RFC 7677 wants at least; a client pays them at each login.
pub const ITERATIONS: u32 = 15_000;
/// Bytes of salt for a new password.
pub const SALT_BYTES: usize = 16;
/// Fewer iterations than this a client must not accept. [RFC 7677 4]
const ITERATIONS_MIN: u32 = 4_096;
/// More would keep a client busy for seconds.
const ITERATIONS_MAX: u32 = 10_000_000;

/// A salted and hashed password, in the form in which PostgreSQL keeps it too:
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the last three in Base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Box<[u8]>,
    pub(super) stored_key: Digest,
    pub(super) server_key: Digest,
}

/// A password that SASLprep does not allow. [RFC 4013]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password has characters that no password may have (SASLprep, RFC 4013)")]
pub struct BadPassword;

impl Verifier {
    /// Derives what to keep of a password. Takes as long as `iterations` say: some milliseconds at [`ITERATIONS`].
    ///
    /// # Errors
    /// A password with characters that no password may have.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Result<Self, BadPassword> {
        let password = stringprep::saslprep(password).map_err(|_| BadPassword)?;
        let mut salted = Digest::default();
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut salted);
        Ok(Self {
            iterations,
            salt: salt.into(),
            stored_key: Sha256::digest(hmac(&salted, &[b"Client Key"])).into(),
            server_key: hmac(&salted, &[b"Server Key"]),
        })
    }

    /// A verifier that nobody's password fits, the same each time for one secret and name, and like one of `users` in all
    /// that a client gets to see: what a name that does not exist is answered with, so that the answer does not tell.
    pub(super) fn decoy(secret: &Secret, name: &str, users: &Users) -> Self {
        let part = |what: &[u8], number: u8| hmac(&secret.0, &[what, &[number], name.as_bytes()]);
        let [pick, ..] = part(b"like", 0);
        let like = users.0.values().nth(usize::from(pick) % users.0.len().max(1));
        let salt_len = like.map_or(SALT_BYTES, |like| like.salt.len());
        Self {
            iterations: like.map_or(ITERATIONS, |like| like.iterations),
            salt: (0..=u8::MAX).flat_map(|block| part(b"salt", block)).take(salt_len).collect(),
            stored_key: part(b"stored", 0),
            server_key: part(b"server", 0),
        }
    }
}

impl fmt::Debug for Verifier {
    /// Without what is worth stealing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} iterations)", self.iterations)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }
}

/// Why a text is no verifier: reads on after "expected".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVerifier {
    /// Not its form.
    #[error("SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>")]
    Form,
    /// Not a number, or out of range.
    #[error("from 4096 to 10000000 iterations after SCRAM-SHA-256$")]
    Iterations,
    /// Not Base64, or empty.
    #[error("a salt in Base64")]
    Salt,
    /// Not Base64, or not as long as the keys of SHA-256.
    #[error("two keys of 32 bytes each in Base64")]
    Keys,
}

impl FromStr for Verifier {
    type Err = BadVerifier;

    fn from_str(text: &str) -> Result<Self, BadVerifier> {
        let rest = text.strip_prefix("SCRAM-SHA-256$").ok_or(BadVerifier::Form)?;
        let (head, keys) = rest.split_once('$').ok_or(BadVerifier::Form)?;
        let (iterations, salt) = head.split_once(':').ok_or(BadVerifier::Form)?;
        let (stored, server) = keys.split_once(':').ok_or(BadVerifier::Form)?;
        let key = |text: &str| -> Result<Digest, BadVerifier> {
            let bytes = BASE64.decode(text).map_err(|_| BadVerifier::Keys)?;
            bytes.try_into().map_err(|_| BadVerifier::Keys)
        };
        let salt = BASE64.decode(salt).ok().filter(|salt| !salt.is_empty()).ok_or(BadVerifier::Salt)?;
        let iterations: u32 = iterations.parse().map_err(|_| BadVerifier::Iterations)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(BadVerifier::Iterations);
        }
        Ok(Self { iterations, salt: salt.into(), stored_key: key(stored)?, server_key: key(server)? })
    }
}

/// Why a name is not added: reads on after "expected".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Clients' names are prepared before they are looked up, and preparing changes this one.
    #[error("a name without characters that SASLprep (RFC 4013) changes or forbids")]
    Unprepared,
    /// There is a user of that name.
    #[error("each user once")]
    Twice,
}

/// Who can log in: names, prepared as SASL wants them, and what is kept of their passwords.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<Box<str>, Verifier>);

impl Users {
    /// What is kept of a user's password.
    pub fn get(&self, name: &str) -> Option<&Verifier> {
        self.0.get(name)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// A name that no client could give, or that is there already.
    pub fn add(&mut self, name: &str, verifier: Verifier) -> Result<(), BadName> {
        let prepared = stringprep::saslprep(name).ok().filter(|prepared| !prepared.is_empty());
        if prepared.is_none_or(|prepared| prepared != name) {
            return Err(BadName::Unprepared);
        }
        if self.0.contains_key(name) {
            return Err(BadName::Twice);
        }
        self.0.insert(name.into(), verifier);
        Ok(())
    }

    /// All users, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Verifier)> {
        self.0.iter().map(|(name, verifier)| (&**name, verifier))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
