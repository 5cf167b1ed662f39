//! A store of which a byte is flipped or a file is cut opens as what it was or not at all, and says why.

use std::env;

use super::children::reading;
use super::*;
use crate::types::Rng;

const STEPS: u64 = 40;
/// For a process to say what it finds: many times what a store may be silent there.
const LIMIT: Duration = Duration::from_secs(60);

/// Damages a file and says how.
fn harm(file: &Path, rng: &mut Rng) -> String {
    let mut bytes = fs::read(file).expect("readable");
    let at = usize::try_from(rng.below(bytes.len() as u64)).expect("in it");
    let harm = if rng.chance(1, 3) {
        bytes.truncate(at);
        format!("cut at {at}")
    } else {
        let bit = rng.below(8);
        bytes[at] ^= 1 << bit;
        format!("bit {bit} of byte {at}")
    };
    fs::write(file, bytes).expect("written");
    harm
}

/// Half of them after an unclean stop. `SETTLED_DAMAGE` is how many stores are damaged, each in one place.
#[test]
fn a_damaged_store_is_what_it_was_or_is_refused_with_a_reason() {
    let original = tempfile::tempdir().expect("a folder");
    let mut store = open(original.path());
    (1..=STEPS).for_each(|number| step(&mut store, number));
    let stores = [killed(original.path()), {
        store.close().expect("closed");
        original
    }];
    let runs = env::var("SETTLED_DAMAGE").map_or(24, |runs| runs.parse().expect("a number"));
    let (mut whole, mut unread, mut unopened) = (0, 0, 0);
    for seed in 0..runs {
        let mut rng = Rng::new(seed);
        let folder = killed(rng.pick(&stores).path());
        let all: Vec<_> = files(folder.path())
            .into_iter()
            .filter(|file| file.metadata().is_ok_and(|data| data.len() > 0))
            .collect();
        let metadata: Vec<_> =
            all.iter().filter(|file| file.components().any(|part| part.as_os_str() == "metadata")).collect();
        // A few files of metadata decide over all the others.
        let file = if rng.chance(1, 2) { rng.pick(&metadata) } else { rng.pick(&all) };
        let harm = harm(file, &mut rng);
        let name = file.strip_prefix(folder.path()).expect("below").display();
        let said = reading(folder.path(), LIMIT);
        let said = said.unwrap_or_else(|| panic!("seed {seed}: {name}, {harm}: it hangs"));
        if said == format!("whole at {STEPS}") {
            whole += 1;
        } else if said.starts_with("refused to open: ") {
            unopened += 1;
        } else if said.starts_with("refused to read: ") {
            unread += 1;
        } else {
            panic!("seed {seed}: {name}, {harm}: {said}");
        }
        if runs > 100 {
            println!("seed {seed}: {name}, {harm}: {said}");
        }
    }
    println!("{runs} damaged: {whole} whole, {unopened} refused to open, {unread} refused to read");
}
