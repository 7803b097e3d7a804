//! Hosts as the documentation writes them, on a network that cuts at any byte.
//!
//! The loops are the documentation's own, not copies. `LITERAL_CUTS=10000 cargo test --test literal` makes ten thousand
//! cuts; without it there are three thousand.

mod client;
#[path = "../../src/host/client.rs"]
mod client_loop;
mod conn;
mod decisions;
#[path = "../support/faulty.rs"]
#[allow(dead_code, reason = "the loop makes its calls again itself")]
mod faulty;
mod mended;
mod net;
mod node;
#[path = "../../src/host/node.rs"]
mod node_loop;
mod raw;
mod restart;
#[path = "../../src/host/restart.rs"]
mod restart_host;
mod rng;
mod server;
#[path = "../../src/host/server.rs"]
mod server_loop;
mod threads;
mod traffic;
mod world;
#[path = "../../examples/server/xml.rs"]
#[expect(dead_code, reason = "TLS and SASL are not here")]
mod xml;

/// Time that stands still until all wait for it.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
