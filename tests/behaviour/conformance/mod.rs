//! XEP-0198 sentence by sentence, where no other test shows it: see the page `conformance` of the documentation.
//! `page.rs` checks that page.

mod acks;
mod negotiation;
mod page;
mod resumption;

use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{Action, Config, Detached, Disconnected, Error, Inbound, SmId, StreamMgmt};

type Stream = StreamMgmt<&'static str>;

fn server(config: Config) -> Stream {
    let mut stream = Stream::server(Arc::new(config));
    stream.authenticated();
    stream
}

fn bound_server(config: Config) -> Stream {
    let mut stream = server(config);
    stream.bound();
    stream
}

fn bound_client(config: Config) -> Stream {
    let mut stream = Stream::client(Arc::new(config));
    stream.authenticated();
    stream.bound();
    stream
}

/// Options under which this side does not ask for acknowledgements.
fn quiet() -> Config {
    Config::default().request_acks(false)
}

/// An element of stream management, or anything else, without its namespace.
fn read(xml: &str) -> Inbound {
    let (name, rest) = xml.split_at(xml.find([' ', '/', '>']).expect("an element"));
    let ns = if matches!(name, "<message" | "<presence" | "<iq") { "jabber:client" } else { xmpp_sm::NS };
    let element = format!("{name} xmlns='{ns}'{rest}").parse().expect("well-formed");
    Inbound::from_element(&element, "jabber:client")
}

fn feed(stream: &mut Stream, xml: &str, now: Instant) -> Result<Action<&'static str>, Error> {
    stream.handle(read(xml), now)
}

/// Asks a server with this `<enable/>`, which it accepts; gives what it wrote.
fn enable(stream: &mut Stream, enable: &str, smid: Option<&str>) -> String {
    let Ok(Action::Enable(request)) = feed(stream, enable, Instant::now()) else { panic!("not an <enable/>") };
    let smid = smid.map(|smid| SmId::new(smid).expect("valid"));
    stream.accept_enable(request, smid).expect("its own request").to_string()
}

fn lose(stream: Stream, now: Instant) -> Detached<&'static str> {
    match stream.disconnect(now) {
        Disconnected::Resumable(session) => session,
        Disconnected::Ended(ended) => panic!("{ended:?}"),
    }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
