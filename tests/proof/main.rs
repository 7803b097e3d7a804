//! The promise, checked: every short schedule, long random ones, and the store under threads. See the crate's README.

mod audit;
mod explore;
mod failure;
mod random;
mod replay;
mod store;
mod wander;
mod world;
