//! The four messages of SCRAM: client-first, server-first, client-final, server-final. [RFC 5802 3, 7]

use super::verifier::{Users, Verifier};
use super::{BASE64, Digest, Secret, hmac};
use base64::Engine;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of a message, a name and a nonce at most; the standard bounds none of them.
const MESSAGE_MAX: usize = 4_096;

/// Why somebody is not let in. The texts are for the operator and, as far as they tell nothing about users, for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a SCRAM message.
    #[error("not a message of SCRAM [RFC 5802 7]")]
    Malformed,
    /// The client insists on channel binding.
    #[error("channel binding is not supported [RFC 5802 6]")]
    ChannelBinding,
    /// An extension that has to be understood.
    #[error("a mandatory extension of SCRAM that is not supported [RFC 5802 5.1]")]
    Extension,
    /// The client wants to act for somebody else.
    #[error("the authorization identity is not the user [RFC 5802 5.1]")]
    Identity,
    /// Another nonce than was agreed on.
    #[error("the nonce is not the one that was agreed on [RFC 5802 5.1]")]
    Nonce,
    /// The user does not exist or the password is wrong; which of both is not told.
    #[error("unknown user or wrong password")]
    Credentials,
}

/// An exchange between its first and its second half.
#[derive(Debug)]
pub struct Exchange {
    user: Box<str>,
    verifier: Verifier,
    /// Whether there is such a user.
    known: bool,
    /// What `c=` has to be.
    binding: String,
    /// Both nonces.
    nonce: String,
    /// client-first-message-bare and server-first-message with the commas behind each.
    transcript: String,
}

/// Somebody who has proved to be a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// The user's name.
    pub user: Box<str>,
    /// server-final-message: the server's own proof.
    pub server_final: Vec<u8>,
}

impl Exchange {
    /// Reads client-first-message; returns server-first-message too. A name that does not exist is answered as one that
    /// does, with a salt made of `secret`.
    ///
    /// # Errors
    /// Why it goes no further.
    pub fn begin(
        client_first: &[u8],
        users: &Users,
        server_nonce: &str,
        secret: &Secret,
    ) -> Result<(Self, Vec<u8>), Refused> {
        let message = text(client_first)?;
        let (header, bare) = split_header(message)?;
        let mut fields = bare.split(',');
        let mut field = |name| fields.next().and_then(|field| value(field, name)).ok_or(Refused::Malformed);
        if bare.starts_with("m=") {
            return Err(Refused::Extension);
        }
        let name = unescape(field('n')?)?;
        let client_nonce = field('r')?;
        if client_nonce.is_empty() || !client_nonce.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) {
            return Err(Refused::Malformed);
        }
        let name = stringprep::saslprep(&name).map_err(|_| Refused::Malformed)?;
        if authzid(header)?.is_some_and(|other| other != name) {
            return Err(Refused::Identity);
        }
        let known = users.get(&name);
        let verifier = known.cloned().unwrap_or_else(|| Verifier::decoy(secret, &name, users));
        let nonce = format!("{client_nonce}{server_nonce}");
        let salt = BASE64.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let exchange = Self {
            user: name.as_ref().into(),
            known: known.is_some(),
            verifier,
            binding: BASE64.encode(header),
            nonce,
            transcript: format!("{bare},{server_first},"),
        };
        Ok((exchange, server_first.into_bytes()))
    }

    /// Reads client-final-message and decides.
    ///
    /// # Errors
    /// Why the client is not let in.
    pub fn finish(self, client_final: &[u8]) -> Result<Authenticated, Refused> {
        let message = text(client_final)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Refused::Malformed)?;
        let mut fields = without_proof.split(',');
        let mut field = |name| fields.next().and_then(|field| value(field, name)).ok_or(Refused::Malformed);
        if field('c')? != self.binding {
            return Err(Refused::ChannelBinding);
        }
        if field('r')? != self.nonce {
            return Err(Refused::Nonce);
        }
        if fields.next().is_some_and(|field| field.starts_with("m=")) {
            return Err(Refused::Extension);
        }
        let proof: Digest =
            BASE64.decode(proof).ok().and_then(|proof| proof.try_into().ok()).ok_or(Refused::Malformed)?;
        let transcript: [&[u8]; 2] = [self.transcript.as_bytes(), without_proof.as_bytes()];
        let signature = hmac(&self.verifier.stored_key, &transcript);
        let client_key: Digest = std::array::from_fn(|at| proof[at] ^ signature[at]);
        let hashed: Digest = Sha256::digest(client_key).into();
        // Whether there is such a user is looked at only here: both kinds of failure take the same way and time.
        if !bool::from(hashed.ct_eq(&self.verifier.stored_key)) || !self.known {
            return Err(Refused::Credentials);
        }
        let server_signature = BASE64.encode(hmac(&self.verifier.server_key, &transcript));
        Ok(Authenticated { user: self.user, server_final: format!("v={server_signature}").into_bytes() })
    }
}

fn text(message: &[u8]) -> Result<&str, Refused> {
    let fits = message.len() <= MESSAGE_MAX && !message.contains(&0);
    std::str::from_utf8(message).ok().filter(|_| fits).ok_or(Refused::Malformed)
}

/// The GS2 header with its commas, and what follows it. `n`: no channel binding; `y`: the client could, and thinks that the
/// server cannot, which is true.
fn split_header(message: &str) -> Result<(&str, &str), Refused> {
    let mut commas = message.match_indices(',').map(|(at, _)| at);
    let (Some(first), Some(second)) = (commas.next(), commas.next()) else { return Err(Refused::Malformed) };
    match &message[..first] {
        "n" | "y" => Ok(message.split_at(second + 1)),
        flag if flag.starts_with("p=") => Err(Refused::ChannelBinding),
        _ => Err(Refused::Malformed),
    }
}

/// Whom the client wants to act for, if it says so in the GS2 header.
fn authzid(header: &str) -> Result<Option<String>, Refused> {
    match header.split(',').nth(1) {
        None | Some("") => Ok(None),
        Some(field) => unescape(value(field, 'a').ok_or(Refused::Malformed)?).map(Some),
    }
}

fn value(field: &str, name: char) -> Option<&str> {
    field.strip_prefix(name)?.strip_prefix('=')
}

/// A saslname: `=2C` is a comma and `=3D` an equals sign, which may not stand for itself.
fn unescape(name: &str) -> Result<String, Refused> {
    let mut pieces = name.split('=');
    let mut unescaped = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (c, rest) = match piece.split_at_checked(2) {
            Some(("2C", rest)) => (',', rest),
            Some(("3D", rest)) => ('=', rest),
            _ => return Err(Refused::Malformed),
        };
        unescaped.push(c);
        unescaped.push_str(rest);
    }
    if unescaped.is_empty() { Err(Refused::Malformed) } else { Ok(unescaped) }
}
