//! Pantala: a thread-per-core MQTT broker for dedicated Linux hosts.
//!
//! One idea carries the rest: **the engine decides, the shard does.** The codec, topics, sessions and the whole engine of a
//! core are plain synchronous code. They are handed bytes, a time, a hash seed and a sink, and never await, block, lock,
//! read a clock or draw randomness that they were not given. Sockets, clocks and queues live in a thin layer above. That
//! is what makes the hot path fast (a call per subscriber compiles to a push into a buffer), the protocol testable byte
//! by byte, and the whole multi-core broker replayable from one seed (`tests/sim`).
//!
//! # Layers
//!
//! A module imports only from lower numbers; siblings never import each other. `tests/tidy.rs` holds us to it.
//!
//! ```text
//! 7  broker            everything: checks the machine, opens listeners, starts and stops the shards
//! 6  config            what the operator wants, from TOML
//! 5  shard             one glommio executor per core: epoll set, connections, flush, accept, hand-over
//!    control           HTTP on a thread of its own: files, MQTT.js, the upgrade to WebSocket
//! 4  mesh              links between cores      transport  sockets and outputs      metrics  $SYS
//!    store             what outlives the process        access  files of users, threads for passwords
//! 3  engine            one core's whole state: publish, fan-out, subscribe, retain, take-over, timers
//! 2  session           one client: windows, queue, acknowledgements, will, deadlines    auth  who may come in, and do what
//! 1  codec  topic  sasl bytes, topics, and who a client proves to be             websocket  MQTT's bytes in its frames
//! 0  types             ids, time, maps with a seed, slab, timer wheel, bounds, the shared message
//! ```
//!
//! # The life of a PUBLISH
//!
//! 1. `shard/read` reads as much as the socket has into the core's scratch buffer: one read, many packets.
//! 2. [`codec::split`] finds whole packets, lengths checked before bodies; [`codec::Publish::decode`] borrows topic and
//!    payload from the buffer. What outlives the turn is copied out, so that ten bytes never pin a large buffer.
//! 3. [`engine::Engine::packet`] checks it and asks [`topic::MatchCache`] for local subscribers and interested cores, in
//!    one lookup. Nothing is allocated at QoS 0.
//! 4. The frame is encoded once per kind of subscriber (version, QoS, RETAIN); per subscriber only the packet id is
//!    patched. Small frames are copied into outputs, large payloads are referenced.
//! 5. One [`engine::PeerMessage`] goes to each interested core, never one per subscriber, and is never forwarded again.
//! 6. At the end of the turn `shard/flush` makes one write per connection that has output, and each touched core gets one
//!    batch and at most one wake-up. Batching happens here and nowhere else; it is where nearly all of the speed comes from.
//! 7. The acknowledgement leaves with it, or when what it promises is true: that a retained message is stored by the core
//!    that keeps its topic. Acknowledgements keep the order of their PUBLISHes.
//!
//! # What holds
//!
//! - A client lives on the core that its id hashes to (`shard/placement`). Any core accepts, reads up to CONNECT, and hands
//!   the connection to the owner. Take-over, resumption and queues are local, without a directory and without a lock.
//! - A core knows for each filter which other cores have a subscriber. SUBACK leaves when all of them know, so a message
//!   published after SUBACK, on any core, is delivered.
//! - Per publisher and topic, messages keep their order, per QoS, across cores as well: links are FIFO.
//! - Every bound has a stated behaviour ([`types::Limits`]); every drop is counted by reason ([`engine::Dropped`]).
//! - A password is checked on threads of its own (`access/desk`) while its connection waits; what a client may do is one
//!   remembered decision per topic (`engine/rights`). Users and rules are never changed, but replaced whole.
//! - Absent, on purpose: locks (but for what `access/guard` counts, once per connection), atomics outside `mesh/doorbell`, clocks below `shard`, awaits inside a decision, a task or
//!   timer per connection.

pub mod types;

pub mod codec;
pub mod sasl;
pub mod throttle;
pub mod topic;
pub mod websocket;

pub mod auth;
pub mod session;

pub mod engine;

pub mod access;
pub mod mesh;
pub mod metrics;
pub mod store;
pub mod transport;

pub mod control;
pub mod shard;

pub mod config;

pub mod broker;
