//! A folder as a disk has it: what is on the platter, and what was only asked for.

use super::recording::{Event, Handle};
use pantala::types::Rng;
use std::collections::BTreeMap;
use std::fmt;

/// The unit that a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// Files and folders by number; the folder itself is number 0.
type Node = usize;
const ROOT: Node = 0;

/// Paths with what is in the files; folders have none.
pub(crate) type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// A change to a file or a folder that no sync has covered yet.
#[derive(Clone, Debug)]
struct Pending<T> {
    /// The number of the event.
    event: u64,
    change: T,
}

#[derive(Clone, Debug)]
enum Content {
    Write { offset: u64, data: Vec<u8> },
    Length(u64),
}

#[derive(Clone, Debug)]
enum Name {
    Set(String, Node),
    Remove(String),
    Rename(String, String),
    /// From another folder, in one step with [`Self::MovedOut`] there.
    MovedIn {
        name: String,
        node: Node,
        from: Node,
    },
    MovedOut {
        name: String,
        to: Node,
    },
}

#[derive(Clone, Debug)]
enum Kind {
    File { safe: Vec<u8>, pending: Vec<Pending<Content>>, length: u64 },
    Folder { safe: BTreeMap<String, Node>, pending: Vec<Pending<Name>>, now: BTreeMap<String, Node> },
}

impl Kind {
    fn folder() -> Self {
        Self::Folder { safe: BTreeMap::new(), pending: Vec::new(), now: BTreeMap::new() }
    }

    /// Whether something moved between this folder and another, and no sync covered that.
    fn moves(&self) -> bool {
        let Self::Folder { pending, .. } = self else { return false };
        pending.iter().any(|pending| matches!(pending.change, Name::MovedIn { .. } | Name::MovedOut { .. }))
    }

    fn file() -> Self {
        Self::File { safe: Vec::new(), pending: Vec::new(), length: 0 }
    }
}

/// What became of what was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) kept: u64,
    pub(crate) dropped: u64,
    pub(crate) torn: u64,
    pub(crate) names_kept: u64,
    pub(crate) names_dropped: u64,
}

impl std::ops::AddAssign for Cut {
    fn add_assign(&mut self, other: Self) {
        self.kept += other.kept;
        self.dropped += other.dropped;
        self.torn += other.torn;
        self.names_kept += other.names_kept;
        self.names_dropped += other.names_dropped;
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kept, dropped, torn, names_kept, names_dropped } = self;
        write!(
            f,
            "unsynced writes: {kept} kept, {dropped} dropped, {torn} torn; \
             unsynced names: {names_kept} kept, {names_dropped} dropped"
        )
    }
}

/// The folder over all lives of a process.
#[derive(Debug)]
pub(crate) struct Disk {
    nodes: Vec<Kind>,
    handles: BTreeMap<Handle, Node>,
    /// Syncs that run: the event that each began with.
    syncs: BTreeMap<u64, u64>,
    /// The same for syncs of everything.
    syncs_of_all: BTreeMap<u64, u64>,
    events: u64,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            nodes: vec![Kind::folder()],
            handles: BTreeMap::new(),
            syncs: BTreeMap::new(),
            syncs_of_all: BTreeMap::new(),
            events: 0,
        }
    }
}

impl Disk {
    /// Does what was done. What was opened in the life before is not known any more.
    pub(crate) fn play(&mut self, events: impl IntoIterator<Item = Event>) {
        self.handles.clear();
        self.syncs.clear();
        self.syncs_of_all.clear();
        for event in events {
            self.events += 1;
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Open { handle, path, emptied } => {
                let node = self.find(&path).unwrap_or_else(|| self.make(&path, Kind::file()));
                self.handles.insert(handle, node);
                if emptied {
                    self.length(node, 0);
                }
            }
            Event::OpenFolder { handle, path } => {
                let node = self.find(&path).unwrap_or_else(|| panic!("{path:?} was opened and never made"));
                self.handles.insert(handle, node);
            }
            Event::Write { handle, offset, data, length } => {
                let node = self.handles[&handle];
                let end = offset + data.len() as u64;
                self.content(node, Content::Write { offset, data }, end);
                self.at_least(node, length);
            }
            Event::Length { handle, length } => self.length(self.handles[&handle], length),
            Event::SyncBegin { handle, number, length } => {
                if let Some(length) = length {
                    self.at_least(self.handles[&handle], length);
                }
                self.syncs.insert(number, self.events);
            }
            Event::SyncEnd { handle, number } => {
                let began = self.syncs.remove(&number).expect("a sync begins before it ends");
                self.sync(self.handles[&handle], began);
            }
            Event::SyncFailed { handle, number } => {
                let began = self.syncs.remove(&number).expect("a sync begins before it fails");
                self.forget(self.handles[&handle], began);
            }
            Event::SyncAllBegin { number } => {
                self.syncs_of_all.insert(number, self.events);
            }
            Event::SyncAllEnd { number } => {
                let began = self.syncs_of_all.remove(&number).expect("a sync begins before it ends");
                (0..self.nodes.len()).for_each(|node| self.sync(node, began));
            }
            Event::Rename { from, to } => self.rename(&from, &to),
            Event::Remove { path } => {
                let (folder, name) = self.parent(&path);
                self.name(folder, Name::Remove(name));
            }
            Event::MakeFolder { path } if path.is_empty() => {}
            Event::MakeFolder { path } => {
                self.make(&path, Kind::folder());
            }
        }
    }

