//! What the file says about a client and a topic.

use super::role::{Condition, Subject};
use super::rules::{Access, Lines, Rules};
use super::text::Names;
use crate::topic::{TopicFilter, TopicName};
use crate::types::HashSeed;
use foldhash::fast::FixedState;
use std::collections::BTreeMap;
use std::sync::Arc;

/// No file has so many lines.
const TOKEN_LINE: u32 = u32::MAX;

/// An ACL file, ready to decide.
#[derive(Clone, Debug)]
pub struct Acl {
    generation: u64,
    state: FixedState,
    /// The sections of clients without a name, which comes first, and of users.
    own: Vec<Rules>,
    users: BTreeMap<Box<str>, usize>,
    roles: Vec<Role>,
    patterns: Rules,
}

#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) name: Box<str>,
    pub(super) line: u32,
    pub(super) conditions: Vec<Condition>,
    pub(super) rules: Rules,
}

/// A client, as far as rules can speak of it.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The name that it has logged in with.
    pub user: Option<&'a str>,
    /// Its client id.
    pub client: &'a str,
    /// The URL of the listener that it came through, as the settings have it.
    pub listener: &'a str,
    /// What its certificate says.
    pub subject: Option<&'a Subject>,
    /// What its token allows, which decides in the place of a section of its own.
    pub granted: Option<&'a Arc<Granted>>,
}

/// What decides for one client: found once, good for one generation of the file.
#[derive(Clone, Debug)]
pub struct Standing {
    generation: u64,
    user: Option<Box<str>>,
    client: Box<str>,
    own: Own,
    roles: Box<[usize]>,
}

/// What decides for one client alone.
#[derive(Clone, Debug)]
enum Own {
    Nothing,
    Section(usize),
    Token(Arc<Granted>),
}

/// What somebody may do who shows a token that says so.
#[derive(Clone, Debug, Default)]
pub struct Granted(Rules);

impl Granted {
    /// Publish to what these filters match, subscribe to and receive what those match.
    pub fn new(publish: &[TopicFilter<'_>], subscribe: &[TopicFilter<'_>]) -> Self {
        let mut rules = Rules::default();
        for (filters, access) in [(publish, Access::Write), (subscribe, Access::Read)] {
            // It is no line of a file, and is told as what it is.
            filters.iter().for_each(|filter| rules.add(*filter, access, TOKEN_LINE, false));
        }
        Self(rules)
    }
}

/// What a client wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish to it, also by a will.
    Publish,
    /// Be sent what was published to it.
    Receive,
}

/// Whether a client may, and what says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may.
    pub allowed: bool,
    /// What says so.
    pub reason: Reason,
}

/// What a decision comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This line.
    Line(u32),
    /// The client's token.
    Token,
    /// No line says anything, which denies.
    NoLine,
    /// The user's name has `+`, `#` or `/` in it, and this line is a pattern with `%u`.
    UserName(u32),
    /// The client's id has `+`, `#` or `/` in it, and this line is a pattern with `%c`.
    ClientId(u32),
    /// The standing is that of another generation, which denies.
    Outdated,
}

impl Decision {
    pub(super) const fn denied(reason: Reason) -> Self {
        Self { allowed: false, reason }
    }

    pub(super) const fn allowed(line: u32) -> Self {
        let reason = if line == TOKEN_LINE { Reason::Token } else { Reason::Line(line) };
        Self { allowed: true, reason }
    }
}

impl Acl {
    /// Whether a client may publish to a name, or receive from it.
    pub fn decide(&self, standing: &Standing, action: Action, name: TopicName<'_>) -> Decision {
        if standing.generation != self.generation {
            return Decision::denied(Reason::Outdated);
        }
        let [own, roles, patterns] = [0, 1, 2].map(|stage| self.stage(standing, stage));
        let said = |stage| said_of(stage, standing.names(), action, name);
        let decision = said(own).or_else(|| said(roles)).or_else(|| said(patterns));
        decision.unwrap_or(Decision::denied(Reason::NoLine))
    }

    /// Whether a client may subscribe to a filter: whether it may receive from any name that the filter matches.
    pub fn decide_subscribe(&self, standing: &Standing, filter: TopicFilter<'_>) -> Decision {
        if standing.generation != self.generation {
            return Decision::denied(Reason::Outdated);
        }
        let stages = [0, 1, 2].map(|stage| self.stage(standing, stage).collect());
        super::subscribe::decide(&stages, standing.names(), filter)
    }

