//! Which cores the shards run on: a list as `taskset` writes it, and how many shards share it.

use crate::types::SHARDS_MAX;
use std::fmt;
use std::str::FromStr;

/// Cores by the kernel's numbers, ascending, each once, at least one. Written `0-3,6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(Vec<u16>);

/// More than any kernel numbers; keeps a slip like `0-99999999` from becoming a long list.
const CORE_MAX: u16 = 8_191;

impl CoreList {
    /// The cores that this process may run on: what `taskset`, a container or a service manager left it.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn of_this_process() -> std::io::Result<Self> {
        let set = rustix::thread::sched_getaffinity(None)?;
        let mut cores =
            (0u16..).take(rustix::thread::CpuSet::MAX_CPU).filter(|&c| set.is_set(usize::from(c)));
        let first = cores.next().ok_or_else(|| std::io::Error::other("no core is allowed"))?;
        Ok(Self(std::iter::once(first).chain(cores).collect()))
    }

    /// The cores, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().copied()
    }

    /// How many there are; never 0.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Those that are not in `allowed`, if any.
    pub(super) fn beyond(&self, allowed: &Self) -> Option<Self> {
        let beyond: Vec<u16> = self.iter().filter(|core| !allowed.0.contains(core)).collect();
        (!beyond.is_empty()).then_some(Self(beyond))
    }
}

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for run in self.0.chunk_by(|a, b| a + 1 == *b) {
            let (first, last) = (run[0], run[run.len() - 1]);
            match run.len() {
                1 => write!(f, "{comma}{first}")?,
                2 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

/// Not a list of cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("core numbers such as \"0-3,6\", or \"all\"; to set how many shards run, use shards")]
pub struct BadCoreList;

impl FromStr for CoreList {
    type Err = BadCoreList;

    fn from_str(text: &str) -> Result<Self, BadCoreList> {
        let number =
            |text: &str| text.trim().parse().ok().filter(|&core| core <= CORE_MAX).ok_or(BadCoreList);
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u16, u16) = (number(first)?, number(last)?);
            if first > last {
                return Err(BadCoreList);
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Self(cores))
    }
}

/// `[cores]`: where shards run and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cores {
    /// The cores to use; `None`: every one that the process may run on.
    pub list: Option<CoreList>,
    /// How many shards; `None`: one on each core, up to [`SHARDS_MAX`]. More than cores share them in turn, fewer
    /// use the first ones.
    pub shards: Option<u16>,
}

impl Cores {
    /// The core of each shard, given what the process may run on.
    pub fn placement(&self, allowed: &CoreList) -> Vec<usize> {
        let list = self.list.as_ref().unwrap_or(allowed);
        let shards = self.shards.map_or_else(|| list.count().min(SHARDS_MAX), usize::from);
        list.0.iter().copied().map(usize::from).cycle().take(shards).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CoreList {
        text.parse().expect(text)
    }

    #[test]
    fn a_list_is_shown_in_its_shortest_form() {
        for (given, shown) in
            [("0", "0"), ("0-3,6", "0-3,6"), ("6,0,1", "0,1,6"), (" 2 - 4 , 3,5", "2-5"), ("7-7", "7")]
        {
            assert_eq!(list(given).to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "a", "0-", "-1", "3-1", "0,,1", "0-99999", "8192", "1.5", "0x1", "all"] {
            assert_eq!(text.parse::<CoreList>(), Err(BadCoreList), "{text}");
        }
    }

    #[test]
    fn shards_take_the_cores_in_turn() {
        let placed =
            |cores: Option<&str>, shards| Cores { list: cores.map(list), shards }.placement(&list("0-2"));
        assert_eq!(placed(None, None), [0, 1, 2]);
        assert_eq!(placed(Some("1-2"), None), [1, 2]);
        assert_eq!(placed(Some("1-2"), Some(5)), [1, 2, 1, 2, 1]);
        assert_eq!(placed(None, Some(1)), [0]);
        let many = Cores::default().placement(&list("0-999"));
        assert_eq!(many.len(), SHARDS_MAX, "one per core, but not more than a broker can run");
    }

    #[test]
    fn cores_beyond_the_allowed_ones_are_found() {
        assert_eq!(list("0-5").beyond(&list("0,2-3")).unwrap().to_string(), "1,4,5");
        assert_eq!(list("2").beyond(&list("0,2-3")), None);
    }

    #[test]
    fn this_process_may_run_on_a_core() {
        assert!(CoreList::of_this_process().unwrap().count() > 0);
    }
}