    /// The node that a path leads to now.
    fn find(&self, path: &str) -> Option<Node> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(ROOT, |node, name| match &self.nodes[node] {
            Kind::Folder { now, .. } => now.get(name).copied(),
            Kind::File { .. } => None,
        })
    }

    /// The folder that a path's last name is in, and the name.
    fn parent(&self, path: &str) -> (Node, String) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.find(folder).unwrap_or_else(|| panic!("{path:?} is in a folder that never was"));
        (folder, name.to_owned())
    }

    fn make(&mut self, path: &str, kind: Kind) -> Node {
        let (folder, name) = self.parent(path);
        let node = self.nodes.len();
        self.nodes.push(kind);
        self.name(folder, Name::Set(name, node));
        node
    }

    fn rename(&mut self, from: &str, to: &str) {
        let ((folder, old), (target, new)) = (self.parent(from), self.parent(to));
        if folder == target {
            return self.name(folder, Name::Rename(old, new));
        }
        let node = self.find(from).unwrap_or_else(|| panic!("{from:?} was renamed and never made"));
        self.name(folder, Name::MovedOut { name: old, to: target });
        self.name(target, Name::MovedIn { name: new, node, from: folder });
    }

    fn name(&mut self, folder: Node, change: Name) {
        let event = self.events;
        let Kind::Folder { now, pending, .. } = &mut self.nodes[folder] else {
            panic!("names are in folders")
        };
        apply_name(now, &change);
        pending.push(Pending { event, change });
    }

    fn content(&mut self, node: Node, change: Content, end: u64) {
        let event = self.events;
        let Kind::File { pending, length, .. } = &mut self.nodes[node] else {
            panic!("folders have no bytes")
        };
        *length = (*length).max(end);
        pending.push(Pending { event, change });
    }

    fn length(&mut self, node: Node, to: u64) {
        let event = self.events;
        let Kind::File { pending, length, .. } = &mut self.nodes[node] else {
            panic!("folders have no bytes")
        };
        if *length != to {
            *length = to;
            pending.push(Pending { event, change: Content::Length(to) });
        }
    }

    /// Room was reserved past libc.
    fn at_least(&mut self, node: Node, to: u64) {
        if matches!(&self.nodes[node], Kind::File { length, .. } if *length < to) {
            self.length(node, to);
        }
    }

    /// What was written before this event never gets to the disk. Room that was reserved is there.
    fn forget(&mut self, node: Node, began: u64) {
        let Kind::File { pending, .. } = &mut self.nodes[node] else { panic!("folders have no bytes") };
        pending.retain(|pending| pending.event >= began || !matches!(pending.change, Content::Write { .. }));
    }

    /// What came before this event is safe.
    fn sync(&mut self, node: Node, began: u64) {
        match &mut self.nodes[node] {
            Kind::File { safe, pending, .. } => {
                let later = pending.partition_point(|pending| pending.event < began);
                for Pending { change, .. } in pending.drain(..later) {
                    apply_content(safe, &change);
                }
            }
            Kind::Folder { safe, pending, .. } => {
                let later = pending.partition_point(|pending| pending.event < began);
                let mut moves = Vec::new();
                for Pending { event, change } in pending.drain(..later) {
                    apply_name(safe, &change);
                    if let Name::MovedIn { from: other, .. } | Name::MovedOut { to: other, .. } = change {
                        moves.push((other, event + 1));
                    }
                }
                // The other half, and with it what came before it there.
                moves.into_iter().for_each(|(other, began)| self.sync(other, began));
            }
        }
    }

    /// The power goes. What no sync covered is there in whole, in part or not at all.
    ///
    /// File systems keep the order of names, mostly: half of the time one moment holds for all folders, else one for
    /// each, unless something moved between two. Bytes have no order: a file has all of them, none, those before a moment, or any of them.
    pub(crate) fn cut(&mut self, rng: &mut Rng) -> Cut {
        let mut cut = Cut::default();
        let one_moment = rng.chance(1, 2) || self.nodes.iter().any(Kind::moves);
        let everywhere = one_moment.then(|| self.moment_of_names(rng));
        for node in &mut self.nodes {
            match node {
                Kind::File { safe, pending, length } => {
                    survive(safe, std::mem::take(pending), rng, &mut cut);
                    *length = safe.len() as u64;
                }
                Kind::Folder { safe, pending, now } => {
                    let here = rng.below(pending.len() as u64 + 1);
                    for (number, Pending { event, change }) in (0..).zip(pending.drain(..)) {
                        if everywhere.map_or(number < here, |moment| event < moment) {
                            apply_name(safe, &change);
                            cut.names_kept += 1;
                        } else {
                            cut.names_dropped += 1;
                        }
                    }
                    now.clone_from(safe);
                }
            }
        }
        self.forget_removed();
        cut
    }

    /// After a cut nothing can bring a file back that no folder names: its bytes would pile up over the lives.
    fn forget_removed(&mut self) {
        let (mut named, mut next) = (vec![false; self.nodes.len()], vec![ROOT]);
        while let Some(node) = next.pop() {
            named[node] = true;
            if let Kind::Folder { now, .. } = &self.nodes[node] {
                next.extend(now.values());
            }
        }
        for (node, _) in self.nodes.iter_mut().zip(named).filter(|(_, named)| !named) {
            *node = Kind::file();
        }
    }

    /// The event before which all changes of names are on the disk.
    fn moment_of_names(&self, rng: &mut Rng) -> u64 {
        let of = |node: &Kind| match node {
            Kind::File { .. } => Vec::new(),
            Kind::Folder { pending, .. } => pending.iter().map(|pending| pending.event).collect(),
        };
        let mut moments: Vec<u64> = self.nodes.iter().flat_map(of).collect();
        moments.push(u64::MAX);
        *rng.pick(&moments)
    }

    /// Everything as the process saw it, whether it is safe or not.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        self.gather(ROOT, "", &mut tree);
        tree
    }

    fn gather(&self, folder: Node, prefix: &str, tree: &mut Tree) {
        let Kind::Folder { now, .. } = &self.nodes[folder] else { panic!("names are in folders") };
        for (name, node) in now {
            let path = format!("{prefix}{name}");
            match &self.nodes[*node] {
                Kind::File { safe, pending, .. } => {
                    let mut bytes = safe.clone();
                    pending.iter().for_each(|pending| apply_content(&mut bytes, &pending.change));
                    tree.insert(path, Some(bytes));
                }
                Kind::Folder { .. } => {
                    self.gather(*node, &format!("{path}/"), tree);
                    tree.insert(path, None);
                }
            }
        }
    }
}

