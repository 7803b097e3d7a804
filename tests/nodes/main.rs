//! Several nodes, the store that they share, and clients that come to one and then to another.

#[path = "../support_proof/dice.rs"]
mod dice;
mod random;
mod replay;
mod short;
#[allow(dead_code, reason = "the proofs use more of it")]
#[path = "../support_proof/mod.rs"]
mod support;
mod wander;
#[path = "../support_proof/words.rs"]
mod words;
mod world;
