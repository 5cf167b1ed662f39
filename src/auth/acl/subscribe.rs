//! Filters against filters: whether a subscription can bring anything.
//!
//! What two filters both match is matched by one filter, or by none: level by level, a word against `+` is the word. So for each
//! line that allows reading, what it and the subscription have in common is one filter, and the question is whether one of those
//! is left by the lines that deny. That is told exactly for each of these lines by itself; that several of them together leave
//! nothing is not seen, and such a subscription is granted and brings nothing.

use super::decide::{Decision, Reason, unambiguous};
use super::rules::{NONE, Node, Rules, split};
use super::text::Names;
use crate::topic::TopicFilter;
use std::borrow::Cow;

/// A filter's levels.
type Levels<'a> = Vec<Cow<'a, str>>;

pub(super) fn decide(stages: &[Vec<&Rules>; 3], names: Names<'_>, filter: TopicFilter<'_>) -> Decision {
    let mut reason = Reason::NoLine;
    let mut before: Vec<&Rules> = Vec::new();
    for stage in stages {
        // A line that denies wins over those of its own stage and of later ones.
        before.extend(stage);
        for rules in stage {
            if let Err(reason) = unambiguous(rules, names) {
                return Decision::denied(reason);
            }
            let mut common = Common { rules, names, levels: Vec::new(), denying: &before, denied: 0 };
            if let Some(line) = common.start(filter.as_str()) {
                return Decision::allowed(line);
            }
            if common.denied > 0 && reason == Reason::NoLine {
                reason = Reason::Line(common.denied);
            }
        }
    }
    Decision::denied(reason)
}

/// What is left of a subscription when some of its levels are compared.
#[derive(Clone, Copy)]
enum Rest<'a> {
    Levels(&'a str),
    /// It ended with the level before.
    End,
    /// It ended with `#` at this level or an earlier one.
    Anything,
}

/// A walk through everything that a subscription and the lines of a section have in common.
struct Common<'a> {
    rules: &'a Rules,
    names: Names<'a>,
    /// What the two have in common so far.
    levels: Levels<'a>,
    denying: &'a [&'a Rules],
    /// The first line that left nothing of what was allowed; 0 is none.
    denied: u32,
}

