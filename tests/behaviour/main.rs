//! What the library does, rule by rule.

mod bad_input;
mod conformance;
mod costs;
mod decisions;
mod faults;
mod options;
mod session;
mod session_client;
mod sm_suite;
#[path = "../support/mod.rs"]
mod support;
mod xep_examples;
