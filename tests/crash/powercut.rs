//! Power cuts under the real broker.
//!
//! - `cargo test --test powercut` cuts a few times.
//! - `POWER_CUTS=1000 POWER_SEED=7 cargo test --test powercut -- --nocapture` cuts often, and prints what was cut.

mod power;
