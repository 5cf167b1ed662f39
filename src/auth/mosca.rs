//! What Mosca kept in `credentials.json`, as a password file and an ACL file.
//!
//! Mosca's passwords stay as they are: PBKDF2 with SHA-1 and 10,000 iterations, which a password file can hold here (Mosquitto
//! would leave such a line out). Its two globs for each user, for publishing and subscribing, are those of the JavaScript package
//! minimatch, which are not topic filters. Translated is what has a filter that means the same:
//!
//! ```text
//! **      #          a/**   a/+/#       *  for a whole level   +       {a,b}/c   a/c and b/c
//! ```
//!
//! but for two things: `*` stands for no empty level, and neither `*` nor `**` for one that begins with a dot, where `+` and `#`
//! do. Any other glob is left out, with the reason: its user may do less than before.

use super::password::{BadHash, BadUserName, PasswordHash, set};
use crate::topic::{BadTopic, TopicFilter};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Those of the package pbkdf2-password, which Mosca used with its defaults.
const ITERATIONS: u32 = 10_000;
/// What Mosca took where a user had no glob.
const EVERYTHING: &str = "**";
/// `{a,b}` once more doubles what comes out.
const FILTERS_MAX: usize = 256;

/// JavaScript reads Base64 with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    salt: String,
    hash: String,
    authorize_publish: Option<String>,
    authorize_subscribe: Option<String>,
}

/// Not what Mosca writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not Mosca's credentials.json: {0}")]
pub struct BadCredentials(String);

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// How many users can log in as before.
    pub users: usize,
    /// The text of a password file.
    pub passwords: String,
    /// The text of an ACL file.
    pub acl: String,
    /// What could not be taken over.
    pub left_out: Vec<LeftOut>,
}

/// Something that could not be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    /// A user whose password cannot be checked: the user cannot log in.
    #[error("user {0:?}: expected {1}")]
    Hash(String, BadHash),
    /// A user whose name cannot stand in a password file: the user cannot log in.
    #[error("user {0:?}: expected {1}")]
    Name(String, BadUserName),
    /// A glob that no filter means: the user may not do what it allowed.
    #[error("user {user:?} may not {what} {glob:?} any more: {why}")]
    Glob {
        /// Whose.
        user: String,
        /// What it was for.
        what: &'static str,
        /// What Mosca was told.
        glob: String,
        /// Why it has no filter.
        why: NoFilter,
    },
}

/// Why a glob has no topic filter that means the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFilter {
    /// `!` at the start.
    #[error("it says what is not meant, and filters say what is")]
    Negation,
    /// `**` before other levels.
    #[error("in a filter only the last levels can be any number")]
    Inner,
    /// `*` with other text in a level.
    #[error("in a filter a wildcard stands for a whole level")]
    Part,
    /// `?`, `[`, `(`, a range, braces in braces, a backslash.
    #[error("filters have no such signs: {0:?}")]
    Sign(char),
    /// `{a,b}` too often.
    #[error("it comes to more than {FILTERS_MAX} filters")]
    Many,
    /// Not a topic, whatever stands for its signs.
    #[error("no topic is like it: {0}")]
    Topic(BadTopic),
}

/// Reads what Mosca wrote.
///
/// # Errors
/// Bytes that are not that.
pub fn migrate(bytes: &[u8]) -> Result<Migrated, BadCredentials> {
    let all: BTreeMap<String, Credentials> =
        serde_json::from_slice(bytes).map_err(|error| BadCredentials(error.to_string()))?;
    let mut migrated = Migrated {
        users: 0,
        passwords: "# From Mosca's credentials.json.\n".to_owned(),
        acl: "# From Mosca's credentials.json. Unlike Mosca's globs, + and # also stand for levels that begin with a dot.\n"
            .to_owned(),
        left_out: Vec::new(),
    };
    for (user, credentials) in &all {
        match kept(credentials) {
            Ok(hash) => migrated.user(user, &hash, credentials),
            Err(why) => migrated.left_out.push(LeftOut::Hash(user.clone(), why)),
        }
    }
    Ok(migrated)
}

fn kept(credentials: &Credentials) -> Result<PasswordHash, BadHash> {
    let salt = BASE64.decode(&credentials.salt).map_err(|_| BadHash::Salt)?;
    let hash = BASE64.decode(&credentials.hash).map_err(|_| BadHash::Hash)?;
    PasswordHash::of_pbkdf2_sha1(ITERATIONS, &salt, &hash)
}

