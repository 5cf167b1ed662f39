//! The file's lines.

use super::TOPIC_LEVELS_MAX;
use super::decide::Acl;
use super::role::{BadSubject, Condition};
use super::rules::Access;
use crate::topic::{BadTopic, TopicFilter};
use crate::types::HashSeed;

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Mistake {
    /// From 1.
    pub line: u32,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Bytes that are no text.
    #[error("not UTF-8")]
    NotText,
    /// A line of some other kind.
    #[error(
        "given {0:?}, expected a line that starts with user, topic, pattern, role, for, or # for a comment"
    )]
    Word(Box<str>),
    /// Nothing behind `user`, `role` or `for`.
    #[error("expected {1} after {0}")]
    Nothing(&'static str, &'static str),
    /// `topic` or `pattern` without a filter.
    #[error("expected a topic filter after {0}")]
    NoFilter(&'static str),
    /// A word before the filter that is no access.
    #[error("given {0:?}, expected read, write, readwrite or deny before the topic filter")]
    Access(Box<str>),
    /// Not a topic filter.
    #[error("{0:?}: {1}")]
    Filter(Box<str>, BadTopic),
    /// `for` in another section.
    #[error("for stands only below role")]
    ForWithoutRole,
    /// `for` something else.
    #[error("given {0:?}, expected subject, listener, user or everyone after for")]
    For(Box<str>),
    /// What follows `for subject`.
    #[error("expected {0}")]
    Subject(BadSubject),
    /// A role that no client can have.
    #[error("role {0:?} is nobody's: no line with for stands below it")]
    Nobody(Box<str>),
}

/// What the lines below belong to.
#[derive(Clone, Copy)]
enum Section {
    /// Clients without a name, or one user.
    Own(usize),
    Role(usize),
}

impl Acl {
    /// Reads a file's bytes. `generation` tells this file's state from the one before: decisions of another are not used.
    ///
    /// # Errors
    /// Everything that is wrong with them, in the file's order.
    pub fn parse(bytes: &[u8], generation: u64, seed: HashSeed) -> Result<Self, Vec<Mistake>> {
        let (mut acl, mut mistakes) = (Self::empty(generation, seed), Vec::new());
        let mut section = Section::Own(acl.own(None));
        for (line, bytes) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            match str::from_utf8(bytes).map_err(|_| Problem::NotText) {
                Ok(text) => {
                    if let Err(problem) = acl.line(&mut section, line, text.trim()) {
                        mistakes.push(Mistake { line, problem });
                    }
                }
                Err(problem) => mistakes.push(Mistake { line, problem }),
            }
        }
        let nobodys = acl.roles().filter(|role| role.conditions.is_empty());
        mistakes.extend(
            nobodys.map(|role| Mistake { line: role.line, problem: Problem::Nobody(role.name.clone()) }),
        );
        mistakes.sort_by_key(|mistake| mistake.line);
        if mistakes.is_empty() { Ok(acl) } else { Err(mistakes) }
    }

    fn line(&mut self, section: &mut Section, line: u32, text: &str) -> Result<(), Problem> {
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let (word, rest) =
            text.split_once([' ', '\t']).map_or((text, ""), |(word, rest)| (word, rest.trim_start()));
        match word {
            "user" if rest.is_empty() => Err(Problem::Nothing("user", "a user's name")),
            "user" => {
                *section = Section::Own(self.own(Some(rest)));
                Ok(())
            }
            "role" if rest.is_empty() => Err(Problem::Nothing("role", "a role's name")),
            "role" => {
                *section = Section::Role(self.role(rest, line));
                Ok(())
            }
            "for" => {
                let Section::Role(role) = *section else { return Err(Problem::ForWithoutRole) };
                let condition = condition(rest)?;
                self.role_mut(role).conditions.push(condition);
                Ok(())
            }
            "topic" => {
                let (access, filter) = rule("topic", rest)?;
                match *section {
                    Section::Own(own) => self.own_mut(own).add(filter, access, line, false),
                    Section::Role(role) => self.role_mut(role).rules.add(filter, access, line, false),
                }
                Ok(())
            }
            "pattern" => {
                let (access, filter) = rule("pattern", rest)?;
                match *section {
                    Section::Own(_) => self.patterns_mut().add(filter, access, line, true),
                    Section::Role(role) => self.role_mut(role).rules.add(filter, access, line, true),
                }
                Ok(())
            }
            _ => Err(Problem::Word(word.into())),
        }
    }
}

/// What follows `topic` and `pattern`. A single word is a filter, also when it is one of those for access.
fn rule<'a>(word: &'static str, rest: &'a str) -> Result<(Access, TopicFilter<'a>), Problem> {
    let (access, filter) = match rest.split_once([' ', '\t']) {
        None if rest.is_empty() => return Err(Problem::NoFilter(word)),
        None => (Access::ReadWrite, rest),
        Some(("read", filter)) => (Access::Read, filter),
        Some(("write", filter)) => (Access::Write, filter),
        Some(("readwrite", filter)) => (Access::ReadWrite, filter),
        Some(("deny", filter)) => (Access::Deny, filter),
        Some((other, _)) => return Err(Problem::Access(other.into())),
    };
    let filter = filter.trim_start();
    let parsed = TopicFilter::parse(filter, TOPIC_LEVELS_MAX);
    parsed.map(|filter| (access, filter)).map_err(|why| Problem::Filter(filter.into(), why))
}

fn condition(text: &str) -> Result<Condition, Problem> {
    let (word, rest) =
        text.split_once([' ', '\t']).map_or((text, ""), |(word, rest)| (word, rest.trim_start()));
    match (word, rest) {
        ("everyone", "") => Ok(Condition::Everyone),
        ("subject", _) => rest.parse().map(Condition::Subject).map_err(Problem::Subject),
        ("listener", "") => Err(Problem::Nothing("for listener", "a listener's URL")),
        ("listener", url) => Ok(Condition::Listener(url.into())),
        ("user", "") => Err(Problem::Nothing("for user", "a user's name")),
        ("user", name) => Ok(Condition::User(name.into())),
        _ => Err(Problem::For(text.into())),
    }
}
