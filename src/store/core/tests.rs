//! The store as its users see it: what they asked for comes back, whatever happened in between.

mod bytes;
mod model;
mod random;
mod sizes;
mod world;

use self::model::Model;
use self::world::{World, place, recipient, session};
