#[path = "../support_proof/dice.rs"]
mod dice;
mod explore;
mod random;
mod replay;
#[path = "../support_proof/mod.rs"]
mod support;
mod wander;
#[path = "../support_proof/words.rs"]
mod words;
mod world;
