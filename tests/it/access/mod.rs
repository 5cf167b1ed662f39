//! Who may come in, and do what there.

mod anonymous;
mod audit;
mod clients;
mod limits;
mod passwords;
mod reload;
mod rules;
mod service;
mod tokens;