impl Migrated {
    fn user(&mut self, user: &str, hash: &PasswordHash, credentials: &Credentials) {
        match set(&self.passwords, user, hash, None) {
            Ok((text, _)) => self.passwords = text,
            Err(why) => return self.left_out.push(LeftOut::Name(user.to_owned(), why)),
        }
        self.users += 1;
        self.line(format_args!("\nuser {user}"));
        // An empty text is nothing to JavaScript.
        let glob = |given: &Option<String>| {
            given.as_deref().filter(|glob| !glob.is_empty()).unwrap_or(EVERYTHING).to_owned()
        };
        let (publish, subscribe) =
            (glob(&credentials.authorize_publish), glob(&credentials.authorize_subscribe));
        if subscribe == EVERYTHING {
            // To Mosca `$SYS/#` is a text like any other, to a filter a name that # does not see.
            self.line(format_args!("topic read $SYS/#"));
        }
        self.rules(user, "publish to", "write", &publish);
        self.rules(user, "subscribe to", "read", &subscribe);
    }

    fn rules(&mut self, user: &str, what: &'static str, access: &str, glob: &str) {
        match filters(glob, access == "read") {
            Ok(filters) => {
                filters.iter().for_each(|filter| self.line(format_args!("topic {access} {filter}")))
            }
            Err(why) => {
                self.line(format_args!("# Left out: {what} {glob:?}: {why}"));
                self.left_out.push(LeftOut::Glob { user: user.to_owned(), what, glob: glob.to_owned(), why });
            }
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.acl, "{line}").expect("a string takes everything");
    }
}

/// The filters that a glob comes to. Mosca holds it against the filter of a subscription as if that were a name, so there a
/// wildcard of MQTT in the glob is itself.
fn filters(glob: &str, subscribe: bool) -> Result<Vec<String>, NoFilter> {
    if glob.starts_with('!') {
        return Err(NoFilter::Negation);
    }
    if glob.starts_with('#') {
        // A comment to minimatch, which matches nothing.
        return Err(NoFilter::Sign('#'));
    }
    let mut filters = Vec::new();
    for text in alternatives(glob)? {
        let filter = filter(&text, subscribe)?;
        TopicFilter::parse(&filter, super::acl::TOPIC_LEVELS_MAX).map_err(NoFilter::Topic)?;
        filters.push(filter);
    }
    Ok(filters)
}

/// `a{b,c}` as `ab` and `ac`.
fn alternatives(glob: &str) -> Result<Vec<String>, NoFilter> {
    let (mut done, mut rest) = (vec![String::new()], glob);
    while let Some((before, inner)) = rest.split_once('{') {
        let (inner, after) = inner.split_once('}').ok_or(NoFilter::Sign('{'))?;
        // Braces in braces, and what minimatch takes for a range or for itself.
        if inner.contains('{') || inner.contains("..") || !inner.contains(',') {
            return Err(NoFilter::Sign('{'));
        }
        let each = |start: &String| {
            inner.split(',').map(move |one| format!("{start}{before}{one}")).collect::<Vec<_>>()
        };
        done = done.iter().flat_map(each).collect();
        if done.len() > FILTERS_MAX {
            return Err(NoFilter::Many);
        }
        rest = after;
    }
    done.iter_mut().for_each(|start| start.push_str(rest));
    Ok(done)
}

fn filter(glob: &str, subscribe: bool) -> Result<String, NoFilter> {
    if let Some(sign) = glob.chars().find(|sign| "?[](){}\\".contains(*sign)) {
        return Err(NoFilter::Sign(sign));
    }
    let levels: Vec<&str> = glob.split('/').collect();
    let last = levels.len() - 1;
    let mut filter = Vec::new();
    for (at, level) in levels.iter().enumerate() {
        match *level {
            "**" if at < last => return Err(NoFilter::Inner),
            // Not without at least one level more, unlike `#`.
            "**" if at > 0 => filter.extend(["+", "#"]),
            "**" => filter.push("#"),
            "*" => filter.push("+"),
            "+" | "#" if !subscribe => return Err(NoFilter::Topic(BadTopic::WildcardInName)),
            level if level.contains('*') => return Err(NoFilter::Part),
            level => filter.push(level),
        }
    }
    Ok(filter.join("/"))
}

#[cfg(test)]
mod tests;
