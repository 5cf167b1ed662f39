//! The lines of one section as a tree of levels: what a name matches is found by walking down its levels once.

use super::text::{Names, Template};
use crate::topic::{TopicFilter, TopicName};
use std::collections::BTreeMap;

const ROOT: u32 = 0;
/// No node: nothing points back to the root.
pub(super) const NONE: u32 = 0;

/// What a line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    ReadWrite,
    Deny,
}

/// The first lines that say something about a name, from 1; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) deny: u32,
    pub(super) read: u32,
    pub(super) write: u32,
}

impl Lines {
    fn add(&mut self, access: Access, line: u32) {
        let new = match access {
            Access::Read => Self { read: line, ..Self::default() },
            Access::Write => Self { write: line, ..Self::default() },
            Access::ReadWrite => Self { read: line, write: line, deny: 0 },
            Access::Deny => Self { deny: line, ..Self::default() },
        };
        self.join(new);
    }

    pub(super) fn join(&mut self, other: Self) {
        for (mine, theirs) in
            [(&mut self.deny, other.deny), (&mut self.read, other.read), (&mut self.write, other.write)]
        {
            if theirs > 0 && (*mine == 0 || theirs < *mine) {
                *mine = theirs;
            }
        }
    }
}

/// The lines of one section.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    nodes: Vec<Node>,
    /// The first line with `%u`, and the first with `%c`; 0 is none.
    pub(super) user_line: u32,
    pub(super) client_line: u32,
}

/// What filters have in common up to some level.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) literal: BTreeMap<Box<str>, u32>,
    pub(super) templates: Vec<(Template, u32)>,
    pub(super) plus: u32,
    /// Lines whose filter ends here.
    pub(super) here: Lines,
    /// Lines whose filter goes on with `#`.
    pub(super) below: Lines,
}

impl Default for Rules {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], user_line: 0, client_line: 0 }
    }
}

impl Rules {
    /// Adds a line. In a pattern, `%u` and `%c` stand for a client's names.
    pub(super) fn add(&mut self, filter: TopicFilter<'_>, access: Access, line: u32, pattern: bool) {
        let (mut at, mut levels) = (ROOT, filter.full().split('/').peekable());
        while let Some(level) = levels.next() {
            if level == "#" && levels.peek().is_none() {
                self.node_mut(at).below.add(access, line);
                return;
            }
            at = self.child(at, level, line, pattern);
        }
        self.node_mut(at).here.add(access, line);
    }

    fn child(&mut self, at: u32, level: &str, line: u32, pattern: bool) -> u32 {
        let new = u32::try_from(self.nodes.len())
            .expect("a file has fewer levels than bytes, and those are bounded");
        let node = self.node_mut(at);
        let child = if level == "+" {
            if node.plus == NONE {
                node.plus = new;
            }
            node.plus
        } else if let Some(template) = Template::of(level).filter(|_| pattern) {
            let known = node.templates.iter().find(|(known, _)| *known == template).map(|(_, child)| *child);
            let (user, client) = (template.has_user(), template.has_client());
            if known.is_none() {
                node.templates.push((template, new));
            }
            self.note(user, client, line);
            known.unwrap_or(new)
        } else {
            *node.literal.entry(level.into()).or_insert(new)
        };
        if child == new {
            self.nodes.push(Node::default());
        }
        child
    }

    fn note(&mut self, user: bool, client: bool, line: u32) {
        for (used, first) in [(user, &mut self.user_line), (client, &mut self.client_line)] {
            if used && *first == 0 {
                *first = line;
            }
        }
    }

    /// The first lines that say something about a name.
    pub(super) fn find(&self, name: TopicName<'_>, names: Names<'_>) -> Lines {
        let mut lines = Lines::default();
        let (text, root) = (name.as_str(), self.root());
        let (level, rest) = split(text);
        if name.is_system() {
            // Wildcards in the first level do not see it, nor may a client's own name put a `$` there.
            if let Some(&child) = root.literal.get(level) {
                self.walk(child, rest, names, &mut lines);
            }
            for (_, child) in root
                .templates
                .iter()
                .filter(|(template, _)| template.is_system() && template.matches(level, names))
            {
                self.walk(*child, rest, names, &mut lines);
            }
        } else {
            self.walk(ROOT, Some(text), names, &mut lines);
        }
        lines
    }

    fn walk(&self, at: u32, rest: Option<&str>, names: Names<'_>, lines: &mut Lines) {
        let node = self.node(at);
        // `#` also stands for the level before it.
        lines.join(node.below);
        let Some(rest) = rest else {
            lines.join(node.here);
            return;
        };
        let (level, rest) = split(rest);
        if let Some(&child) = node.literal.get(level) {
            self.walk(child, rest, names, lines);
        }
        if node.plus != NONE {
            self.walk(node.plus, rest, names, lines);
        }
        for (_, child) in node.templates.iter().filter(|(template, _)| template.matches(level, names)) {
            self.walk(*child, rest, names, lines);
        }
    }

    pub(super) fn root(&self) -> &Node {
        self.node(ROOT)
    }

    pub(super) fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }
}

/// The first level, and what follows its separator.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'/', text.as_bytes()) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}
