//! What stores are compared with: changes that are the same for the same step, and the map that they make.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use crate::store::settled::{Change, MemorySettled, Settled, Tree, after};
use crate::types::Rng;

pub(crate) type Model = BTreeMap<(Tree, Bytes), Bytes>;

/// The changes of one step; the same for the same step.
pub(crate) fn changes(step: u64) -> Vec<Change> {
    let mut rng = Rng::new(step);
    (0..1 + rng.below(30))
        .map(|_| {
            let tree = *rng.pick(&Tree::ALL);
            let key = Bytes::from(format!("key {}", rng.below(300)));
            let length = usize::try_from(rng.below(200)).expect("short");
            let value =
                (!rng.chance(1, 3)).then(|| Bytes::from(vec![rng.next_u64().to_be_bytes()[0]; length]));
            Change { tree, key, value }
        })
        .collect()
}

/// The state after so many steps.
pub(crate) fn model_after(steps: u64) -> Model {
    let mut model = Model::new();
    for Change { tree, key, value } in (1..=steps).flat_map(changes) {
        match value {
            Some(value) => model.insert((tree, key), value),
            None => model.remove(&(tree, key)),
        };
    }
    model
}

/// Makes the changes of a step.
pub(crate) fn step(store: &mut dyn Settled, step: u64) {
    store.apply(&mut changes(step).into_iter(), step).expect("room");
}

/// Everything, read in small pieces.
pub(crate) fn content(store: &dyn Settled) -> io::Result<Model> {
    let mut model = Model::new();
    for tree in Tree::ALL {
        let mut from = Vec::new();
        loop {
            let entries = store.scan(tree, &from, 37)?;
            let Some((last, _)) = entries.last() else { break };
            assert!(entries[0].0[..] >= from[..] && entries.is_sorted_by(|a, b| a.0 < b.0));
            from = after(last);
            model.extend(entries.into_iter().map(|(key, value)| ((tree, key), value)));
        }
    }
    Ok(model)
}

/// Keys that are there and keys that are not.
pub(crate) fn gets_what_the_model_has(store: &dyn Settled, model: &Model) {
    for tree in Tree::ALL {
        for number in 0..300 {
            let key = Bytes::from(format!("key {number}"));
            let expected = model.get(&(tree, key.clone()));
            assert_eq!(store.get(tree, &key).expect("readable").as_ref(), expected, "{tree:?} {key:?}");
        }
    }
}

#[test]
fn a_store_in_memory_is_its_model_and_rolls_back_by_one_step() {
    let mut store = MemorySettled::default();
    for number in 1..=60 {
        step(&mut store, number);
    }
    assert_eq!(content(&store).expect("readable"), model_after(60));
    gets_what_the_model_has(&store, &model_after(60));
    assert!(store.roll_back() && !store.roll_back());
    assert_eq!((store.position(), content(&store).expect("readable")), (59, model_after(59)));
}
