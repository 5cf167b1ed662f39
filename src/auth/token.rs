//! JSON Web Tokens in the place of a password: HS256, RS256, ES256 and EdDSA, with the keys of a JWKS file. [RFC 7519], [RFC 7517]
//!
//! ```json
//! { "sub": "ann", "exp": 1893456000, "publish": ["dev/7/#"], "subscribe": ["cmd/7/+"] }
//! ```
//!
//! `sub` is the user's name, and `exp` is when the connection ends; a token needs both. `publish` and `subscribe`, or one of
//! them, say what the client may do in the place of the user's own section of the ACL file; roles and patterns hold all the same.
//! `nbf` is heeded, `iss` and `aud` have to be what the settings want, and other claims are read over.
//!
//! A key is used for one algorithm alone, which its own type names: a token cannot choose to be checked otherwise. Nothing here
//! reads a clock.

use super::acl::{Granted, TOPIC_LEVELS_MAX};
use super::password::{BadUserName, user_name};
use crate::topic::{BadTopic, TopicFilter};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use std::sync::Arc;

/// A longer one is no token of anybody who means well. An MQTT password may have 65,535 bytes.
const TOKEN_BYTES_MAX: usize = 16_384;
/// HS256 is as strong as its key, and no stronger than a hash. [RFC 7518 3.2]
const SECRET_BYTES_MIN: usize = 32;
/// [RFC 7518 3.3]
const RSA_BITS_MIN: usize = 2_048;
/// Seconds that the clocks of whoever makes a token and of this machine may differ.
const LEEWAY_SECS: u64 = 60;

/// The keys that tokens are signed with, and what else tokens have to say.
#[derive(Clone, Debug)]
pub struct Tokens {
    keys: Vec<Key>,
    issuer: Option<Box<str>>,
    audience: Option<Box<str>>,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl std::fmt::Debug for Key {
    /// Without what is worth stealing.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?}, {:?})", self.id, self.algorithm)
    }
}

/// Why a file holds no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// Not JSON, or not a JSON Web Key Set.
    #[error("not a JSON Web Key Set (RFC 7517): {0}")]
    Form(String),
    /// No key at all.
    #[error("no key in it")]
    Empty,
    /// A key that cannot be used; the first one is 1.
    #[error("key {number}: {why}")]
    Key {
        /// Which one.
        number: usize,
        /// What is wrong with it.
        why: BadKey,
    },
}

/// Why a key cannot be used: reads on after "expected", or by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Another type or curve.
    #[error("expected kty oct, RSA, EC with crv P-256, or OKP with crv Ed25519")]
    Kind,
    /// Meant for something else.
    #[error(
        "expected a key for signatures that says the algorithm of its type, or none: HS256, RS256, ES256, EdDSA"
    )]
    Purpose,
    /// Too short to be safe.
    #[error("expected at least {SECRET_BYTES_MIN} bytes for oct, and {RSA_BITS_MIN} bits for RSA")]
    Short,
    /// Not what its type needs.
    #[error("its numbers are not those of such a key: {0}")]
    Numbers(String),
}

/// What a good token says.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The user's name.
    pub user: Box<str>,
    /// When it ends, in seconds since 1970, the leeway included.
    pub expires: u64,
    /// What the client may do in the place of the user's own section of the ACL file; `None` when the token does not say.
    pub granted: Option<Arc<Granted>>,
}

/// Why a token is not accepted. For the log: to a client all of these are one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not three parts of Base64 with JSON in them, or too long.
    #[error("not a JSON Web Token")]
    Form,
    /// No key has the id that the token names, or is of the kind that it wants.
    #[error("no key for it: kid {kid:?}, alg {algorithm:?}")]
    NoKey {
        /// What the token names.
        kid: Option<String>,
        /// What the token wants.
        algorithm: Algorithm,
    },
    /// Somebody else has signed it, or it was changed.
    #[error("its signature is wrong")]
    Signature,
    /// No `sub` or no `exp`, or a claim of another type.
    #[error("its claims cannot be used: {0}")]
    Claims(String),
    /// It was good once.
    #[error("it has expired, {0} seconds ago")]
    Expired(u64),
    /// It is not good yet.
    #[error("it is good in {0} seconds only")]
    Early(u64),
    /// Not who the settings want.
    #[error("its issuer is {0:?}")]
    Issuer(Option<String>),
    /// Not for this broker.
    #[error("it is not for this audience")]
    Audience,
    /// A name that no user can have.
    #[error("its sub {0:?}: expected {1}")]
    User(String, BadUserName),
    /// Not a topic filter.
    #[error("{0:?} in it: {1}")]
    Filter(String, BadTopic),
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<OneOrMore>,
    publish: Option<Vec<String>>,
    subscribe: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn has(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::More(more) => more.iter().any(|one| one == wanted),
        }
    }
}

