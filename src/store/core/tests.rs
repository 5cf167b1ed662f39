//! The store as its users see it: what they asked for comes back, whatever happened in between.

#![expect(clippy::cast_possible_truncation, reason = "random numbers below a small bound")]

mod bytes;
mod model;
mod random;
mod sizes;
mod spent;
mod sweep;
mod world;

use self::model::Model;
use self::world::{World, place, recipient, session};
