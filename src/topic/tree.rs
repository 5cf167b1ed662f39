//! Filters with wildcards: a tree of levels.
//!
//! A node stands for the levels from the root to it. Literal children are found by their text: the first one is named in
//! the node itself, so that a chain of only children costs no hash and no index entry; all others are in one index for
//! the whole tree, keyed by parent and text. The child for `+` has a field of its own. `#` is not a node: it ends every
//! filter that has it, so the node before it holds its wants.
//!
//! Invariant between calls: each node but the root has wants or children.

use super::arena::{Arena, HashIndex, NONE};
use super::matches::{Matches, Scratch};
use super::text::Text;
use super::wants::Wants;
use super::{TopicName, levels, split_level};
use crate::types::HashSeed;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};

const ROOT: u32 = 0;

#[derive(Debug)]
pub(super) struct WildcardFilters {
    nodes: Arena<Node>,
    /// Literal children that are not their parent's `first`.
    children: HashIndex,
    wants: Arena<Wants>,
    state: FixedState,
}

#[derive(Debug)]
struct Node {
    text: Text<14>,
    parent: u32,
    /// The child for `+`.
    plus: u32,
    /// One literal child.
    first: u32,
    /// How many further literal children are in the index.
    others: u32,
    /// Wants of the filter that ends here.
    here: u32,
    /// Wants of the filter that goes on with `#` and ends.
    below: u32,
}

const _: () = assert!(size_of::<Node>() == 40, "there is one per level of each filter");

/// Where a filter's wants hang.
#[derive(Clone, Copy)]
struct Spot {
    node: u32,
    below: bool,
}

impl Node {
    fn new(parent: u32, text: &[u8]) -> Self {
        Self { text: Text::new(text), parent, plus: NONE, first: NONE, others: 0, here: NONE, below: NONE }
    }

    fn is_idle(&self) -> bool {
        self.others == 0 && [self.plus, self.first, self.here, self.below] == [NONE; 4]
    }
}

impl WildcardFilters {
    pub(super) fn new(seed: HashSeed) -> Self {
        let mut nodes = Arena::new();
        let root = nodes.insert(Node::new(NONE, b""));
        debug_assert_eq!(root, ROOT);
        Self { nodes, children: HashIndex::default(), wants: Arena::new(), state: seed.state() }
    }

    pub(super) fn len(&self) -> usize {
        self.wants.len()
    }

    /// The wants of a filter, made when it is new; the caller adds somebody.
    pub(super) fn entry(&mut self, filter: &str) -> &mut Wants {
        let mut spot = Spot { node: ROOT, below: false };
        for level in levels(filter) {
            match level {
                "#" => spot.below = true,
                "+" => spot.node = self.plus_or_new(spot.node),
                literal => spot.node = self.literal_or_new(spot.node, literal.as_bytes()),
            }
        }
        let mut id = *self.wants_at(spot);
        if id == NONE {
            id = self.wants.insert(Wants::Nobody);
            *self.wants_at(spot) = id;
        }
        &mut self.wants[id]
    }

    /// Changes the wants of a filter that is there, and drops it when nobody is left.
    pub(super) fn update<R>(&mut self, filter: &str, change: impl FnOnce(&mut Wants) -> R) -> Option<R> {
        let spot = self.locate(filter)?;
        let id = *self.wants_at(spot);
        if id == NONE {
            return None;
        }
        let wants = &mut self.wants[id];
        let outcome = change(wants);
        if wants.is_nobody() {
            self.wants.remove(id);
            *self.wants_at(spot) = NONE;
            self.prune(spot.node);
        }
        Some(outcome)
    }

