//! One salted and hashed password, in each of the forms that a password file can have.
//!
//! ```text
//! $argon2id$v=19$m=47104,t=1,p=1$<salt>$<hash>   what is written here, and by Mosquitto from 2.1 on
//! $7$<iterations>$<salt>$<hash>                  PBKDF2 with SHA-512; Mosquitto 1.6 to 2.0
//! $6$<salt>$<hash>                               SHA-512 of password and salt, once; Mosquitto before 1.6
//! $pbkdf2-sha1$i=<iterations>$<salt>$<hash>      what an import from Mosca leaves behind
//! ```
//!
//! Salts and hashes are in Base64: padded in Mosquitto's own two forms, without padding in the two others, as the PHC string
//! format has it.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha1::Sha1;
use sha2::{Digest, Sha512};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// Bytes of salt for a new password.
pub const SALT_BYTES: usize = 16;
/// Memory for a new password: the first of the settings that OWASP gives for Argon2id (46 MiB, one pass, one lane), and
/// Mosquitto's. A login costs some tens of milliseconds of one core.
const MEMORY_KIB: u32 = 46 << 10;
/// Passes over that memory for a new password.
const PASSES: u32 = 1;
/// Bytes of a new hash.
const HASH_BYTES: usize = 32;

/// More would let one login fill the memory of a small host.
const MEMORY_KIB_MAX: u32 = 1 << 20;
/// More would keep a core busy for a minute.
const PASSES_MAX: u32 = 100;
/// More would keep a core busy for some ten seconds.
const ITERATIONS_MAX: u32 = 10_000_000;
/// Longer salts and hashes are nobody's.
const BYTES_MAX: usize = 1_024;

/// A password as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    scheme: Scheme,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

/// How a password and its salt become a hash, from the cheapest to the costliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Sha512,
    Pbkdf2Sha1 { iterations: u32 },
    Pbkdf2Sha512 { iterations: u32 },
    Argon2id { memory_kib: u32, passes: u32, lanes: u32 },
}

/// Why a text is no hash of a password: reads on after "expected".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// None of the forms.
    #[error("$argon2id$..., $7$... or $6$... after the colon, as mosquitto_passwd and pantala user write it")]
    Form,
    /// A form whose parts are missing, or are too many.
    #[error("{0}")]
    Parts(&'static str),
    /// Out of range.
    #[error("from 1 to {ITERATIONS_MAX} iterations")]
    Iterations,
    /// Out of range.
    #[error("m from 8 to {MEMORY_KIB_MAX} (KiB) and 8 times p, t from 1 to {PASSES_MAX}, p from 1 to 255")]
    Argon2,
    /// Not Base64, or empty.
    #[error("a salt in Base64, of at most {BYTES_MAX} bytes")]
    Salt,
    /// Argon2 wants more of it.
    #[error("a salt of at least 8 bytes for argon2id")]
    ShortSalt,
    /// Not Base64, or of a length that the form does not have.
    #[error("a hash in Base64, as long as its form makes them")]
    Hash,
}

impl PasswordHash {
    /// Hashes a new password with Argon2id. The salt has to be random.
    pub fn derive(password: &[u8], salt: &[u8; SALT_BYTES]) -> Self {
        let scheme = Scheme::Argon2id { memory_kib: MEMORY_KIB, passes: PASSES, lanes: 1 };
        let mut hash = [0; HASH_BYTES];
        scheme.hash(password, salt, &mut hash);
        Self { scheme, salt: salt[..].into(), hash: hash.into() }
    }

    /// What an import keeps of a password: PBKDF2 with SHA-1, whose hash may have any length.
    ///
    /// # Errors
    /// An empty salt or hash, or one that is too long.
    pub fn of_pbkdf2_sha1(iterations: u32, salt: &[u8], hash: &[u8]) -> Result<Self, BadHash> {
        Self::checked(Scheme::Pbkdf2Sha1 { iterations }, salt.into(), hash.into())
    }

    /// Whether this is the password. Takes as long for a wrong one as for the right one.
    pub fn verify(&self, password: &[u8]) -> bool {
        let mut hash = vec![0; self.hash.len()];
        self.scheme.hash(password, &self.salt, &mut hash);
        hash.ct_eq(&self.hash).into()
    }

    /// One that no password fits, and that takes as long as this one to say so. Hashes that cost the same have the same.
    pub(in crate::auth) fn decoy(&self) -> Self {
        // To find a password for a hash of zeros is as hard as for any given hash.
        let zeros = |like: &[u8]| vec![0; like.len()].into();
        Self { scheme: self.scheme, salt: zeros(&self.salt), hash: zeros(&self.hash) }
    }

    /// The form's name, for a list.
    pub fn scheme(&self) -> &'static str {
        match self.scheme {
            Scheme::Argon2id { .. } => "argon2id",
            Scheme::Pbkdf2Sha512 { .. } => "pbkdf2-sha512",
            Scheme::Pbkdf2Sha1 { .. } => "pbkdf2-sha1",
            Scheme::Sha512 => "sha512",
        }
    }

    fn checked(scheme: Scheme, salt: Box<[u8]>, hash: Box<[u8]>) -> Result<Self, BadHash> {
        if salt.is_empty() || salt.len() > BYTES_MAX {
            return Err(BadHash::Salt);
        }
        let in_range = |iterations| (1..=ITERATIONS_MAX).contains(&iterations);
        let fits = match scheme {
            Scheme::Sha512 => hash.len() == 64,
            Scheme::Pbkdf2Sha1 { iterations } | Scheme::Pbkdf2Sha512 { iterations }
                if !in_range(iterations) =>
            {
                return Err(BadHash::Iterations);
            }
            Scheme::Pbkdf2Sha512 { .. } => hash.len() == 64,
            Scheme::Pbkdf2Sha1 { .. } => (20..=BYTES_MAX).contains(&hash.len()),
            Scheme::Argon2id { .. } if salt.len() < argon2::MIN_SALT_LEN => return Err(BadHash::ShortSalt),
            Scheme::Argon2id { .. } => (16..=BYTES_MAX).contains(&hash.len()),
        };
        if fits { Ok(Self { scheme, salt, hash }) } else { Err(BadHash::Hash) }
    }
}