impl<'a> Common<'a> {
    /// The first line found that lets something through.
    fn start(&mut self, filter: &'a str) -> Option<u32> {
        let root = self.rules.root();
        if !filter.starts_with('$') {
            return self.walk(root, after(Some(filter)));
        }
        // First levels that are wildcards do not see it, nor do those that a client's name makes begin with `$`.
        let (level, rest) = split(filter);
        let template = |node: &'a Node| {
            let system = node.templates.iter().filter(|(template, _)| template.is_system());
            system.filter(|(template, _)| template.matches(level, self.names)).map(|(_, child)| *child)
        };
        let children: Vec<u32> = root.literal.get(level).copied().into_iter().chain(template(root)).collect();
        children.into_iter().find_map(|child| self.step(child, level.into(), after(rest)))
    }

    fn walk(&mut self, node: &'a Node, rest: Rest<'a>) -> Option<u32> {
        match rest {
            Rest::End => self.offer(node.here.read).or_else(|| self.offer(node.below.read)),
            Rest::Anything => self
                .offer(node.here.read)
                .or_else(|| self.offer_below(node.below.read, Some("#")))
                .or_else(|| self.children(node, rest)),
            Rest::Levels(text) => self.offer_below(node.below.read, Some(text)).or_else(|| {
                let (level, further) = split(text);
                if level == "+" {
                    self.children(node, after(further))
                } else {
                    self.child(node, level, after(further))
                }
            }),
        }
    }

    /// Those below that match one level.
    fn child(&mut self, node: &'a Node, level: &'a str, rest: Rest<'a>) -> Option<u32> {
        let names = self.names;
        let templates = node.templates.iter().filter(|(template, _)| template.matches(level, names));
        let plus = (node.plus != NONE).then_some(node.plus);
        let mut children = node
            .literal
            .get(level)
            .copied()
            .into_iter()
            .chain(plus)
            .chain(templates.map(|(_, child)| *child));
        children.find_map(|child| self.step(child, level.into(), rest))
    }

    /// All below.
    fn children(&mut self, node: &'a Node, rest: Rest<'a>) -> Option<u32> {
        let names = self.names;
        let literal = node.literal.iter().map(|(level, child)| (Cow::Borrowed(&**level), *child));
        let plus = (node.plus != NONE).then_some((Cow::Borrowed("+"), node.plus));
        let filled = node.templates.iter();
        let filled = filled.filter_map(|(template, child)| Some((template.filled(names)?.into(), *child)));
        // Wildcards in the first level do not see what begins with `$`.
        let first = self.levels.is_empty();
        literal
            .chain(plus)
            .chain(filled)
            .filter(|(level, _)| !(first && level.starts_with('$')))
            .find_map(|(level, child)| self.step(child, level, rest))
    }

    fn step(&mut self, child: u32, level: Cow<'a, str>, rest: Rest<'a>) -> Option<u32> {
        self.levels.push(level);
        let found = self.walk(self.rules.node(child), rest);
        self.levels.pop();
        found
    }

    fn offer(&mut self, line: u32) -> Option<u32> {
        self.offer_below(line, None)
    }

    /// The line, unless a line that denies leaves nothing of what is in common: the levels so far and these.
    fn offer_below(&mut self, line: u32, further: Option<&'a str>) -> Option<u32> {
        if line == 0 {
            return None;
        }
        let whole = self.levels.len();
        self.levels.extend(further.into_iter().flat_map(|text| text.split('/')).map(Cow::Borrowed));
        let names = self.names;
        // A name has at least one character, so one empty level is none.
        let nothing = matches!(&self.levels[..], [level] if level.is_empty());
        let denied =
            self.denying.iter().map(|rules| denies_all(rules, &self.levels, names)).find(|line| *line > 0);
        self.levels.truncate(whole);
        if self.denied == 0 {
            self.denied = denied.unwrap_or_default();
        }
        (denied.is_none() && !nothing).then_some(line)
    }
}

fn after(rest: Option<&str>) -> Rest<'_> {
    match rest {
        None => Rest::End,
        Some("#") => Rest::Anything,
        Some(text) => Rest::Levels(text),
    }
}

/// The line that denies every name which a filter matches; 0 is none.
fn denies_all(rules: &Rules, filter: &[Cow<'_, str>], names: Names<'_>) -> u32 {
    let root = rules.root();
    let Some((first, rest)) = filter.split_first() else { return 0 };
    if first.starts_with('$') {
        let templates = root
            .templates
            .iter()
            .filter(|(template, _)| template.is_system() && template.matches(first, names));
        let children = root.literal.get(&**first).into_iter().chain(templates.map(|(_, child)| child));
        return children
            .map(|child| denies_below(rules, *child, rest, names))
            .find(|line| *line > 0)
            .unwrap_or_default();
    }
    if first == "#" && root.below.deny == 0 && root.plus != NONE {
        // Every name has a first level, so `+/#` leaves no more of `#` than `#` does.
        return rules.node(root.plus).below.deny;
    }
    denies_below(rules, 0, filter, names)
}

fn denies_below(rules: &Rules, at: u32, filter: &[Cow<'_, str>], names: Names<'_>) -> u32 {
    let node = rules.node(at);
    if node.below.deny > 0 {
        return node.below.deny;
    }
    let Some((level, rest)) = filter.split_first() else { return node.here.deny };
    if level == "#" {
        return 0;
    }
    let plus = (node.plus != NONE).then_some(node.plus);
    let word = (level != "+").then_some(&**level);
    let literal = word.and_then(|level| node.literal.get(level)).copied();
    let templates = node
        .templates
        .iter()
        .filter(|(template, _)| word.is_some_and(|level| template.matches(level, names)));
    let children = plus.into_iter().chain(literal).chain(templates.map(|(_, child)| *child));
    children.map(|child| denies_below(rules, child, rest, names)).find(|line| *line > 0).unwrap_or_default()
}