    /// Adds the wants of all filters that match. Visits only nodes whose levels match the name's so far; keeps the
    /// alternatives in a stack of at most one entry per level instead of recursing.
    pub(super) fn matches(&self, name: TopicName<'_>, out: &mut Matches, scratch: &mut Scratch) {
        if self.wants.len() == 0 {
            return;
        }
        let text = name.as_str().as_bytes();
        let (mut node, mut level) = (ROOT, 0);
        loop {
            out.visit();
            let current = &self.nodes[node];
            // Names that start with `$` are hidden from wildcards in the first level. [MQTT-4.7.2-1]
            let wildcards = node != ROOT || !name.is_system();
            if wildcards && current.below != NONE {
                out.add(&self.wants[current.below], scratch);
            }
            let mut next = NONE;
            if level > text.len() {
                if current.here != NONE {
                    out.add(&self.wants[current.here], scratch);
                }
            } else {
                let rest = &text[level..];
                let len = memchr::memchr(b'/', rest).unwrap_or(rest.len());
                next = self.literal(node, &rest[..len]).unwrap_or(NONE);
                // After the last level this is one more than the name's length.
                level += len + 1;
                if wildcards && current.plus != NONE {
                    if next != NONE {
                        scratch.pending.push((next, level));
                    }
                    next = current.plus;
                }
            }
            if next == NONE {
                let Some(pending) = scratch.pending.pop() else { return };
                (next, level) = pending;
            }
            node = next;
        }
    }

    /// All filters, as text, with their wants.
    pub(super) fn iter(&self) -> impl Iterator<Item = (String, &Wants)> {
        self.nodes.iter().flat_map(|(id, node)| {
            let here = (node.here != NONE).then(|| (self.text(id, false), &self.wants[node.here]));
            let below = (node.below != NONE).then(|| (self.text(id, true), &self.wants[node.below]));
            here.into_iter().chain(below)
        })
    }

    /// The filter that ends at a node, or that goes on there with `#`.
    fn text(&self, mut id: u32, below: bool) -> String {
        let mut levels: Vec<&[u8]> = Vec::new();
        if below {
            levels.push(b"#");
        }
        while id != ROOT {
            let node = &self.nodes[id];
            levels.push(node.text.as_bytes());
            id = node.parent;
        }
        levels.reverse();
        String::from_utf8(levels.join(&b'/')).expect("levels were cut out of valid text")
    }

    fn locate(&self, filter: &str) -> Option<Spot> {
        let mut spot = Spot { node: ROOT, below: false };
        let mut rest = Some(filter);
        while let Some((level, further)) = rest.map(split_level) {
            match level {
                "#" => spot.below = true,
                "+" => spot.node = Some(self.nodes[spot.node].plus).filter(|&id| id != NONE)?,
                literal => spot.node = self.literal(spot.node, literal.as_bytes())?,
            }
            rest = further;
        }
        Some(spot)
    }

    fn wants_at(&mut self, spot: Spot) -> &mut u32 {
        let node = &mut self.nodes[spot.node];
        if spot.below { &mut node.below } else { &mut node.here }
    }

    /// The literal child of a node.
    fn literal(&self, parent: u32, level: &[u8]) -> Option<u32> {
        let Node { first, others, .. } = self.nodes[parent];
        if first != NONE && self.nodes[first].text.as_bytes() == level {
            return Some(first);
        }
        if others == 0 {
            return None;
        }
        self.children.find(self.hash(parent, level), |id| {
            let node = &self.nodes[id];
            node.parent == parent && node.text.as_bytes() == level
        })
    }

    fn literal_or_new(&mut self, parent: u32, level: &[u8]) -> u32 {
        if let Some(child) = self.literal(parent, level) {
            return child;
        }
        let child = self.nodes.insert(Node::new(parent, level));
        let parent_node = &mut self.nodes[parent];
        if parent_node.first == NONE {
            parent_node.first = child;
        } else {
            parent_node.others += 1;
            self.children.insert(self.hash(parent, level), child);
        }
        child
    }

    fn plus_or_new(&mut self, parent: u32) -> u32 {
        if self.nodes[parent].plus == NONE {
            self.nodes[parent].plus = self.nodes.insert(Node::new(parent, b"+"));
        }
        self.nodes[parent].plus
    }

