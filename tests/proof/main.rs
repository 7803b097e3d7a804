//! The promise, checked: every short schedule, long random ones, and the store under threads. See `README.md`.

mod explore;
mod world;