impl Scheme {
    fn hash(self, password: &[u8], salt: &[u8], out: &mut [u8]) {
        match self {
            Self::Sha512 => {
                out.copy_from_slice(&Sha512::new().chain_update(password).chain_update(salt).finalize())
            }
            Self::Pbkdf2Sha1 { iterations } => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, out),
            Self::Pbkdf2Sha512 { iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, out)
            }
            Self::Argon2id { memory_kib, passes, lanes } => {
                let params = Params::new(memory_kib, passes, lanes, Some(out.len()))
                    .expect("checked when it was read");
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(password, salt, out)
                    .expect("no password in an MQTT packet is longer than argon2's 4 GiB");
            }
        }
    }
}

impl FromStr for PasswordHash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        let mut parts = text.split('$').skip(1);
        let kind = parts.next().unwrap_or_default();
        let parts: Vec<&str> = parts.collect();
        match (kind, &parts[..]) {
            _ if !text.starts_with('$') => Err(BadHash::Form),
            ("6", &[salt, hash]) => Self::padded(Scheme::Sha512, salt, hash),
            ("6", _) => Err(BadHash::Parts("$6$<salt>$<hash>")),
            ("7", &[iterations, salt, hash]) => {
                let iterations = iterations.parse().map_err(|_| BadHash::Iterations)?;
                Self::padded(Scheme::Pbkdf2Sha512 { iterations }, salt, hash)
            }
            ("7", _) => Err(BadHash::Parts("$7$<iterations>$<salt>$<hash>")),
            ("pbkdf2-sha1", &[iterations, salt, hash]) => {
                let iterations = iterations.strip_prefix("i=").and_then(|digits| digits.parse().ok());
                let scheme = Scheme::Pbkdf2Sha1 { iterations: iterations.ok_or(BadHash::Iterations)? };
                Self::unpadded(scheme, salt, hash)
            }
            ("pbkdf2-sha1", _) => Err(BadHash::Parts("$pbkdf2-sha1$i=<iterations>$<salt>$<hash>")),
            ("argon2id", &["v=19", params, salt, hash]) => Self::unpadded(argon2id(params)?, salt, hash),
            ("argon2id", _) => {
                Err(BadHash::Parts("$argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<hash>"))
            }
            _ => Err(BadHash::Form),
        }
    }
}

impl PasswordHash {
    fn padded(scheme: Scheme, salt: &str, hash: &str) -> Result<Self, BadHash> {
        let salt = STANDARD.decode(salt).map_err(|_| BadHash::Salt)?;
        let hash = STANDARD.decode(hash).map_err(|_| BadHash::Hash)?;
        Self::checked(scheme, salt.into(), hash.into())
    }

    fn unpadded(scheme: Scheme, salt: &str, hash: &str) -> Result<Self, BadHash> {
        let salt = STANDARD_NO_PAD.decode(salt).map_err(|_| BadHash::Salt)?;
        let hash = STANDARD_NO_PAD.decode(hash).map_err(|_| BadHash::Hash)?;
        Self::checked(scheme, salt.into(), hash.into())
    }
}

fn argon2id(params: &str) -> Result<Scheme, BadHash> {
    let mut values = ["m=", "t=", "p="].iter().zip(params.split(',')).map(|(name, param)| {
        let digits = param.strip_prefix(name).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u32>().ok()).ok_or(BadHash::Argon2)
    });
    let mut next = || values.next().unwrap_or(Err(BadHash::Argon2));
    let (memory_kib, passes, lanes) = (next()?, next()?, next()?);
    let whole = params.split(',').count() == 3;
    let in_range = (8 * lanes.clamp(1, 256)..=MEMORY_KIB_MAX).contains(&memory_kib)
        && (1..=PASSES_MAX).contains(&passes)
        && (1..=255).contains(&lanes);
    if whole && in_range { Ok(Scheme::Argon2id { memory_kib, passes, lanes }) } else { Err(BadHash::Argon2) }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let padded = || (STANDARD.encode(&self.salt), STANDARD.encode(&self.hash));
        let unpadded = || (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.hash));
        let (head, (salt, hash)) = match self.scheme {
            Scheme::Sha512 => ("6".to_owned(), padded()),
            Scheme::Pbkdf2Sha512 { iterations } => (format!("7${iterations}"), padded()),
            Scheme::Pbkdf2Sha1 { iterations } => (format!("pbkdf2-sha1$i={iterations}"), unpadded()),
            Scheme::Argon2id { memory_kib, passes, lanes } => {
                (format!("argon2id$v=19$m={memory_kib},t={passes},p={lanes}"), unpadded())
            }
        };
        write!(f, "${head}${salt}${hash}")
    }
}

impl fmt::Debug for PasswordHash {
    /// Without what is worth stealing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({:?})", self.scheme)
    }
}
