//! Changes to a password file's text that leave every other line as it is, comments and order included.

use super::PasswordHash;
use crate::sasl::Verifier;

/// A user name has 16 bits of length on the wire. [MQTT 1.5.4]
const NAME_BYTES_MAX: usize = 65_535;

/// Why a name cannot stand in a password file: reads on after "expected".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUserName {
    /// Nothing before the colon.
    #[error("a user's name before the colon")]
    Empty,
    /// Longer than any client's.
    #[error("a name of at most {NAME_BYTES_MAX} bytes")]
    Long,
    /// What separates name and hash, or what MQTT and lines do not allow.
    #[error("a name without a colon and without control characters")]
    Character,
    /// What would make the line a comment.
    #[error("a name that does not start with #")]
    Comment,
    /// What a reader would take off.
    #[error("a name without blanks around it")]
    Blanks,
}

/// Whether a name can stand in a password file.
///
/// # Errors
/// Why not.
pub fn user_name(name: &str) -> Result<&str, BadUserName> {
    match name {
        "" => Err(BadUserName::Empty),
        _ if name.len() > NAME_BYTES_MAX => Err(BadUserName::Long),
        _ if name.contains(|c: char| c == ':' || c.is_control()) => Err(BadUserName::Character),
        _ if name.starts_with('#') => Err(BadUserName::Comment),
        _ if name.trim() != name => Err(BadUserName::Blanks),
        _ => Ok(name),
    }
}

/// The text with what is kept of a user's password: in the user's line, or in a new last one. Whether there was one.
///
/// # Errors
/// A name that cannot stand there.
pub fn set(
    text: &str,
    user: &str,
    password: &PasswordHash,
    scram: Option<&Verifier>,
) -> Result<(String, bool), BadUserName> {
    let mut line = format!("{}:{password}", user_name(user)?);
    if let Some(verifier) = scram {
        line.push_str(&format!(":{verifier}"));
    }
    let (mut lines, mut known) = (Vec::new(), false);
    for old in text.lines() {
        if names(old, user) {
            known = true;
            lines.push(line.as_str());
        } else {
            lines.push(old);
        }
    }
    if !known {
        lines.push(&line);
    }
    Ok((lines.join("\n") + "\n", known))
}

/// The text without a user; `None` when it does not name that user.
pub fn remove(text: &str, user: &str) -> Option<String> {
    let kept: Vec<&str> = text.lines().filter(|line| !names(line, user)).collect();
    let gone = kept.len() < text.lines().count();
    gone.then(|| kept.iter().map(|line| format!("{line}\n")).collect())
}

fn names(line: &str, user: &str) -> bool {
    !line.starts_with('#') && line.split_once(':').is_some_and(|(name, _)| name.trim() == user)
}
