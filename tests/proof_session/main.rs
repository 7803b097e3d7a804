//! The promise of `Session`, checked: hosts that do what the documentation says, every short schedule of what may
//! happen to them, and long random ones. `ledger.rs` says what must hold.
//!
//! ```text
//! tests/proof_session/long.sh          random schedules, by the hour
//! tests/proof/seeded_bugs.sh proof_session   which bugs these tests catch
//! ```

mod acts;
mod arrive;
mod can;
mod check;
mod drain;
mod ended;
mod event;
mod explore;
mod host;
mod ledger;
mod link;
mod random;
mod record;
mod replay;
mod setting;
mod turn;
mod world;
mod worlds;
