//! Mosquitto's ACL file: who may publish and receive what.
//!
//! ```text
//! # Before the first section: clients without a user name.
//! topic read news/#
//!
//! user ann
//! topic readwrite ann/#             read, write, readwrite (also when nothing stands there), deny
//! topic deny ann/secret/#
//!
//! # For everybody, wherever it stands; %u is the user's name, %c the client's id.
//! pattern write dev/%c/state
//! ```
//!
//! `write` is for publishing, `read` for receiving. A section decides for its user alone: the first one, for clients without a
//! name, is not for others. Within it, what is denied is denied whatever else is said; else what some line allows is allowed;
//! else the patterns decide in the same way; else it is denied, so an empty file denies everything. Names that begin with `$`
//! are matched only by filters that do.
//!
//! A client whose name or id has `+`, `#` or `/` in it could choose which topics `%u` or `%c` stands for. Where the file has a
//! pattern with that placeholder, such a client gets nothing from any pattern. Mosquitto lets `/` pass, and refuses the other two
//! also where no pattern has the placeholder.
//!
//! # Roles
//!
//! One kind of section more, which no file of Mosquitto's can have, because Mosquitto refuses the word:
//!
//! ```text
//! role sensors
//! for subject O=Plant, CN=sensor-*  whose certificate's subject has all of these; * is any text, a comma in a value is \,
//! for listener tls://0.0.0.0:8883   who comes through this listener, named as the settings name it
//! for user ann                      whoever has logged in as ann
//! for everyone                      with or without a name
//! topic write data/#
//! pattern read cmd/%c/#             of this role only, unlike one in another section
//! ```
//!
//! A client has a role when one `for` line speaks of it. Its roles together decide after its own section and before the patterns
//! that are for everybody.
//!
//! # Subscribing
//!
//! Mosquitto grants every subscription and then delivers what the client may read. Here the same is delivered, but a subscription
//! that can bring nothing is refused: one where no line that allows reading matches any name that the filter matches, or
//! where a line that denies matches all of those.
//!
//! # Cost
//!
//! Lines are kept in a tree of levels, so a decision costs a walk down a topic's levels, whatever the number of lines. A
//! client's [`Standing`] names the sections that decide for it, found once; its [`Decisions`] keep what was decided lately.

mod cache;
mod decide;
mod parse;
mod role;
mod rules;
mod subscribe;
mod text;

pub use cache::Decisions;
pub use decide::{Acl, Action, Decision, Granted, Reason, Standing, Who};
pub use parse::{Mistake, Problem};
pub use role::{BadSubject, Subject};

/// Levels of a filter at most, as many as the settings allow at most for a topic.
pub(in crate::auth) const TOPIC_LEVELS_MAX: u16 = 1_024;

#[cfg(test)]
mod tests;