fn apply_name(names: &mut BTreeMap<String, Node>, change: &Name) {
    match change {
        Name::Set(name, node) | Name::MovedIn { name, node, .. } => {
            names.insert(name.clone(), *node);
        }
        Name::Remove(name) | Name::MovedOut { name, .. } => {
            names.remove(name);
        }
        Name::Rename(from, to) => {
            let node = names.remove(from).expect("what is renamed was made before");
            names.insert(to.clone(), node);
        }
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("files of a test are small")
}

fn apply_content(bytes: &mut Vec<u8>, change: &Content) {
    match change {
        Content::Write { offset, data } => {
            let (start, end) = (index(*offset), index(*offset) + data.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(data);
        }
        Content::Length(length) => bytes.resize(index(*length), 0),
    }
}

/// What a file has of its unsynced changes.
fn survive(safe: &mut Vec<u8>, pending: Vec<Pending<Content>>, rng: &mut Rng, cut: &mut Cut) {
    if pending.is_empty() {
        return;
    }
    let (all, none) = (pending.len() as u64, 0);
    // How many of the first ones are there for sure; past them each is there, is not there, or is torn.
    let (whole, rest) = match rng.below(4) {
        0 => (all, false),
        1 => (none, false),
        2 => (rng.below(all + 1), false),
        _ => (none, true),
    };
    for (number, Pending { change, .. }) in (0..).zip(pending) {
        let fate = match rng.below(3) {
            _ if number < whole => 0,
            fate if rest => fate,
            // The one that was under way.
            _ if number == whole => 2,
            _ => 1,
        };
        match (fate, change) {
            (0, change) => {
                apply_content(safe, &change);
                cut.kept += 1;
            }
            (2, Content::Write { offset, data }) => {
                tear(safe, offset, &data, rng);
                cut.torn += 1;
            }
            _ => cut.dropped += 1,
        }
    }
}

/// Writes some of the sectors.
fn tear(safe: &mut Vec<u8>, offset: u64, data: &[u8], rng: &mut Rng) {
    let mut at = 0;
    while at < data.len() {
        let to_boundary = SECTOR - (offset + at as u64) % SECTOR;
        let end = data.len().min(at + index(to_boundary));
        if rng.chance(1, 2) {
            let change = Content::Write { offset: offset + at as u64, data: data[at..end].to_vec() };
            apply_content(safe, &change);
        }
        at = end;
    }
}
