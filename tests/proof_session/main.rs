mod explore;
mod random;
mod replay;
#[path = "../support_proof/mod.rs"]
mod support;
mod wander;
mod world;
