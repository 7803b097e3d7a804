//! Interleavings: `calls.rs` takes two or three calls of the store, `take_over.rs` the tasks that own a
//! session. Each is run in every order of its steps that loom tells apart, which are those of the locks
//! inside `MemoryStore`, of the mailboxes, and of the threads' beginnings and ends; take-overs with at most
//! three preemptions. The counters of epochs and sessions in the store are atomics of `std` that loom does not see. Each changes
//! while the owner's shard is locked.

mod calls;
mod take_over;

#[path = "../store/linear.rs"]
#[allow(dead_code, reason = "threads that nobody interleaves are asked for more")]
mod linear;
#[path = "../store/model.rs"]
mod model;
