//! The promise, checked: every short schedule, long random ones, and the store under threads. See tests/README.md.

mod audit;
mod explore;
mod random;
mod replay;
mod store;
#[path = "../support_proof/mod.rs"]
mod support;
mod wander;
mod world;