    /// Removes a node that nothing needs any more, and those above it that were only there for it.
    fn prune(&mut self, mut id: u32) {
        while id != ROOT && self.nodes[id].is_idle() {
            let Node { parent, text, .. } = self.nodes.remove(id);
            let parent_node = &mut self.nodes[parent];
            if parent_node.plus == id {
                parent_node.plus = NONE;
            } else if parent_node.first == id {
                parent_node.first = NONE;
            } else {
                parent_node.others -= 1;
                self.children.remove(self.hash(parent, text.as_bytes()), id);
            }
            id = parent;
        }
    }

    fn hash(&self, parent: u32, level: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write_u32(parent);
        hasher.write(level);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{Subscriber, SubscriptionFlags};
    use crate::types::{QoS, SessionKey};

    const FILTERS: [&str; 12] = [
        "#",
        "+",
        "/#",
        "+/",
        "a/#",
        "a/+",
        "a/b/#",
        "a/b/+/c",
        "a/c/+",
        "a//+",
        "+/+/#",
        "日本/一二三四五六/+",
    ];

    fn subscribe(tree: &mut WildcardFilters, filter: &str) {
        let options = SubscriptionFlags::new(QoS::AtMostOnce, false, false);
        let session = SessionKey { slot: 1, generation: 0 };
        tree.entry(filter).subscribe(Subscriber { session, options, subscription_id: 0 });
    }

    fn unsubscribe(tree: &mut WildcardFilters, filter: &str) -> bool {
        let session = SessionKey { slot: 1, generation: 0 };
        tree.update(filter, |wants| wants.unsubscribe(session)).flatten().is_some()
    }

    fn filters(tree: &WildcardFilters) -> Vec<String> {
        let mut filters: Vec<_> = tree.iter().map(|(filter, _)| filter).collect();
        filters.sort_unstable();
        filters
    }

    #[test]
    fn filters_are_read_back_as_they_were_written() {
        let mut tree = WildcardFilters::new(HashSeed(1));
        FILTERS.iter().for_each(|filter| subscribe(&mut tree, filter));
        let mut expected = FILTERS;
        expected.sort_unstable();
        assert_eq!((filters(&tree), tree.len()), (expected.map(str::to_owned).to_vec(), FILTERS.len()));
    }

    #[test]
    fn nodes_go_with_the_last_filter_that_needs_them_in_any_order() {
        for skip in 0..FILTERS.len() {
            let mut tree = WildcardFilters::new(HashSeed(1));
            FILTERS.iter().for_each(|filter| subscribe(&mut tree, filter));
            for i in 0..FILTERS.len() {
                // 5 and 12 have no common factor, so that each filter comes once.
                assert!(unsubscribe(&mut tree, FILTERS[(skip + 5 * i) % FILTERS.len()]));
                assert_eq!(tree.len(), FILTERS.len() - 1 - i);
            }
            assert_eq!((tree.nodes.len(), tree.children.len()), (1, 0), "only the root is left");
        }
    }

    #[test]
    fn a_filter_that_is_not_there_is_not_found_in_part_of_another() {
        let mut tree = WildcardFilters::new(HashSeed(1));
        subscribe(&mut tree, "a/+/c/#");
        for filter in ["a/#", "a/+", "a/+/c", "a/+/c/+", "+/#", "b/#", "#"] {
            assert!(!unsubscribe(&mut tree, filter), "{filter}");
        }
        assert_eq!(tree.nodes.len(), 4);
        assert!(unsubscribe(&mut tree, "a/+/c/#"));
    }

    #[test]
    fn the_first_child_is_replaced_when_it_goes() {
        let mut tree = WildcardFilters::new(HashSeed(1));
        ["a/+", "b/+", "c/+"].iter().for_each(|filter| subscribe(&mut tree, filter));
        assert_eq!((tree.nodes[ROOT].others, tree.children.len()), (2, 2));
        assert!(unsubscribe(&mut tree, "a/+") && tree.nodes[ROOT].first == NONE);
        subscribe(&mut tree, "d/+");
        assert!(tree.nodes[ROOT].first != NONE && tree.nodes[ROOT].others == 2);
        assert_eq!(filters(&tree), ["b/+", "c/+", "d/+"]);
    }
}
