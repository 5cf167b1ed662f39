//! Which clients have a role.

use super::decide::Who;
use super::text::matches_glob;
use std::str::FromStr;

/// What a certificate says of its owner: attributes with their values, such as `CN` and `sensor-7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject(Vec<(Box<str>, Box<str>)>);

impl Subject {
    /// Of attributes and values, in any order; an attribute may come more than once.
    pub fn new<'a>(attributes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Whether every attribute of `wanted`, whose values may have `*` in them, is among these.
    fn has_all(&self, wanted: &Self) -> bool {
        let has = |(name, glob): &(Box<str>, Box<str>)| {
            self.0.iter().any(|(given, value)| given.eq_ignore_ascii_case(name) && matches_glob(glob, value))
        };
        wanted.0.iter().all(has)
    }
}

/// Not attributes with values: reads on after "expected".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "attributes of a certificate's subject with values, such as O=Plant, CN=sensor-*; a comma in a value is \\,"
)]
pub struct BadSubject;

impl FromStr for Subject {
    type Err = BadSubject;

    fn from_str(text: &str) -> Result<Self, BadSubject> {
        let mut attributes = Vec::new();
        let mut rest = Some(text);
        while let Some(text) = rest {
            let end = text.match_indices(',').map(|(at, _)| at).find(|at| !text[..*at].ends_with('\\'));
            let attribute = end.map_or(text, |at| &text[..at]);
            rest = end.map(|at| &text[at + 1..]);
            let (name, value) = attribute.split_once('=').ok_or(BadSubject)?;
            let (name, value) = (name.trim(), value.trim().replace("\\,", ","));
            if name.is_empty() || value.is_empty() {
                return Err(BadSubject);
            }
            attributes.push((name.into(), value.into()));
        }
        Ok(Self(attributes))
    }
}

/// Whom a `for` line speaks of.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    Subject(Subject),
    Listener(Box<str>),
    User(Box<str>),
    Everyone,
}

impl Condition {
    pub(super) fn speaks_of(&self, who: &Who<'_>) -> bool {
        match self {
            Self::Subject(wanted) => who.subject.is_some_and(|subject| subject.has_all(wanted)),
            Self::Listener(url) => who.listener == &**url,
            Self::User(name) => who.user == Some(name),
            Self::Everyone => true,
        }
    }
}
