//! What is settled goes out of memory in pieces.

use super::world::{OPTIONS, World, message, recipient, session};
use crate::engine::PersistOp;
use crate::store::core::Options;
use crate::types::Message;
use std::sync::{Arc, Weak};

fn weak(op: &PersistOp) -> Weak<Message> {
    let PersistOp::Message { message, .. } = op else { panic!("{op:?}") };
    Arc::downgrade(message)
}

#[test]
fn what_is_settled_is_freed_in_pieces_of_a_bounded_size() {
    let mut world = World::with(1, Options { checkpoint_bytes: 4 << 20, ..OPTIONS });
    world.keep(vec![session(1), session(2)], Vec::new());
    let to: Vec<_> = (1..=100).flat_map(|seq| [recipient(1, seq), recipient(2, seq)]).collect();
    let ops: Vec<_> = (0..100).map(|n| message(2 * n..2 * n + 2, b"hello")).collect();
    let messages: Vec<_> = ops.iter().map(weak).collect();
    let alive = || messages.iter().filter(|message| message.strong_count() > 0).count();
    world.keep(ops, to);
    assert_eq!(alive(), 100, "they are settled by the next checkpoint");
    let checkpoint = world.store.begin_checkpoint().expect("something has changed");
    checkpoint.run(&mut world.settled).expect("settles");
    drop(checkpoint);
    let mut spent = world.store.finish_checkpoint(Some(0)).expect("a disk").expect("nobody else has it");
    assert_eq!(alive(), 100);
    let mut left = alive();
    while spent.free(10) {
        assert!(left - alive() <= 10, "{left} and then {}", alive());
        left = alive();
    }
    assert_eq!(alive(), 0);
    assert!(!spent.free(1), "nothing is left");
}
