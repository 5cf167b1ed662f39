//! Shards with real sockets, links and engines, all on the test's thread and in its own time. What several threads add is
//! for `tests/it`.

mod accept;
mod executor;
mod flow;
mod hello;
mod input;
mod rig;
mod stop;
