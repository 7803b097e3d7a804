//! Stream management inside of SASL2 and Bind 2: <https://xmpp.org/extensions/xep-0198.html#inline>.

#[path = "../../../src/host/inline.rs"]
mod host;

mod client;
mod every;
mod examples;
mod order;
mod refused;
mod stage;