impl Tokens {
    /// Reads a file's bytes: a JSON Web Key Set. Tokens have to name `issuer` and `audience` where those are given.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(bytes: &[u8], issuer: Option<&str>, audience: Option<&str>) -> Result<Self, BadKeys> {
        let set: JwkSet = serde_json::from_slice(bytes).map_err(|error| BadKeys::Form(error.to_string()))?;
        let keys =
            (1..).zip(&set.keys).map(|(number, jwk)| key(jwk).map_err(|why| BadKeys::Key { number, why }));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(BadKeys::Empty);
        }
        Ok(Self { keys, issuer: issuer.map(Into::into), audience: audience.map(Into::into) })
    }

    /// Whether a password is meant to be a token: who sends one is not asked about in files after this one.
    pub fn is_token(password: &[u8]) -> bool {
        password.starts_with(b"eyJ") && password.iter().filter(|&&byte| byte == b'.').count() == 2
    }

    /// What a token says, at a moment in seconds since 1970.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn check(&self, token: &[u8], now: u64) -> Result<Pass, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Form);
        }
        let header = decode_header(token).map_err(|_| Refused::Form)?;
        let mut keys = self.keys.iter().filter(|key| {
            key.algorithm == header.alg && (header.kid.is_none() || key.id.is_none() || key.id == header.kid)
        });
        let first =
            keys.next().ok_or_else(|| Refused::NoKey { kid: header.kid.clone(), algorithm: header.alg })?;
        // Without an id in the token, several keys may come into question.
        let claims = keys.fold(signed(token, first), |claims, key| match claims {
            Err(Refused::Signature) => signed(token, key),
            other => other,
        })?;
        self.accept(claims, now)
    }

    fn accept(&self, claims: Claims, now: u64) -> Result<Pass, Refused> {
        let expires = seconds(claims.exp, "exp")?.saturating_add(LEEWAY_SECS);
        if expires <= now {
            return Err(Refused::Expired(now - expires));
        }
        let begins = claims.nbf.map(|nbf| seconds(nbf, "nbf")).transpose()?.unwrap_or_default();
        if begins > now.saturating_add(LEEWAY_SECS) {
            return Err(Refused::Early(begins - now));
        }
        if self.issuer.is_some() && self.issuer.as_deref() != claims.iss.as_deref() {
            return Err(Refused::Issuer(claims.iss));
        }
        let is_for = |wanted| claims.aud.as_ref().is_some_and(|audience| audience.has(wanted));
        if !self.audience.as_deref().is_none_or(is_for) {
            return Err(Refused::Audience);
        }
        let user = user_name(&claims.sub).map_err(|why| Refused::User(claims.sub.clone(), why))?.into();
        let granted = granted(claims.publish.as_deref(), claims.subscribe.as_deref())?;
        Ok(Pass { user, expires, granted })
    }
}

/// A token's claims, if this key has signed them.
fn signed(token: &[u8], key: &Key) -> Result<Claims, Refused> {
    // Times and names are checked here, against a moment and names that were handed in.
    let mut validation = Validation::new(key.algorithm);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
    let decoded = decode::<Claims>(token, &key.key, &validation);
    decoded.map(|data| data.claims).map_err(|error| match error.kind() {
        ErrorKind::Json(error) => Refused::Claims(error.to_string()),
        ErrorKind::InvalidSignature => Refused::Signature,
        _ => Refused::Form,
    })
}

/// Seconds since 1970, which may come with a fraction.
fn seconds(number: f64, claim: &str) -> Result<u64, Refused> {
    // Until the year 9999. `as` rounds down.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range")]
    if (0.0..253_402_300_800.0).contains(&number) {
        Ok(number as u64)
    } else {
        Err(Refused::Claims(format!("{claim} is no moment")))
    }
}

/// What somebody may do who is allowed these filters; `None` when nothing is said about it.
///
/// # Errors
/// A text that is no filter.
pub fn granted(
    publish: Option<&[String]>,
    subscribe: Option<&[String]>,
) -> Result<Option<Arc<Granted>>, Refused> {
    if publish.is_none() && subscribe.is_none() {
        return Ok(None);
    }
    let publish = filters(publish.unwrap_or_default())?;
    let subscribe = filters(subscribe.unwrap_or_default())?;
    Ok(Some(Arc::new(Granted::new(&publish, &subscribe))))
}

fn filters(texts: &[String]) -> Result<Vec<TopicFilter<'_>>, Refused> {
    let parse = |text: &'_ String| {
        TopicFilter::parse(text, TOPIC_LEVELS_MAX)
            .map(|_| ())
            .map_err(|why| Refused::Filter(text.clone(), why))
    };
    texts.iter().try_for_each(parse)?;
    Ok(texts.iter().map(|text| TopicFilter::trusted(text)).collect())
}

fn key(jwk: &Jwk) -> Result<Key, BadKey> {
    let numbers = |error: jsonwebtoken::errors::Error| BadKey::Numbers(error.to_string());
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return Err(BadKey::Kind),
    };
    let common = &jwk.common;
    let signs = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    if !signs || common.key_algorithm.as_ref().is_some_and(|given| *given != named) {
        return Err(BadKey::Purpose);
    }
    let key = DecodingKey::from_jwk(jwk).map_err(numbers)?;
    let short = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => key.try_get_as_bytes().map_err(numbers)?.len() < SECRET_BYTES_MIN,
        // Six bits a character, and no more than one leading zero bit in a modulus.
        AlgorithmParameters::RSA(rsa) => rsa.n.len() * 6 < RSA_BITS_MIN,
        _ => false,
    };
    if short { Err(BadKey::Short) } else { Ok(Key { id: common.key_id.clone(), algorithm, key }) }
}

#[cfg(test)]
mod tests;