    /// The sections that decide for a client.
    pub fn standing(&self, who: &Who<'_>) -> Standing {
        let own = match (who.granted, who.user) {
            (Some(granted), _) => Own::Token(Arc::clone(granted)),
            (None, Some(name)) => self.users.get(name).map_or(Own::Nothing, |section| Own::Section(*section)),
            (None, None) => Own::Section(0),
        };
        let has = |role: &Role| role.conditions.iter().any(|condition| condition.speaks_of(who));
        let roles = (0..).zip(&self.roles).filter(|(_, role)| has(role)).map(|(at, _)| at).collect();
        let (generation, user) = (self.generation, who.user.map(Into::into));
        Standing { generation, user, client: who.client.into(), own, roles }
    }

    /// Which state of the file this is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What decides, one after the other: the client's own section, its roles together, the patterns for everybody.
    fn stage<'a>(&'a self, standing: &'a Standing, stage: u8) -> impl Iterator<Item = &'a Rules> {
        let own = match &standing.own {
            Own::Section(section) if stage == 0 => Some(&self.own[*section]),
            Own::Token(granted) if stage == 0 => Some(&granted.0),
            _ => None,
        };
        let roles = if stage == 1 { &standing.roles[..] } else { &[] };
        let patterns = (stage == 2).then_some(&self.patterns);
        own.into_iter().chain(roles.iter().map(|&role| &self.roles[role].rules)).chain(patterns)
    }

    pub(super) fn state(&self) -> &FixedState {
        &self.state
    }
}

/// Building, line by line.
impl Acl {
    pub(super) fn empty(generation: u64, seed: HashSeed) -> Self {
        let (users, roles, patterns) = (BTreeMap::new(), Vec::new(), Rules::default());
        Self { generation, state: seed.state(), own: Vec::new(), users, roles, patterns }
    }

    /// The section of a user, or that of clients without a name, which is asked for first.
    pub(super) fn own(&mut self, user: Option<&str>) -> usize {
        let new = self.own.len();
        let section = user.map_or(new, |name| *self.users.entry(name.into()).or_insert(new));
        if section == new {
            self.own.push(Rules::default());
        }
        section
    }

    pub(super) fn own_mut(&mut self, section: usize) -> &mut Rules {
        &mut self.own[section]
    }

    /// The section of a role, which may go on further down.
    pub(super) fn role(&mut self, name: &str, line: u32) -> usize {
        let known = self.roles.iter().position(|role| &*role.name == name);
        known.unwrap_or_else(|| {
            let (conditions, rules) = (Vec::new(), Rules::default());
            self.roles.push(Role { name: name.into(), line, conditions, rules });
            self.roles.len() - 1
        })
    }

    pub(super) fn role_mut(&mut self, role: usize) -> &mut Role {
        &mut self.roles[role]
    }

    pub(super) fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.iter()
    }

    pub(super) fn patterns_mut(&mut self) -> &mut Rules {
        &mut self.patterns
    }
}

impl Standing {
    fn names(&self) -> Names<'_> {
        Names { user: self.user.as_deref(), client: &self.client }
    }
}

/// What the sections of one stage say together: a line that denies before any that allows.
fn said_of<'a>(
    stage: impl Iterator<Item = &'a Rules>,
    names: Names<'_>,
    action: Action,
    name: TopicName<'_>,
) -> Option<Decision> {
    let mut lines = Lines::default();
    for rules in stage {
        if let Err(reason) = unambiguous(rules, names) {
            return Some(Decision::denied(reason));
        }
        lines.join(rules.find(name, names));
    }
    let line = if action == Action::Publish { lines.write } else { lines.read };
    match lines.deny {
        0 => (line > 0).then_some(Decision::allowed(line)),
        denying => Some(Decision::denied(Reason::Line(denying))),
    }
}

/// Refuses a client whose name would choose what a pattern means.
pub(super) fn unambiguous(rules: &Rules, names: Names<'_>) -> Result<(), Reason> {
    let chooses = |name: &str| memchr::memchr3(b'+', b'#', b'/', name.as_bytes()).is_some();
    if rules.user_line > 0 && names.user.is_some_and(chooses) {
        return Err(Reason::UserName(rules.user_line));
    }
    if rules.client_line > 0 && chooses(names.client) {
        return Err(Reason::ClientId(rules.client_line));
    }
    Ok(())
}
