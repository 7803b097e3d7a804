//! Other domains: servers and components that lose their link, that do not come back, and that are not to be trusted.

mod bad_input;
#[allow(dead_code, reason = "its `main`")]
#[path = "../../../examples/component.rs"]
mod component;
mod components;
mod servers;
mod sessions;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use clap::Parser;

use super::OPTIONS;
use super::client::Client;
use super::proxy::{Cut, Way};
use super::server::options::Options;
use super::server::trace::Trace;
use super::server::{Running, Server};

async fn start(options: &[&str], trace: Option<Trace>) -> Running {
    let links = ["--mechanism=SCRAM-SHA-256", "--listen-servers=127.0.0.1:0", "--listen-components=127.0.0.1:0"];
    let is_given = |option: &str| options.iter().any(|given| given.split('=').next() == option.split('=').next());
    let options = OPTIONS.iter().chain(links.iter().filter(|option| !is_given(option))).chain(options);
    Server::start(&Options::parse_from(options), trace).await.expect("free ports")
}

/// A server to which `b.example` and `c.example` may connect, and a component `echo.localhost`.
async fn started(options: &[&str]) -> Running {
    let links = ["--link=b.example:secret", "--link=c.example:secret", "--component=echo.localhost:secret"];
    start(&[&links, options].concat(), None).await
}

/// Where the link is cut, connection by connection: in all that it is made of, and between any two of its elements. `way`:
/// to the side that is connected to.
fn cuts() -> Vec<Cut> {
    let cut = |way, what, nth, keep| Cut { way, what, nth, keep };
    let mut cuts = Vec::new();
    for keep in [8, 30, 60] {
        for way in [Way::ToServer, Way::ToClient] {
            cuts.push(cut(way, "<message", 3, keep)); // in a stanza
            cuts.push(cut(way, "</message>", 2, 10)); // after one, before anything is said of it
            cuts.push(cut(way, "<a xmlns='urn:xmpp:sm:3'", 1, keep.max(24))); // in an acknowledgement
        }
        cuts.push(cut(Way::ToServer, "<resume xmlns", 1, keep.max(13)));
        cuts.push(cut(Way::ToClient, "<resumed xmlns", 1, keep.max(14)));
    }
    cuts
}

fn header(ns: &str, from: &str, to: &str) -> String {
    let stream = "http://etherx.jabber.org/streams";
    format!("<stream:stream xmlns='{ns}' xmlns:stream='{stream}' from='{from}' to='{to}' version='1.0'>")
}

fn plain(domain: &str, secret: &str) -> String {
    let data = BASE64.encode(format!("\0{domain}\0{secret}"));
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{data}</auth>")
}

const BIDI: &str = "<bidi xmlns='urn:xmpp:bidi'/>";

/// Another server that is nothing but a socket, before it has proved who it is.
async fn opened(server: &Running, domain: &str) -> Client {
    let mut peer = Client::connect_to(server.servers.expect("an address for servers")).await;
    peer.send(&header("jabber:server", domain, "localhost")).await;
    peer.upto("</stream:features>").await;
    peer
}

/// Another server, after that.
async fn authenticated(server: &Running, domain: &str) -> Client {
    let mut peer = opened(server, domain).await;
    peer.send(BIDI).await;
    peer.send(&plain(domain, "secret")).await;
    peer.upto("<success ").await;
    peer.send(&header("jabber:server", domain, "localhost")).await;
    peer.upto("<stream:features").await;
    peer.features = peer.upto("</stream:features>").await;
    peer
}

/// Sends one of each, and sees what comes back: what somebody has to know.
async fn goes_back(client: &mut Client, to: &str) {
    client.send(&format!("<message id='one' type='chat' to='{to}'><body>1.</body></message>")).await;
    client.send(&format!("<message id='two' type='headline' to='{to}'><body>2.</body></message>")).await;
    client.send(&format!("<presence id='three' to='{to}'/>")).await;
    client.send(&format!("<iq id='four' type='result' to='{to}/x'/>")).await;
    client.send(&format!("<iq id='five' type='get' to='{to}/x'><ping xmlns='urn:xmpp:ping'/></iq>")).await;
    let back = client.upto(" id='five'").await + &client.upto("</iq>").await;
    assert_eq!(back.matches("<remote-server-timeout ").count(), 2, "{back}");
    assert!(back.contains("id='one'"), "{back}");
    assert!(!["two", "three", "four"].iter().any(|id| back.contains(&format!("id='{id}'"))), "{back}");
    assert!(!client.ping().await.contains("type='error'"), "once");
}
